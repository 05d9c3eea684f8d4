"""A prior on the signal: a family of simulated signals learned once, whose parameters the data then choose.

One network learns, from simulation, the ratio of every member of the family to the background,

    r(x, theta) = p_S(x | theta) / p_B(x),        theta the parameters, such as the masses of two jets.

In data the network stays as it is; the events inside the window against those beside it, as in CWoLa, tell theta and w
through the likelihood of which of them lie inside,

    l(w, theta) = sum_i ln (1 + k) h_i / (h_i + k) + sum_j v_j ln (1 + k) / (h_j + k),    h = 1 - w + w r(x, theta)

i inside, j beside, k their number beside over that inside, v weights of mean one that carry the events beside to the
masses inside by a parabola (by a line, features that follow the mass were a signal of 0.8 sigma). r enters both sides
alike, so that a simulated background that differs from the true one costs power and does not make signal; and a rare
event of huge r beside the window weighs no more than its logarithm. A score is the mean ratio under the probability of
theta that is left, exp max_w l.

Source: Cheng, Singh & Nachman 2024 (PAWS, arXiv:2405.08889) for the idea; Baldi et al. 2016 for networks of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling, scaling_from_json
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.models.classifier import PairNetwork
from sundog.random import stream
from sundog.tasks.anomaly.detectors.base import Search, deal, fitted
from sundog.tasks.anomaly.detectors.cwola import CWoLa
from sundog.tasks.anomaly.regions import SignalRegion, mass_column, ordered
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.train.checkpoint import read_tensors, write_tensors
from sundog.train.fit import fit
from sundog.train.plan import Plan

MOST = 400  # members of the family that are tried
FEWEST = 1000  # simulated events of either kind
LARGEST = 12.0  # of ln r: a network knows no more of the rarest background
LOWEST, BINS = -6.0, 72  # of ln r, in which events are counted
GRID = torch.cat([torch.zeros(1), torch.logspace(-4, -0.5, 50)]).double()  # of w
LEAD = 0.5  # standard deviations by which a blind search must find more: it is the noisier one
PARTS = 3  # of the events, in turn scored by what the others fit
FIRM = 1.5  # below, nothing is said of a signal
CUT, KEPT = 0.003, 60  # share of the background where family and blind search are compared, and fewest events kept
EPOCHS, LEAST, BATCH, VALIDATION = 60, 1200, 512, 0.2  # of the training: epochs, but no fewer steps than LEAST


@dataclass(frozen=True, eq=False)
class SignalPrior:
    """A family of signals as ln r(x, theta), for the members ``grid`` of the family.

    Attributes
    ----------
    network : log-odds of (x, theta), scaled
    scaling : of (x, theta)
    grid : (k, p) parameters that the data choose from, those that were simulated
    columns, parameters, units : names of x and theta, and the units of both
    """

    network: PairNetwork = field(repr=False)
    scaling: Scaling = field(repr=False)
    grid: Tensor = field(repr=False)
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    units: tuple[str, ...]

    def log_ratios(self, events: Dataset) -> Tensor:
        """ln r(x, theta) of events (n) for every member, float32 (n, k); columns are found by name."""
        x = ordered(events, self.columns)
        d = len(self.columns)
        for name, unit, known in zip(x.names, x.units, self.units):
            if unit and known and unit != known:
                raise ShapeError("the events have other units than the prior", got=f"{name} in {unit}",
                                 expected=known, do="convert the column")
        z = self.scaling.forward(torch.cat([x.values.float(), self.grid[:1].expand(len(x), -1)], 1))[:, :d]
        theta = self.scaling.forward(torch.cat([x.values[:1].float().expand(len(self.grid), -1), self.grid], 1))[:, d:]
        with torch.no_grad():
            return self.network.table(z.float(), theta.float()).clamp(max=LARGEST)

    def save(self, path: str | Path) -> Path:
        """The file written, which ``load`` reads: one safetensors."""
        facts = {"sundog_prior": 1, "network": self.network.config(), "columns": self.columns,
                 "parameters": self.parameters, "units": self.units, "scaling": self.scaling.to_json()}
        write_tensors(Path(path), {"grid": self.grid, **self.network.state_dict()}, facts)
        return Path(path)

    @staticmethod
    def load(path: str | Path) -> SignalPrior:
        """The prior of a file.

        Raises
        ------
        RunError : no such file, a damaged one. OptionError : a file of something else.
        """
        tensors, facts = read_tensors(Path(path))
        if "sundog_prior" not in facts:
            raise OptionError("this file holds no prior on the signal", got=str(path),
                              expected="one of SignalPrior.save", do="make one with: sundog anomaly prior")
        options = dict(facts["network"])
        network = PairNetwork(options.pop("shape"), options.pop("context_dim"), **options)
        grid = tensors.pop("grid")
        network.load_state_dict(tensors)
        return SignalPrior(network.eval(), scaling_from_json(facts["scaling"]), grid, tuple(facts["columns"]),
                           tuple(facts["parameters"]), tuple(facts["units"]))


def learn_prior(signals: Dataset, background: Dataset, seed: int = 0) -> SignalPrior:
    """The prior learned from simulated signals, whose context is the mass and then the parameters, and background.

    Each background event takes the parameters of a random signal event, so that the network cannot tell one from the
    other by these. Features are the columns of the signals, found in the background by name.

    Parameters
    ----------
    signals : context (m, theta_1 ...), see ``simulate.pythia.pythia_signals``
    background : simulated events, or events beside the window

    Raises
    ------
    ShapeError : signals without parameters. SampleSizeError : fewer than 1000 of either.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> theta = torch.rand(1000, 1, generator=g) * 4 - 2
    >>> x = torch.cat([theta + 0.3 * torch.randn(1000, 1, generator=g), torch.randn(1000, 1, generator=g)], 1)
    >>> signals = Dataset.from_arrays(x, torch.cat([torch.full_like(theta, 3.5), theta], 1),
    ...                               context_names=("m", "theta"))
    >>> prior = learn_prior(signals, Dataset.from_arrays(torch.randn(2000, 2, generator=g)))
    >>> prior.parameters, prior.grid.shape
    (('theta',), torch.Size([400, 1]))
    """
    if signals.context is None or signals.context.shape[1] < 2:
        raise ShapeError("the signals have no parameters", got=", ".join(signals.context_names) or "no context",
                         expected="the mass, and then at least one parameter", do="name them as context columns; see "
                         "help(sundog.simulate.pythia.pythia_signals)")
    background = ordered(background, signals.names)
    if min(len(signals), len(background)) < FEWEST:
        raise SampleSizeError("too few simulated events", got=f"{len(signals)} signals, {len(background)} background",
                              expected=f"at least {FEWEST} of each", do="simulate more")
    g, theta = stream(seed, "prior"), signals.context[:, 1:].float()
    of = theta[torch.randint(len(theta), (len(background),), generator=g)]
    x = torch.cat([torch.cat([signals.values.float(), theta], 1), torch.cat([background.values.float(), of], 1)])
    y = (torch.arange(len(x)) < len(signals)).float()
    weights = torch.where(y == 1, 0.5 / len(signals), 0.5 / len(background)) * len(x)
    labelled = Dataset.from_arrays(y[:, None], x, ("label",), weights=weights, held_out_fraction=0.0)
    each = max(1, round((1 - VALIDATION) * len(x) / BATCH))
    run = fit(PairNetwork, labelled, scaling="identity", kinds="continuous", parameters=theta.shape[1], plan=Plan(
        steps=max(EPOCHS * each, LEAST), batch=BATCH, validation_fraction=VALIDATION, validate_every=each, seed=seed))
    assert isinstance(run.model, PairNetwork) and isinstance(run.context_scaling, Scaling)
    grid = theta.unique(dim=0)
    grid = grid[torch.randperm(len(grid), generator=g)[:MOST].sort().values]
    return SignalPrior(run.model, run.context_scaling, grid, signals.names,
                       signals.context_names[1:], (*signals.units, *signals.context_units[1:]))


@dataclass(frozen=True, eq=False)
class FamilyFit:
    """What the data say of a family.

    Attributes
    ----------
    gain : (k,) max_w l(w, theta) of every member
    fraction : (k,) the w of these maxima
    """

    gain: Tensor
    fraction: Tensor

    @property
    def probability(self) -> Tensor:
        """(k,) of each member, equal before the data."""
        return torch.softmax(self.gain, 0)

    def score(self, log_ratios: Tensor) -> Tensor:
        """ln of the mean ratio to background, float64 (n,), from ln r (n, k)."""
        return torch.logsumexp(log_ratios.double() + self.probability.log(), 1)


def fit_family(inside: Tensor, beside: Tensor, weights: Tensor | None = None) -> FamilyFit:
    """The fit of l(w, theta) to ln r (n, k) inside the window and (m, k) beside it, with weights (m,) of mean one.

    Events are counted in bins of ln r, a quarter wide.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.cat([torch.randn(3000, generator=g), 2 + 0.3 * torch.randn(100, generator=g)])
    >>> at = torch.tensor([-2.0, 2.0])
    >>> def ratio(x): return -0.5 * ((x[:, None] - at) / 0.3) ** 2 - np.log(0.3) + 0.5 * x[:, None] ** 2
    >>> found = fit_family(ratio(x), ratio(torch.randn(20_000, generator=g)))
    >>> bool(found.probability[1] > 0.99), bool((found.fraction[1] - 100 / 3100).abs() < 0.015)
    (True, True)
    """
    return likeliest(binned(inside), binned(beside, weights), len(beside) / len(inside))


def likeliest(counts: Tensor, others: Tensor, k: float) -> FamilyFit:
    """The fit of l(w, theta) to counts of ``binned`` inside and beside the window, k events beside per one inside.

    Counts add up: those of all parts but one are the sum less that part.
    """
    r = torch.linspace(LOWEST, LARGEST, BINS + 1).double()
    h = 1 + GRID[:, None] * ((0.5 * (r[1:] + r[:-1])).exp() - 1)
    gain = counts @ ((1 + k) * h / (h + k)).log().T + others @ ((1 + k) / (h + k)).log().T
    best = gain.max(1)
    return FamilyFit(best.values, GRID[best.indices])


def binned(log_ratios: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted counts (k, bins) of ln r (n, k), float64."""
    n, k = log_ratios.shape
    at = ((log_ratios - LOWEST) * (BINS / (LARGEST - LOWEST))).long().clamp(0, BINS - 1) + BINS * torch.arange(k)
    each = None if weights is None else weights.double()[:, None].expand(n, k).reshape(-1)
    return torch.bincount(at.reshape(-1), each, BINS * k).reshape(k, BINS).double()


def carried(beside: Tensor, inside: Tensor) -> Tensor:
    """Weights (m,) of mean one whose mean of numbers at masses ``beside`` is that of the parabola through them over the
    masses ``inside``.

    Example
    -------
    >>> m = torch.tensor([1.0, 2.0, 4.0, 5.0])
    >>> bool(((carried(m, torch.tensor([3.0])) * (m**2 - 5 * m + 1)).mean() + 5).abs() < 1e-9)
    True
    """
    centre = beside.double().mean()
    there, here = (torch.stack([(m.double() - centre) ** k for k in range(3)], 1) for m in (beside, inside))
    return len(there) * (there @ torch.linalg.solve(there.T @ there, here.mean(0)))


@dataclass(eq=False)
class FamilySearch(Search):
    """A search for a family of signals, and a blind one beside it: what finds more gives the scores.

    Two thirds of the events fit, the others are counted above the curve beside the window, and so in turn; ``told_``
    says which found more and how much. Of too few events for that the family alone gives the scores. A signal that is
    no member of the family is then found as well as by ``CWoLa``.

    Parameters
    ----------
    region : the signal region
    seed : of parts and trees
    prior : a ``SignalPrior`` or its file
    members : boostings in the ensemble of the blind search
    blind : whether there is one

    Source: see this module.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> toy, g = ResonantToy(), torch.Generator().manual_seed(0)
    >>> theta = 3 * torch.rand(2000, 1, generator=g)
    >>> x = theta * torch.tensor([1.0, -1.0, 1.0, 1.0]) + 0.4 * torch.randn(2000, 4, generator=g)
    >>> signals = Dataset.from_arrays(x, torch.cat([torch.full_like(theta, 3.5), theta], 1),
    ...                               context_names=("m", "at"))
    >>> prior = learn_prior(signals, toy.background(5000, 1))
    >>> found = FamilySearch(SignalRegion(3.3, 3.7), prior=prior, members=1).fit(toy.events(6000, 0.02, seed=0))
    >>> found.by_family_
    True
    """

    prior: Any = None
    members: int = 4
    blind: bool = True
    prior_: SignalPrior | None = field(default=None, init=False, repr=False)
    family_: FamilyFit | None = field(default=None, init=False, repr=False)
    blind_: CWoLa | None = field(default=None, init=False, repr=False)
    found_: tuple[float, float] | None = field(default=None, init=False, repr=False)

    def _check(self) -> None:
        if not isinstance(self.prior, SignalPrior | str | Path):
            raise OptionError("there is no prior on the signal", got=repr(self.prior),
                              expected="a SignalPrior, or its file", do="make one with learn_prior, or with sundog "
                              "anomaly prior and pass prior=FILE (--set prior=FILE)")

    def learn(self, events: Dataset) -> None:
        self.prior_ = self.prior if isinstance(self.prior, SignalPrior) else SignalPrior.load(self.prior)
        inside, beside = self.region.contains(events), self.region.sidebands(events, self.region.width)
        ratios, mass = self.prior_.log_ratios(events), mass_column(events)

        part, weights = deal(len(events), PARTS, self.seed), torch.zeros(len(events)).double()
        weights[beside] = carried(mass[beside], mass[inside])
        counts = [(binned(ratios[inside & mine]), binned(ratios[beside & mine], weights[beside & mine]))
                  for mine in (part == k for k in range(PARTS))]
        here, there = (sum(each) for each in zip(*counts))
        ratio = float(beside.sum() / inside.sum())
        self.family_ = likeliest(here, there, ratio)
        if not self.blind:
            return
        scores = torch.empty(2, len(events), dtype=torch.float64)
        for k in range(PARTS):
            mine, other = part == k, part != k
            scores[0, mine] = likeliest(here - counts[k][0], there - counts[k][1], ratio).score(ratios[mine])
            try:
                blind = CWoLa(self.region, seed=self.seed + k, members=1).fit(events[other])
            except SampleSizeError:
                return  # parts are too small for a search
            scores[1, mine] = blind.score_samples(events[mine])
        self.found_ = (_excess(events, scores[0], part, self.region), _excess(events, scores[1], part, self.region))
        if not self.by_family_:
            self.blind_ = CWoLa(self.region, seed=self.seed, members=self.members).fit(events)

    @property
    def by_family_(self) -> bool:
        """Whether the blind search finds nothing firm, or no more than the family but for ``LEAD``."""
        return self.found_ is None or self.found_[1] < max(FIRM, self.found_[0] + LEAD)

    @property
    def parameters_(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of every parameter under the probability that the data leave, to which the
        distance of the members is added: range / k^(1/p).
        """
        p, grid = fitted(self.family_).probability, fitted(self.prior_).grid.double()
        mean = p @ grid
        apart = (grid.max(0).values - grid.min(0).values) / len(grid) ** (1 / grid.shape[1])
        spread = (p @ (grid - mean) ** 2 + apart**2).sqrt()
        return dict(zip(self.prior_.parameters, zip(mean.tolist(), spread.tolist())))  # type: ignore[union-attr]

    @property
    def told_(self) -> str:
        """Family or blind search, and the parameters."""
        where = ", ".join(f"{name} {mean:.3g} +- {spread:.2g}" for name, (mean, spread) in self.parameters_.items())
        if self.found_ is None:
            return f"scored by the family of signals: {where}"
        family, blind = self.found_
        by = f"family of signals ({family:.1f} sigma; blind {blind:.1f})" if self.by_family_ else \
            f"blind search ({blind:.1f} sigma; family {family:.1f})"
        said = "a signal here is outside the family" if not self.by_family_ else where if family > FIRM else \
            "neither finds much"
        return f"scored by the {by}: {said}"

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """ln of the mean ratio to background over the family, or the log-odds of ``CWoLa``, float64 (n,)."""
        events = self.seen(x, m)
        if not self.by_family_:
            return fitted(self.blind_).score_samples(events)
        return fitted(self.family_).score(fitted(self.prior_).log_ratios(events))


def _excess(events: Dataset, score: Tensor, part: Tensor, region: SignalRegion) -> float:
    """Significance of what a cut keeps, above the curve beside the window."""
    mass, beside = mass_column(events).numpy(), region.sidebands(events)
    kept, cut = torch.zeros(len(score), dtype=torch.bool), min(max(CUT, KEPT / int(beside.sum())), 0.1)
    for k in range(PARTS):
        mine = part == k
        kept[mine] = score[mine] > np.quantile(score[mine & beside].numpy(), 1 - cut)
    edges = common_edges(mass, [region])
    return float(fit_bump(mass[kept.numpy()], region, edges, fit_bump(mass, region, edges)).significance)
