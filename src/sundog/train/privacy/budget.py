"""The budget of a private training, the noise that it buys by dp-accounting, and a scaling that it pays for."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from sundog.checks import optional
from sundog.data.scaling import Standard
from sundog.errors import DataError, OptionError
from sundog.random import numpy_stream

ORDERS = [*range(2, 64), 80, 96, 128, 192, 256, 512, 1024]
SHARE = 0.25  # of epsilon and delta that a scaling may cost
POWERS = 40  # of two, either way, among which the range of a column is sought
CELLS = 16  # of the second histogram
SURE = 3.5  # standard deviations of its noise above which a cell is taken to be filled


class Privacy(BaseModel):
    """How little a run may tell of any single row: (epsilon, delta)-differential privacy, rows added or removed.

    For all sets of outcomes, P(run | data) <= e^epsilon P(run | data without one row) + delta.

    Attributes
    ----------
    epsilon : above 0; 1 is strict, 10 protects little
    delta : probability that the bound fails, far below one over the number of rows
    clip : largest norm of the gradient of one row; about its median works best

    Example
    -------
    >>> Privacy(epsilon=1, delta=1e-5, clip=1).epsilon
    1.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    clip: float = Field(gt=0)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise explained(error, type(self), "privacy") from None


def explained(error: ValidationError, of: type[BaseModel], what: str) -> OptionError:
    """The first complaint of pydantic about settings, in our words."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    known = name in of.model_fields
    return OptionError(
        f"{what} setting '{name}' is " + ("not usable" if known else "unknown"),
        got=repr(first.get("input")),
        expected=first["msg"][0].lower() + first["msg"][1:] if known else ", ".join(of.model_fields),
        do=f"correct it; see help(sundog.{'Plan' if what == 'plan' else 'train.privacy.Privacy'})",
    )


def accountant() -> Any:
    """An empty accountant of Rényi divergences; fractional orders, whose series may not converge, are left out.

    Raises
    ------
    MissingExtraError : without dp-accounting, which the extra ``private`` brings.
    """
    return optional("dp_accounting", "private").rdp.RdpAccountant(ORDERS)


@dataclass(frozen=True)
class Mechanism:
    """The noise that a budget buys: Gaussian mechanisms on Poisson samples, one after the other.

    Attributes
    ----------
    privacy : the budget
    noise : multiplier: noise of a sum of clipped gradients over ``clip``
    rate : probability that a row takes part in a step
    steps : how many
    histograms : multiplier of the two noisy histograms behind a scaling; 0 for none
    """

    privacy: Privacy
    noise: float
    rate: float
    steps: int
    histograms: float = 0.0

    @classmethod
    def affordable(cls, privacy: Privacy, rate: float, steps: int, scaled: bool) -> Self:
        """The least noise that keeps to the budget.

        Raises
        ------
        MissingExtraError : without dp-accounting, which the extra ``private`` brings.
        """
        dp = optional("dp_accounting", "private")

        def least(event: Any, share: float) -> float:
            bracket = dp.LowerEndpointAndGuess(1e-3, 2.0)
            return float(dp.calibrate_dp_mechanism(accountant, event, share * privacy.epsilon,
                                                   share * privacy.delta, bracket, tol=1e-3))

        histograms = least(lambda noise: dp.SelfComposedDpEvent(dp.GaussianDpEvent(noise), 2), SHARE) if scaled else 0.0
        return cls(privacy, least(lambda noise: cls(privacy, noise, rate, steps, histograms).event(), 1.0), rate, steps,
                   histograms)

    def event(self) -> Any:
        """What was done, in the words of dp-accounting."""
        dp = optional("dp_accounting", "private")
        step = dp.GaussianDpEvent(self.noise)
        sampled = step if self.rate == 1 else dp.PoissonSampledDpEvent(self.rate, step)
        events = [dp.SelfComposedDpEvent(sampled, self.steps)]
        if self.histograms:
            events.append(dp.SelfComposedDpEvent(dp.GaussianDpEvent(self.histograms), 2))
        return dp.ComposedDpEvent(events)

    def epsilon(self) -> float:
        """What was spent at the delta of the budget, by Rényi divergences: an upper bound."""
        return float(accountant().compose(self.event()).get_epsilon(self.privacy.delta))

    def facts(self) -> dict[str, Any]:
        """What a run remembers."""
        return {"epsilon": self.epsilon(), "delta": self.privacy.delta, "clip": self.privacy.clip,
                "noise_multiplier": self.noise, "sampling_rate": self.rate, "steps": self.steps,
                "scaling_noise_multiplier": self.histograms, "neighbours": "one row added or removed"}


def secret_numbers() -> np.random.Generator:
    """Random numbers that no seed repeats: whoever knew them could take the noise away."""
    return numpy_stream(secrets.randbits(256), "privacy")


def private_scaling(x: Tensor, noise: float, rng: np.random.Generator | None = None) -> Standard:
    """Median and half width of the middle 68 % of each column or channel, from two histograms with Gaussian noise.

    The first counts signs and powers of two, the second 16 equal cells of the range found. A row of several pixels
    counts once in all. With d columns the noise of each count is noise sqrt(d).

    Raises
    ------
    DataError : no cell stands out of the noise.
    """
    rng = rng or secret_numbers()
    columns = x.flatten(2).mT if x.ndim > 3 else x[:, None] if x.ndim == 2 else x.flatten(1)[:, :, None]
    width = noise * math.sqrt(columns.shape[2])
    found = [_mean_and_width(column, width, rng) for column in columns.double().numpy().transpose(2, 0, 1)]
    return Standard(*(tuple(part) for part in zip(*found)))


def _mean_and_width(column: np.ndarray, noise: float, rng: np.random.Generator) -> tuple[float, float]:
    ends = 2.0 ** np.arange(-POWERS, POWERS + 1)
    edges = np.concatenate([-ends[::-1], ends])
    filled = np.flatnonzero(_counted(column, edges, noise, rng) > SURE * noise)
    if len(filled) == 0:
        raise DataError("no scale stands out of the noise", got=f"{len(column)} rows, noise of {noise:.0f} rows",
                        expected="more rows, or a larger epsilon", do="bring the data to unit scale by numbers that "
                        "are public, and pass scaling='identity'")
    low, high = edges[filled[0]], edges[filled[-1] + 1]
    cells = np.linspace(low, high, CELLS + 1)
    below = np.maximum.accumulate(_counted(column, cells, noise, rng).cumsum().clip(min=0))
    low, middle, high = np.interp(np.array([0.16, 0.5, 0.84]) * below[-1], np.r_[0, below], cells)
    return float(middle), max(float(high - low) / 2, float(cells[1] - cells[0]) / 2)


def _counted(column: np.ndarray, edges: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Rows in each cell, with noise; what lies beyond the ends counts in the last cells."""
    cell = np.clip(np.searchsorted(edges, column.ravel(), side="right") - 1, 0, len(edges) - 2)
    return np.bincount(cell, minlength=len(edges) - 1) / column.shape[1] + noise * rng.normal(size=len(edges) - 1)
