"""Resonant anomaly detection: learn the background beside a mass window, find what does not belong inside."""
