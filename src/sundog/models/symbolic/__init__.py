"""Closed forms: programs of few operations with tuned constants, evolved."""

from sundog.models.symbolic.program import ParetoFront, Program
from sundog.models.symbolic.search import evolve_program

__all__ = ["ParetoFront", "Program", "evolve_program"]
