"""The door of the separation: `separate`, its options, and what is checked before an hour of work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, ShapeError
from sundog.random import stream
from sundog.solve.descend import Progress
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.scattering.moments.masked import checked_mask
from sundog.tasks.separation.descent import Problem, Schedule, Solution
from sundog.tasks.separation.journal import Journal
from sundog.tasks.separation.losses import Loss, Match
from sundog.tasks.separation.parts import split
from sundog.tasks.separation.phi import Domain, Statistics, default_octaves
from sundog.tasks.separation.result import Report, Separation, trust
from sundog.tasks.separation.sources import sources
from sundog.tasks.separation.start import filled, gaussian_start, local_start

STARTS = {"local": local_start, "gaussian": gaussian_start}
MOST_CHANNELS = 9  # more is a stack of maps passed by mistake


def separate(
    d: Any,
    contaminations: Any,
    losses: Sequence[Loss] = (Match(),),
    *,
    seed: int = 0,
    J: int | None = None,
    L: int = 4,
    bins: int = 20,
    isotropic: bool = True,
    accuracy: str = "fast",
    levels: int = 12,
    start: str = "local",
    boundary: str = "auto",
    mask: Any = None,
    update: Any = None,
    regions: Any = None,
    patches: bool = False,
    method: str = "bias",
    draws: int = 64,
    eras: int = 5,
    iterations: int = 30,
    polish: int = 10,
    target: float = 0.1,
    repeats: int = 0,
    progress: Progress | None = None,
    keep: str | Path | None = None,
) -> Separation:
    """Return the signal s of a mixture d = s + c, from draws of the contamination c alone.

    Parameters
    ----------
    d : (ny, nx) mixture, or (C, ny, nx) for C channels (Stokes Q and U); an array, or a Dataset of one sample. With
        ``patches``, (P, ny, nx) or (P, C, ny, nx). Integers become float64. NaN is allowed where ``mask`` is 0.
    contaminations : (m, [C,] ny, nx) maps, or a Dataset of them; or a function (n, generator) -> (n, [C,] ny, nx); or
        a fitted run, whose ``sample(n, seed=...)`` draws them; or a dictionary {name: one of these} for several
        contaminations at once. In the unit of d, with their mean.
    losses : what must hold at the truth; weights come from their own variances over the draws.
    seed : of the draws and of the start.
    J, L, bins, isotropic, accuracy : of the statistics, see `ScatteringCovariance`. J is floor(log2(side)) - 1, two
        less on maps with open edges.
    levels : thresholds per smoothed map of the one-point distributions that are matched beside Phi; 0 for none. They
        need whole periodic maps and are left out elsewhere.
    start : "local", a constrained map that is Gaussian place by place (`local_start`), or "gaussian".
    boundary : "periodic", "edge-mask" for maps that do not wrap around, or "auto": what a Dataset says of itself
        (``periodic``), and periodic for arrays.
    mask : (ny, nx), 0 where d is unknown: no statistics are taken there.
    update : (ny, nx), 0 where d is clean: the signal is d there, draws are set to 0, and statistics see both. Elsewhere
        pixels move. All of them when None.
    regions : (R, ny, nx) weights; every region is matched alone, for contaminations and skies that are not stationary.
    patches : whether the first axis of d counts patches of one kind of sky. All are solved for at once, and statistics
        are matched in the mean over patches: chance correlations fall as 1 / sqrt(P). Contaminations are those of one
        patch, and independent between patches; mask, update and regions hold for each; maps of losses have P in front.
    method, draws, eras, iterations, polish, target : how the solution is sought, see `Schedule`. Fewer draws are used
        if fewer maps are given.
    repeats : further solutions from other seeds.
    progress : called with (step, loss).
    keep : folder where descents that have ended are kept until all are: the same call goes on there after a kill,
        with the same bits.

    The start matters: the descent leaves alone what the statistics do not ask to change.

    Errors: ShapeError for maps or units that do not fit, SampleSizeError for fewer than 10 contaminations, DataError
    for NaN and constant maps, OptionError for options that do not exist and J too large.

    Example
    -------
    >>> import math
    >>> g = torch.Generator().manual_seed(0)
    >>> y = torch.arange(32) * 2 * math.pi / 32
    >>> truth = 2 * torch.sin(2 * y)[:, None] * torch.cos(y)
    >>> noise = torch.randn(40, 32, 32, generator=g)
    >>> found = separate(truth + noise[0], noise[1:], eras=2, iterations=10)
    >>> bool((found.signal - truth).square().mean() < 0.3 * noise[0].square().mean())
    True
    """
    began = time.perf_counter()
    if not losses:
        raise OptionError("no loss", got="an empty list", expected="e.g. [Match()]", do="leave losses out")
    one_of(start, STARTS, "start")
    data, size = _mixture(d, mask, patches)
    P, C, shape = data.shape[0], data.shape[1], (int(data.shape[-2]), int(data.shape[-1]))
    domain = Domain(shape, _boundary(d, boundary), _mask(mask, shape), _regions(regions))
    J = default_octaves(shape, domain.boundary != "periodic") if J is None else J
    phi = Statistics(domain, J, L, bins, isotropic=isotropic, accuracy=accuracy, levels=levels if domain.whole else 0,
                     patches=P)  # fmt: skip
    schedule = Schedule(method, draws, eras, iterations, polish, target=target)
    centre, unit = _scale(data, domain.mask)
    data = data.flatten(0, 1)
    units = d.units if isinstance(d, Dataset) else ()
    whole, parts = sources(contaminations, (C, *shape), unit[:C], units, P)
    standard = (data - centre) / unit
    phi.set_levels(standard)
    ready = [loss.prepared(standard, centre, unit) for loss in losses]
    journal = Journal(None if keep is None else Path(keep), (
        standard, domain, update, P, J, L, bins, isotropic, accuracy, levels, schedule, ready))
    free = None if update is None else _free(update, shape, parts)
    draw = whole if free is None else lambda n, generator: whole(n, generator) * free
    problem = Problem(phi, standard, draw, ready, schedule, free, progress, journal)
    solutions: list[Solution] = []
    for i in range(1 + repeats):
        generator = stream(seed, "separation", i)
        noise = draw(draws, generator)
        first = STARTS[start](standard.unflatten(0, (P, C)), noise[:, :C], bins, domain.boundary == "periodic",
                              generator).flatten(0, 1)  # fmt: skip
        first = first if free is None else torch.where(free, first, standard)
        solutions.append(problem.solve(first, generator))
    found = [solution.u for solution in solutions]
    generator = stream(seed, "separation trust")
    noise = draw(draws, generator)
    facts = trust(phi, found, noise)
    components = split(phi, standard - found[0], parts, schedule, generator) if len(parts) > 1 else {}
    report = Report(
        **facts, losses=solutions[0].losses, endings=solutions[0].endings, eras=eras,
        evaluations=sum(solution.evaluations for solution in solutions), seconds=time.perf_counter() - began,
    )  # fmt: skip

    def shown(x: Tensor) -> Tensor:
        x = x if domain.mask is None else torch.where(domain.mask.to(x) != 0, x, torch.nan)
        return x.reshape(*x.shape[:-3], *size)

    journal.close()
    signals = torch.stack(found) * unit + centre
    signals = signals if free is None else torch.where(free, signals, data)  # bit by bit
    return Separation(
        shown(signals[0]), shown(data - signals[0]), report, shown(signals[1:]), shown(noise[:16] * unit),
        {name: shown(part * unit) for name, part in components.items()}, phi,
    )  # fmt: skip


def _mixture(d: Any, mask: Any, patches: bool) -> tuple[Tensor, tuple[int, ...]]:
    """The mixture (P, C, ny, nx), missing pixels filled, and the shape in which results leave."""
    d = d.values if isinstance(d, Dataset) else d
    d = torch.as_tensor(d if isinstance(d, Tensor) else np.asarray(d))
    while not patches and d.ndim > 3 and len(d) == 1:
        d = d[0]
    one = d.shape[int(patches) :]  # of a patch
    if len(one) not in (2, 3) or (len(one) == 3 and one[0] > MOST_CHANNELS):
        expected = f"(ny, nx), or up to {MOST_CHANNELS} channels" + ", for every patch" * patches
        raise ShapeError("the mixture is not one map", got=tuple(d.shape), expected=expected,
                         do="pass d[0]; many patches of one kind of sky: patches=True, or sundog separate --patches")
    one = one[1:] if len(one) == 3 and one[0] == 1 else one
    size = (*d.shape[: int(patches)], *one)
    d = d.reshape(len(d) if patches else 1, -1, *d.shape[-2:])
    if not d.is_floating_point():
        d = d.double()
    known = _mask(mask, (int(d.shape[-2]), int(d.shape[-1])))
    if known is not None:
        d = filled(torch.where(known != 0, d, torch.zeros_like(d)), known)
    d = checked_images(d)
    return d if d.dtype == torch.float32 else d.double(), size


def _scale(data: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Centre and unit (P C, 1, 1) of the known pixels; patches share the unit of a channel."""
    known = data.flatten(2) if mask is None else data[..., mask != 0]
    width = known.std(2)
    if not bool((width > 0).all()):
        raise DataError("a constant mixture", got="one value", expected="a map that varies", do="check the map")
    unit = width.square().mean(0).sqrt().expand_as(width)
    return known.mean(2).reshape(-1, 1, 1), unit.reshape(-1, 1, 1)


def _boundary(d: Any, boundary: str) -> str:
    if boundary == "auto":
        return "edge-mask" if isinstance(d, Dataset) and not d.periodic else "periodic"
    return boundary


def _mask(mask: Any, shape: tuple[int, int]) -> Tensor | None:
    if mask is None:
        return None
    mask = torch.as_tensor(mask if isinstance(mask, Tensor) else np.asarray(mask))
    return checked_mask(mask, shape).float()


def _free(update: Any, shape: tuple[int, int], parts: Mapping[str, Any]) -> Tensor:
    """Pixels (ny, nx) that move."""
    if len(parts) > 1:
        raise OptionError("pixels that are clean, and several contaminations", got=f"update and {len(parts)} parts",
                          expected="one contamination", do="add their draws up, or leave update out")
    return checked_mask(torch.as_tensor(update if isinstance(update, Tensor) else np.asarray(update)), shape)


def _regions(regions: Any) -> Tensor | None:
    if regions is None:
        return None
    return torch.as_tensor(regions if isinstance(regions, Tensor) else np.asarray(regions)).float()
