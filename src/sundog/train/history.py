"""What happened in a training: losses, scores, speed, and why it stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class History:
    """What happened: mean loss per objective and held-out score at each validation.

    Attributes
    ----------
    steps : step numbers at which the run was validated
    losses : objective name -> mean training loss since the validation before
    scores : held-out score of the running-mean weights; lower is better
    seconds : training time so far as `Plan` counts it, resumed parts added up
    best_step, best_score : the state that was kept: the best score that is a number, else the last state
    """

    steps: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best_step: int = 0
    best_score: float = math.inf
    stopped_by: str = "steps"
    notes: list[str] = field(default_factory=list)
