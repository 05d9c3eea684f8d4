"""Emulator: the law of a simulator's output given its input. Its contract, and the linear ones in closed form."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.models.base import Batch, Model, Objective, RowNoise
from sundog.models.emulators.warp import fitted_warp, products, stretched
from sundog.models.options import Options, option

FEWEST_RUNS = 3
MOST_CHANNELS = 32  # learned one by one where outputs are cut
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
        w = x.new_ones(len(x)).double() if weights is None else weights.double() / weights.double().mean()
        self.learn(context.double(), self._placed(x, context, w), w)

    def _placed(self, x: Tensor, context: Tensor, w: Tensor) -> Tensor:
        """Outputs (n, d) centred and of unit spread, once box, centre and unit are those of these runs."""
        y = x.flatten(1).double()
        self.low, self.high = context.double().aminmax(dim=0)
        self.centre = (w @ y) / len(y)
        spread = (w @ (y - self.centre).square() / len(y)).sqrt()
        # What rounding leaves of a constant is no spread.
        self.unit = torch.where(spread > 1e-14 * y.abs().amax(0), spread, 0.0)
        return (y - self.centre) / self._divisor()

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
                        "depends on the input, found from the runs: for features that move, as peaks of a spectrum; "
                        "kept where it leaves less error on runs left out")
    cuts: tuple[int, ...] = option(None, "places at which outputs are cut along their last axis: every stretch of "
                                   "every channel is learned on its own, the last one alone warped; [] parts the "
                                   "channels only. For few numbers that go with the input as no other does", least=1)
    low_fidelity: bool = option(False, "it corrects an emulator of a cheaper simulator; `fit` is given those runs")

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> Self:
        if self.cuts is not None and (len(shape) > 2 or math.prod(shape[:-1]) > MOST_CHANNELS):
            raise OptionError("cuts need outputs along an axis", got=f"outputs of shape {shape}", do="leave cuts out",
                              expected=f"(L,), or (channels, L) of at most {MOST_CHANNELS} channels")
        if self.cuts and (list(self.cuts) != sorted(set(self.cuts)) or self.cuts[-1] >= shape[-1]):
            raise OptionError("cuts do not part the outputs", got=self.cuts,
                              expected=f"rising places below {shape[-1]}, the numbers along the axis",
                              do="pass e.g. cuts=[30]: the first 30 numbers, and the rest")
        return self


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
    rho: (); cheap: the emulator of the cheaper simulator; parts: where outputs are cut, the emulators of the stretches
    """

    options: LinearOptions

    fixes: ClassVar[Mapping[str, Any]] = {"precision": "float64", "validation_fraction": 0.0}
    coefficients: Tensor
    residuals: Tensor
    warped: Tensor
    rho: Tensor
    cheap: LinearEmulator
    parts: nn.ModuleList
    left_out: Tensor  # known while it learns

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        for name in ("coefficients", "residuals"):
            self.register_buffer(name, torch.zeros(0, math.prod(self.shape)))
        self.register_buffer("warped", torch.zeros(0))
        self.register_buffer("rho", torch.zeros(()))
        if self.options.low_fidelity:
            self.cheap = type(self)(shape, context_dim, **{**options, "low_fidelity": False})
        plain = {**options, "cuts": None, "low_fidelity": False}
        self.parts = nn.ModuleList(
            type(self)((learned.stop - learned.start,), context_dim,
                       **{**plain, "warp": self.options.warp and learned.stop == self.shape[-1]})
            for _, learned, _ in self._stretches())

    def prepare(self, x: Tensor, context: Tensor | None, weights: Tensor | None = None) -> None:
        """As `Emulator.prepare`; of two fidelities ``cheap`` has been prepared before."""
        assert context is not None
        w = x.new_ones(len(x)).double() if weights is None else weights.double()
        if self.options.low_fidelity:
            low = self.cheap.predict(context)[0].double()
            base, wanted = ((y - (w @ y) / w.sum()) for y in (low.flatten(1), x.flatten(1).double()))
            self.rho = (w @ (base * wanted)).sum() / (w @ base.square()).sum().clamp(min=1e-300)
            x = x - self.rho * low
        if self.options.cuts is None:
            super().prepare(x, context, weights)
            if self.options.warp:
                self._warp_if_better(x.double(), context.double(), w)
            return
        self._placed(x, context, w / w.mean())
        for part, (channel, learned, _) in zip(self.parts, self._stretches()):
            part.prepare(x.reshape(len(x), -1, self.shape[-1])[:, channel, learned], context, weights)  # type: ignore

    def _warp_if_better(self, y: Tensor, c: Tensor, w: Tensor) -> None:
        """Learn the outputs stretched too, and keep that where it leaves less of runs left out.

        Counted are the places that no stretch reads beyond the end for.
        """
        plain, unit, error = dict(self.named_buffers(recurse=False)), self._divisor(), self.left_out
        warped = fitted_warp(c, y, w)
        log_s = products(c) @ warped
        super().prepare(stretched(y, -log_s), c, w)
        apart = (self.left_out * (self._divisor() / unit).square() - error).reshape(-1, self.shape[-1])
        if apart[:, : math.ceil(self.shape[-1] * math.exp(float(log_s.min() - log_s.max())))].sum() < 0:
            self.warped = warped
            return
        for name, held in plain.items():
            setattr(self, name, held)

    def _stretches(self) -> list[tuple[int, slice, slice]]:
        """Of each part its channel, the places that it learns, and those of them that it answers for.

        A warp reads before the cut, so where there is one the last stretch is learned with all that lies before.
        """
        if self.options.cuts is None:
            return []
        length = self.shape[-1]
        edges = [0, *self.options.cuts, length]
        return [(channel, slice(0 if self.options.warp and b == length else a, b), slice(a, b))
                for channel in range(math.prod(self.shape[:-1])) for a, b in zip(edges[:-1], edges[1:])]

    def _joined(self, answers: Sequence[Tensor]) -> Tensor:
        """Outputs (n, *shape) of the answers of the parts."""
        whole = answers[0].new_empty(len(answers[0]), math.prod(self.shape[:-1]), self.shape[-1])
        for answer, (channel, learned, kept) in zip(answers, self._stretches()):
            whole[:, channel, kept] = answer[:, kept.start - learned.start :]
        return whole.reshape(-1, *self.shape)

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
        """Keep, of fits by name of buffer, the one with the least leave-one-out ``error``, (d,) squares over runs."""
        best = min(fits, key=lambda fit: float(fit["error"].sum()))
        self.left_out = best["error"]
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

    def _alone(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, without what a cheaper simulator says."""
        if self.options.cuts is not None:
            means, stds = zip(*(part.predict(context) for part in self.parts))  # type: ignore[operator]
            return self._joined(means), self._joined(stds)
        mean, g = self._law(context)
        std = self.unit * (g.square() @ self.residuals.square()).sqrt()
        return self._shaped(mean, context), self._shaped(std, context)

    def predict(self, context: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self._alone(context)
        if not self.options.low_fidelity:
            return mean, std
        low, spread = self.cheap.predict(context)
        return mean + self.rho * low, (std.square() + (self.rho * spread).square()).sqrt()

    def outside(self, context: Tensor) -> Tensor:
        """Of two fidelities the box is that of the cheaper runs: few dear ones span none."""
        return self.cheap.outside(context) if self.options.low_fidelity else super().outside(context)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Mean and a normal error, correlated along the output, not across cuts; rows are independent of each other."""
        assert context is not None
        if self.options.cuts is not None:
            drawn = self._joined([part.draw(noise, context) for part in self.parts])  # type: ignore[operator]
        else:
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
