"""Emulators: what a simulator would answer, learned from few runs; mean and standard deviation at any input."""
