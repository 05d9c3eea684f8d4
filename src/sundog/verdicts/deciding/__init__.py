"""Rows that decide: labels exchanged at full sample size, one p-value of few fixed statistics."""
