"""Plan: how long and how to train. Frozen, checked on construction, written as JSON beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sundog.data.atomic import write_text
from sundog.errors import FileError
from sundog.train.privacy.budget import Privacy, explained


class Plan(BaseModel):
    """The budget and the settings of one training.

    Attributes
    ----------
    steps : optimiser steps; None leaves it to the family
    seconds : budget of processor time, as the thread that trains uses it: on an idle machine wall time, and on a busy
        one still the same training (on a GPU wall time). Training ends at whichever of the two budgets comes first
    batch : rows per step; None leaves it to the family
    learning_rate : replaces the learning rate of every objective, None keeps theirs
    schedule : ``one-cycle`` (10 % warm-up, cosine to zero) or ``constant``
    ema : decay of the running mean of the weights that is validated and kept; 0 for none
    validation_fraction : share of the training rows that choose the best state and are not trained on
    validate_every : steps between validations; None is a twentieth of the budget
    checkpoint_seconds : time between checkpoints, when there is a folder to write to
    precision : ``float32``, ``bf16`` (autocast) or ``float64``
    device : ``auto`` (cuda, else mps, else cpu), ``cpu``, ``cuda``, ``cuda:1``, ``mps``
    devices : processes that share each batch; above 1 needs the extra ``multi``
    seed : of weights, batches and noise
    privacy : how little the run may tell of any single row; None protects nothing. A private run validates on no rows,
        keeps no losses, writes no checkpoints and draws its noise from secret numbers

    Example
    -------
    >>> Plan(steps=100).steps
    100
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, lt=10)
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    ema: float = Field(default=0.999, ge=0, lt=1)
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    validate_every: int | None = Field(default=None, ge=1)
    checkpoint_seconds: float = Field(default=15.0, ge=0)
    precision: Literal["float32", "bf16", "float64"] = "float32"
    device: str = "auto"
    devices: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    privacy: Privacy | None = None

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise explained(error, type(self), "plan") from None

    def with_(self, **changes: Any) -> Plan:
        """The plan with some settings changed, checked again."""
        return Plan(**{**self.model_dump(), **changes})

    def to_json(self) -> str:
        """The plan as JSON text; ``Plan.from_json`` reads it back."""
        return json.dumps(self.model_dump(), indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Plan from JSON text; unknown or impossible settings are an OptionError."""
        try:
            return Plan(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise FileError("the plan is not a JSON object", got=str(error), expected='e.g. {"steps": 1000}',
                            do="repair the file") from None

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Plan from a .json file, or a .yaml file when PyYAML is installed."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"cannot read the plan {path}", got=str(error), expected="a JSON or YAML file",
                            do="check the path") from error
        if path.suffix in (".yaml", ".yml"):
            text = _yaml_to_json(text, path)
        return Plan.from_json(text)

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON, atomically; returns the path."""
        return write_text(path, self.to_json())


def _yaml_to_json(text: str, path: Path) -> str:
    try:
        import yaml  # optional: only for plans written as YAML
    except ImportError:
        raise FileError(f"cannot read {path.name}", got="no PyYAML installed", expected="PyYAML, or a JSON plan",
                        do="pip install pyyaml, or write the plan as JSON") from None
    try:
        return json.dumps(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # a date or a set is no plan either
        raise FileError(f"{path.name} is not YAML of a plan", got=str(error).splitlines()[0],
                        expected="key: value lines", do="repair the file") from None
