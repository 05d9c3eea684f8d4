"""Which emulator suits these runs: every family and four baselines, cross-validated, with error bars."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import wilcoxon
from torch import Tensor

from sundog.checks import at_least, one_of, whole
from sundog.data.dataset import Dataset
from sundog.errors import DataError, SampleSizeError
from sundog.models.emulators.base import Emulator
from sundog.models.families import FAMILIES
from sundog.random import short, stream
from sundog.results import Result
from sundog.train.fit import fit

FAMILIES_TRIED = ("pod", "ntk", "random-features")
FEWEST = 10  # runs: below, a fold holds nothing to speak of
MODES = 8  # of the Gaussian process on POD amplitudes
SURE = 0.05  # p below which the best is told apart from the second

Answer = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class EmulatorRow:
    """One emulator on runs that it did not learn.

    Attributes
    ----------
    name : family, or baseline in brackets
    scores : (n,) mean square error of each run, every number of the output over its variance among the runs
    inside : (2,) share of numbers within 1 and 2 standard deviations, nan where there are none
    seconds : CPU seconds of learning and answering, all folds
    mean, std : (n, *shape) what it answered, std None where it gives none
    weights : (n,) of the runs, of mean 1, or None: a mean over runs is then one over the law of the design's candidates
    """

    name: str
    scores: Tensor
    inside: tuple[float, float]
    seconds: float
    mean: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    std: Tensor | None = field(default=None, repr=False)
    weights: Tensor | None = field(default=None, repr=False)

    @property
    def errors(self) -> Tensor:
        """Root mean square error of each run over the spread, (n,)."""
        return self.scores.sqrt()

    @property
    def _weighed(self) -> Tensor:
        return self.scores if self.weights is None else self.weights * self.scores

    @property
    def error(self) -> float:
        """Root mean square error over the spread of the outputs; 1 is what the mean of the runs gets."""
        return math.sqrt(float(self._weighed.mean()))

    @property
    def error_bar(self) -> float:
        """Standard error of ``error``, from the scatter between runs."""
        return float(self._weighed.std()) / math.sqrt(len(self.scores)) / (2 * self.error) if self.error else 0.0

    @property
    def baseline(self) -> bool:
        return self.name.startswith("(")


@dataclass(frozen=True)
class EmulationResult(Result):
    """All emulators, best first, and how sure the first place is.

    Attributes
    ----------
    rows : emulators and baselines by error
    p_value : chance of so many runs answered better by the best than by the second if both were as good; Wilcoxon's
        signed ranks of the scores, doubled because the better one was chosen
    data : the runs
    folds : how many
    notes : what could not be tried, and why
    curve : error of the best against runs, where it was asked for
    """

    rows: tuple[EmulatorRow, ...]
    p_value: float
    data: Dataset
    folds: int
    notes: tuple[str, ...] = ()
    curve: LearningCurve | None = None

    @property
    def runs(self) -> int:
        """How many."""
        return len(self.data)

    def facts(self) -> dict[str, Any]:
        """Its numbers, JSON-able."""
        rows = [{"name": row.name, "error": row.error, "error_bar": row.error_bar, "inside": _or_none(row.inside),
                 "seconds": row.seconds} for row in self.rows]
        return {"best": self.best.name, "p_value": self.p_value, "significant": self.significant, "runs": self.runs,
                "rows": rows, "notes": list(self.notes)}

    @property
    def best(self) -> EmulatorRow:
        """The emulator with the least error, baselines included."""
        return self.rows[0]

    @property
    def significant(self) -> bool:
        """Whether the best is told apart from the second."""
        return self.p_value < SURE

    def __str__(self) -> str:
        first, second = self.rows[0], self.rows[1]
        how = f"{second.error / first.error:.2f} x less error than" if first.error else "exact, before"
        told = "" if self.significant else ", which is not significant"
        lines = [f"{first.name} is best on {self.runs} runs, {self.folds} folds: {how} {second.name} "
                 f"(p = {self.p_value:.2g}{told})", "",
                 f"{'emulator':<18} {'error':>9} {'+-':>9} {'in 1 std':>9} {'in 2 std':>9} {'time [s]':>8}"]
        lines += [f"{row.name:<18} {row.error:>9.3g} {row.error_bar:>9.2g} {_percent(row.inside[0]):>9} "
                  f"{_percent(row.inside[1]):>9} {row.seconds:>8.1f}" for row in self.rows]
        return "\n".join([*lines, *self.notes])


def emulate(dataset: Dataset, seed: int = 0, *, families: Sequence[str] = FAMILIES_TRIED, folds: int = 5,
            **options: Any) -> EmulationResult:
    """Every emulator cross-validated on the runs, beside four baselines; says which is best, and whether surely.

    Baselines: the mean of the runs, the nearest run, linear POD, and scikit-learn's Gaussian processes on the
    amplitudes of the 8 strongest modes. Runs held out by the dataset are not touched.

    Parameters
    ----------
    dataset : inputs as context, outputs as values
    seed : of the folds and of the fits
    families : to try, beside the baselines
    folds : each is predicted by emulators of the others
    **options : of `fit` and of every family tried, not of the baselines: ``warp=True``, ``reparametrise={...}``

    Raises
    ------
    SampleSizeError : fewer than 10 runs. DataError : no context, or outputs that never change.
    OptionError : a family that is no emulator.

    Example
    -------
    >>> c = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    >>> runs = Dataset.from_arrays(torch.cat([c, c.prod(1, True)], 1), c, held_out_fraction=0)
    >>> emulate(runs, families=["pod"]).best.name
    'pod'
    """
    for family in families:
        _emulator(family)
    data, unit, parts = _folded(dataset, folds, seed)
    tried: dict[str, Callable[[Dataset, Tensor], Answer]] = {
        **{family: partial(_family, family, seed, **options) for family in families},
        "(mean)": _mean, "(nearest run)": _nearest, "(linear POD)": partial(_family, "pod", seed, degree=1),
        "(GP on modes)": partial(_gaussian_process, seed)}
    rows, notes = [], []
    for name, answer in tried.items():
        try:
            rows.append(_row(name, answer, data, parts, unit))
        except SampleSizeError as error:
            notes.append(f"{name} was left out: {error}")
    rows.sort(key=lambda row: row.error)
    return EmulationResult(tuple(rows), _chance(rows[0], rows[1]), data, folds, tuple(notes))


def _chance(best: EmulatorRow, second: EmulatorRow) -> float:
    """p-value of the best against the second. Ranks: squared errors are heavy-tailed, one run can carry their mean."""
    apart = (best.scores - second.scores).numpy()
    return min(1.0, 2 * float(wilcoxon(apart, alternative="less").pvalue)) if apart.any() else 1.0


@dataclass(frozen=True)
class LearningCurve:
    """Cross-validated error against the number of runs learned, and the power law through it.

    error = scale n^-rate, fitted to the logarithms; beyond the largest n it is an extrapolation.

    Attributes
    ----------
    sizes, errors, error_bars : runs learned, root mean square error over the spread, its standard error
    rate, scale : of the power law
    """

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    error_bars: tuple[float, ...]
    rate: float
    scale: float

    def runs_for(self, error: float) -> float:
        """Runs at which the power law reaches an error; infinite where more runs do not help."""
        return (self.scale / error) ** (1 / self.rate) if self.rate > 0 else math.inf

    def __str__(self) -> str:
        shown = ", ".join(f"{n}: {error:.3g}" for n, error in zip(self.sizes, self.errors))
        half = self.runs_for(self.errors[-1] / 2) - self.runs_for(self.errors[-1])
        more = f"about {half:.0f} more runs halve it" if math.isfinite(half) else "more runs do not help"
        return f"runs: error {shown}; {more} (extrapolated)"


def learning_curve(dataset: Dataset, family: str, seed: int = 0, *, folds: int = 5, **options: Any
                   ) -> LearningCurve:
    """Error of one emulator when it learns 40, 60, 80 and all of the runs that the folds leave it, in per cent.

    ``options`` are those of `emulate`.

    Raises
    ------
    OptionError : fewer than 20 runs, or a family that is no emulator. SampleSizeError : too few for the family.
    """
    _emulator(family)
    (data, unit, parts), rows = _folded(dataset, folds, seed), []
    at_least(len(data), 2 * FEWEST, "number of runs of a learning curve")
    most = len(data) - len(parts[0])
    sizes = [round(share * most) for share in (0.4, 0.6, 0.8, 1.0)]
    for size in sizes:
        def answer(runs: Dataset, inputs: Tensor, size: int = size) -> Answer:
            kept = torch.randperm(len(runs), generator=stream(seed, "curve"))[:size]
            return _family(family, seed, runs[kept], inputs, **options)

        rows.append(_row(family, answer, data, parts, unit))
    slope, offset = np.polyfit(np.log(sizes), np.log([max(row.error, 1e-16) for row in rows]), 1)
    return LearningCurve(tuple(sizes), tuple(row.error for row in rows), tuple(row.error_bar for row in rows),
                         -float(slope), math.exp(offset))


def _emulator(family: str) -> None:
    one_of(family, [name for name, kind in FAMILIES.items() if issubclass(kind, Emulator)], "emulator")


def _folded(dataset: Dataset, folds: int, seed: int) -> tuple[Dataset, Tensor, list[Tensor]]:
    """The runs, the standard deviation of every number of their outputs (d,), and the rows of each fold."""
    data = replace(dataset.train, held_out_fraction=0.0)
    unit = _checked(data)
    folds = whole(folds, "folds", least=2, below=len(data) + 1)
    order = torch.randperm(len(data), generator=stream(seed, "folds"))
    return data, unit, [order[i::folds] for i in range(folds)]


def _checked(data: Dataset) -> Tensor:
    """Standard deviation of every number of the outputs (d,)."""
    if data.context is None:
        raise DataError("the runs have no inputs", got="no context", expected="the parameters of each run",
                        do="pass Dataset.from_arrays(outputs, parameters), or dataset.with_context([...])")
    if data.places:
        raise DataError("runs with points of their own cannot be compared", got="a row per point",
                        expected="outputs on one grid: baselines and closed forms know no other",
                        do="fit deeponet, which reads them as they are, and compare run.predict(data.context) with "
                        "data.values on the runs held out")
    if len(data) < FEWEST:
        raise SampleSizeError("too few runs to compare emulators", got=len(data), expected=f"at least {FEWEST}",
                              do="run the simulator more often, or lower held_out_fraction")
    unit = mean_and_spread(data)[1].flatten()
    unit = torch.where(unit > 1e-7 * data.values.flatten(1).abs().amax(0), unit, 0.0)
    if not bool((unit > 0).any()):
        raise DataError("the outputs never change", got="equal runs", expected="outputs that depend on the input",
                        do="check the simulator")
    return unit


def _row(name: str, answer: Callable[[Dataset, Tensor], Answer], data: Dataset, parts: list[Tensor], unit: Tensor
         ) -> EmulatorRow:
    """Answers on every fold by an emulator of the others; numbers that never change do not count."""
    used, start = unit > 0, time.process_time()
    scores, near, answers = torch.zeros(len(data), dtype=torch.float64), [], []
    for part in parts:
        rest = torch.ones(len(data), dtype=torch.bool)
        rest[part] = False
        held = data[part]
        assert held.context is not None
        mean, std = answer(data[rest], held.context)
        answers.append((mean, std))
        error = (mean.double() - held.values.double()).flatten(1)[:, used] / unit[used]
        scores[part] = error.square().mean(1)
        if std is not None:
            pull = error.abs() / (std.double().flatten(1)[:, used] / unit[used]).clamp(min=1e-300)
            near.append(torch.stack([(pull < times).double().mean(1) for times in (1.0, 2.0)], 1))
    back = torch.cat(parts).argsort()
    means = torch.cat([mean for mean, _ in answers])[back]
    given = [std for _, std in answers if std is not None]
    stds = torch.cat(given)[back] if given else None
    weights = None if data.weights is None else data.weights.double() / data.weights.double().mean()
    w = torch.ones(len(data), dtype=torch.float64) if weights is None else weights
    inside = (w @ torch.cat(near)[back] / len(data)).tolist() if near else [math.nan, math.nan]
    return EmulatorRow(name, scores, (inside[0], inside[1]), time.process_time() - start, means, stds, weights)


def _family(family: str, seed: int, runs: Dataset, inputs: Tensor, **options: Any) -> Answer:
    found = fit(family, runs, seed=seed, device="cpu", **options).predict(inputs)  # type: ignore[attr-defined]
    return found.mean, found.std


def _mean(runs: Dataset, inputs: Tensor) -> Answer:
    shape = (len(inputs), *runs.values.shape[1:])
    mean, spread = mean_and_spread(runs)
    return mean.expand(shape), spread.expand(shape)


def mean_and_spread(runs: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every number of the outputs over the runs as they are weighed, float64."""
    y = runs.values.double()
    w = torch.ones(len(y), dtype=torch.float64) if runs.weights is None else runs.weights.double()
    mean = torch.tensordot(w / w.sum(), y, 1)
    return mean, torch.tensordot(w / w.sum(), (y - mean).square(), 1).sqrt()


def _nearest(runs: Dataset, inputs: Tensor) -> Answer:
    """The output of the run whose input is nearest, inputs over their standard deviation."""
    assert runs.context is not None
    unit = runs.context.std(0)
    return runs.values[torch.cdist(inputs / unit, runs.context / unit).argmin(1)], None


def _gaussian_process(seed: int, runs: Dataset, inputs: Tensor) -> Answer:
    """Gaussian processes of scikit-learn, squared exponentials of one length per input, on amplitudes of modes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    assert runs.context is not None
    low, high = runs.context.double().aminmax(dim=0)
    c, new = (((part.double() - low) / (high - low)).numpy() for part in (runs.context, inputs))
    y = runs.values.double().flatten(1)
    unit = y.std(0).clamp(min=1e-300)
    u, s, v = torch.linalg.svd((y - y.mean(0)) / unit, full_matrices=False)
    mean, variance = torch.zeros(len(new), y.shape[1], dtype=torch.float64), torch.zeros(len(new), y.shape[1]).double()
    for k in range(min(MODES, int((s > 1e-9 * s[0]).sum()))):
        kernel = ConstantKernel(10.0) * RBF([1.0] * c.shape[1], (0.05, 100.0)) + WhiteKernel(1e-6, (1e-10, 1.0))
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=short(seed, 32, "process"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: an input without effect
            process.fit(c, (u[:, k] * s[k]).numpy())
        a, std = (torch.from_numpy(part) for part in process.predict(new, return_std=True))
        mean += a[:, None] * v[k]
        variance += std[:, None].square() * v[k].square()
    shape = (len(new), *runs.values.shape[1:])
    return (y.mean(0) + unit * mean).reshape(shape), (unit * variance.sqrt()).reshape(shape)


def _or_none(shares: tuple[float, float]) -> list[float | None]:
    """NaN, which JSON cannot hold, as None."""
    return [None if math.isnan(share) else share for share in shares]


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"
