"""Rows that explain a verdict: what differs, in which part, and where."""
