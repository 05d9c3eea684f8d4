"""The version, which files and runs record."""

__version__ = "0.1.0"
