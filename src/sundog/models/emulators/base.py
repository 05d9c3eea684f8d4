"""Emulator: the law of a simulator's output given its input. Its contract, and the linear ones in closed form."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.models.base import Batch, Model, Objective, RowNoise
from sundog.models.emulators.warp import fitted_warp, products, stretched
from sundog.models.options import Options, option

FEWEST_RUNS = 3
NEAR = 1e-9  # of the width of the box: rounding of a query on its edge


class Emulator(Model):
    """A model of outputs (n, *shape) that knows mean and standard deviation given inputs (n, c), the context.

    Abstract: subclasses learn in `learn` or by their objectives. Outputs are kept as they are (no scaling of columns);
    `prepare` centres them and divides each column by its standard deviation.

    low, high: (c,) the box of the inputs seen; centre, unit: (d,) of the outputs, d numbers in all, unit 0 where all
    runs say the same: there the answer is that, exactly
    """

    default_scaling: ClassVar[str | None] = "identity"
    low: Tensor
    high: Tensor
    centre: Tensor
    unit: Tensor

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(self.context_dim))
        for name in ("centre", "unit"):
            self.register_buffer(name, torch.zeros(math.prod(self.shape)))

    def _check_data(self) -> None:
        super()._check_data()
        if self.context_dim == 0:
            raise OptionError(f"'{self.family}' emulates a simulator and needs its input", got="no context",
                              expected="a context: the parameters of each run, (n, c)",
                              do="pass Dataset.from_arrays(outputs, parameters), or context=[...] of the columns")

    def look(self, rows: Batch) -> None:
        """A run counts as much as its weight says: repeating it would tell what it is to be left out."""
        self.prepare(rows.x, rows.context, rows.weights)

    def prepare(self, x: Tensor, context: Tensor | None, weights: Tensor | None = None) -> None:
        """Box, centre and unit of the runs, then `learn`; weights (n,), of a design, may have any scale.

        Raises
        ------
        SampleSizeError : fewer than 3 runs. DataError : the same run twice.
        """
        assert context is not None
        _check_runs(x, context, self.family)
        y = x.flatten(1).double()
        w = y.new_ones(len(y)) if weights is None else weights.double() / weights.double().mean()
        self.low, self.high = context.double().aminmax(dim=0)
        self.centre = (w @ y) / len(y)
        spread = (w @ (y - self.centre).square() / len(y)).sqrt()
        # What rounding leaves of a constant is no spread.
        self.unit = torch.where(spread > 1e-14 * y.abs().amax(0), spread, 0.0)
        self.learn(context.double(), (y - self.centre) / self._divisor(), w)

    def _divisor(self) -> Tensor:
        return torch.where(self.unit > 0, self.unit, 1.0)

    @abstractmethod
    def learn(self, context: Tensor, y: Tensor, weights: Tensor) -> None:
        """Learn outputs y (n, d), centred and of unit spread, at inputs (n, c), weights (n,) of mean 1; all float64."""

    @abstractmethod
    def predict(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the output at inputs (n, c): (n, *shape) each."""

    def outside(self, context: Tensor) -> Tensor:
        """Which inputs (n, c) lie outside the box of those learned: there the answer is extrapolated; (n,) of bool."""
        margin = NEAR * (self.high - self.low)
        return ((context < self.low - margin) | (context > self.high + margin)).any(1)

    def remarks(self, context: Tensor | None) -> dict[str, Any]:
        assert context is not None
        far = self.outside(context).nonzero().flatten().tolist()
        return {"outside_the_box": far} if far else {}

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean square error over the variance of each number, averaged."""
        assert context is not None
        with torch.no_grad():
            error = (self.predict(context)[0] - x).flatten(1) / self._divisor()
        return error.square().mean()

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Buffers take shape and type of the state: both depend on the runs."""
        for name, held in list(self.named_buffers(recurse=False)):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name], device=held.device))
        super()._load_from_state_dict(state, prefix, *rest)


@dataclass(frozen=True)
class LinearOptions(Options):
    """Options of every `LinearEmulator`."""

    warp: bool = option(False, "outputs are stretched along their last axis, before they are learned, by a factor that "
                        "depends on the input, found from the runs: for features that move, as peaks of a spectrum")
    low_fidelity: bool = option(False, "it corrects an emulator of a cheaper simulator; `fit` is given those runs")


class LinearEmulator(Emulator):
    """An emulator in closed form: output linear in features of the input, errors known by leaving runs out.

        mean(c) = centre + unit (phi(c) B),      covariance(c) = unit g(c)^2 R^T R unit

    R are the standardised leave-one-out residuals over sqrt(n): residual i when run i is left out, over the g that the
    fit to the others has there. So the standard deviation is one that was found right, on average, for left-out runs;
    g says where it is more, one for all rows of R or one for each. A draw is mean + unit (g(c) z) R with normal z: the
    correlation along an output is kept.

    Two fidelities, where runs of a cheaper simulator are given: y(c) = rho y_cheap(c) + delta(c), with y_cheap emulated
    from its own runs, delta from the dear ones, and rho one number by least squares on these (Kennedy, O'Hagan 2000).

    coefficients: B (p, d); residuals: R (r, d); warped: of the stretch (`sundog.models.emulators.warp`), empty if none;
    rho: (); cheap: the emulator of the cheaper simulator
    """

    options: LinearOptions

    fixes: ClassVar[Mapping[str, Any]] = {"precision": "float64", "validation_fraction": 0.0}
    coefficients: Tensor
    residuals: Tensor
    warped: Tensor
    rho: Tensor
    cheap: LinearEmulator

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        for name in ("coefficients", "residuals"):
            self.register_buffer(name, torch.zeros(0, math.prod(self.shape)))
        self.register_buffer("warped", torch.zeros(0))
        self.register_buffer("rho", torch.zeros(()))
        if self.options.low_fidelity:
            self.cheap = type(self)(shape, context_dim, **{**options, "low_fidelity": False})

    def prepare(self, x: Tensor, context: Tensor | None, weights: Tensor | None = None) -> None:
        """As `Emulator.prepare`; of two fidelities ``cheap`` has been prepared before."""
        assert context is not None
        w = x.new_ones(len(x)).double() if weights is None else weights.double()
        if self.options.low_fidelity:
            low = self.cheap.predict(context)[0].double()
            base, wanted = ((y - (w @ y) / w.sum()) for y in (low.flatten(1), x.flatten(1).double()))
            self.rho = (w @ (base * wanted)).sum() / (w @ base.square()).sum().clamp(min=1e-300)
            x = x - self.rho * low
        if self.options.warp:
            c, y = context.double(), x.double()
            self.warped = fitted_warp(c, y, w)
            x = stretched(y, -products(c) @ self.warped)
        super().prepare(x, context, weights)

    def _shaped(self, y: Tensor, context: Tensor) -> Tensor:
        """Outputs (n, d) as the simulator gives them, their stretch undone: (n, *shape)."""
        y = y.reshape(-1, *self.shape)
        return stretched(y, products(context.to(y)) @ self.warped) if len(self.warped) else y

    @abstractmethod
    def features(self, context: Tensor) -> Tensor:
        """phi(c) of inputs (n, c), (n, p)."""

    @abstractmethod
    def inflation(self, features: Tensor, context: Tensor) -> Tensor:
        """g(c) of inputs and their features: (n,), or (n, r) where rows of R differ in it."""

    def _keep_best(self, fits: list[dict[str, Tensor]]) -> None:
        """Keep, of fits by name of buffer, the one with the least leave-one-out ``error``."""
        best = min(fits, key=lambda fit: float(fit["error"]))
        for name in best.keys() - {"error"}:
            setattr(self, name, best[name])

    def objectives(self) -> list[Objective]:
        """Nothing is trained: all is known after `prepare`."""
        return []

    def _law(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and g (n, r)."""
        context = context.to(self.coefficients)
        phi = self.features(context)
        g = self.inflation(phi, context)
        return self.centre + self.unit * (phi @ self.coefficients), \
            g if g.ndim == 2 else g[:, None].expand(-1, len(self.residuals))

    def predict(self, context: Tensor) -> tuple[Tensor, Tensor]:
        mean, g = self._law(context)
        std = self.unit * (g.square() @ self.residuals.square()).sqrt()
        mean, std = self._shaped(mean, context), self._shaped(std, context)
        if not self.options.low_fidelity:
            return mean, std
        low, spread = self.cheap.predict(context)
        return mean + self.rho * low, (std.square() + (self.rho * spread).square()).sqrt()

    def outside(self, context: Tensor) -> Tensor:
        """Of two fidelities the box is that of the cheaper runs: few dear ones span none."""
        return self.cheap.outside(context) if self.options.low_fidelity else super().outside(context)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Mean and a normal error, correlated along the output; rows are independent of each other."""
        assert context is not None
        mean, g = self._law(context)
        error = (g * noise.normal(len(self.residuals)).to(self.residuals)) @ self.residuals
        drawn = self._shaped(mean + self.unit * error, context)
        return drawn + self.rho * self.cheap.draw(noise, context) if self.options.low_fidelity else drawn


def _check_runs(x: Tensor, context: Tensor, family: str) -> None:
    if len(x) < FEWEST_RUNS:
        raise SampleSizeError(f"too few runs for '{family}'", got=len(x), expected=f"at least {FEWEST_RUNS}",
                              do="run the simulator more often, or lower held_out_fraction")
    rows = torch.cat([context.double(), x.flatten(1).double()], 1)
    _, group, counts = rows.unique(dim=0, return_inverse=True, return_counts=True)
    if (counts > 1).any():
        twice = (group == int(counts.argmax())).nonzero().flatten().tolist()
        raise DataError("a run is there more than once", got=f"{len(twice)} equal rows among those learned",
                        expected="every run once: left out, it would still be known by its copy",
                        do="drop the copies: numpy.unique(rows, axis=0)")
