"""Generators of sets: particles of an event in no order, as many as there are."""
