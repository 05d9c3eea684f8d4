"""Both samples on one ruler: the door, bent columns, and what is measured of every row."""
