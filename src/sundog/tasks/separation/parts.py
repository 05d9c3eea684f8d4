"""Split a sum of several contaminations into its parts, each known by draws."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sundog.solve.descend import descend
from sundog.tasks.separation.descent import Schedule
from sundog.tasks.separation.phi import Statistics, measured, spread
from sundog.tasks.separation.sources import Draw


def split(
    phi: Statistics, r: Tensor, parts: Mapping[str, Draw], schedule: Schedule, generator: torch.Generator
) -> dict[str, Tensor]:
    """Maps (C, ny, nx) that add up to r, each with the statistics of its draws.

    Sought are u_1 ... u_(m-1), with u_m = r - sum; the loss is the mean over parts of the mean squared pull of Phi(u_m)
    from <Phi(c_m,i)>, and of the powers between parts from 0. The start is the constrained Gaussian map
    r_m = P_m / P r + the fluctuation that the draws leave free.
    """
    drawn = {name: part(schedule.draws, generator) for name, part in parts.items()}
    fewest = min(len(maps) for maps in drawn.values())
    maps = torch.stack([found[:fewest] for found in drawn.values()])  # (m, n, C, ny, nx)
    with torch.no_grad():
        alone = [measured(phi, found) for found in maps]
        targets, sigmas = [a.mean(0) for a in alone], [spread(a) for a in alone]
        start = _constrained(phi, r, maps)

    def loss(u: Tensor) -> Tensor:
        every = torch.cat([u, (r - u.sum(0))[None]])
        found = phi(every)
        pulls = [phi.distance(f, target, sigma) for f, target, sigma in zip(found, targets, sigmas)]
        return torch.stack(pulls).mean()

    steps = schedule.eras * schedule.iterations
    u = descend(loss, start, iterations=steps, target=1.0).x  # the parts are draws: they scatter as draws do
    return dict(zip(parts, torch.cat([u, (r - u.sum(0))[None]])))


def _constrained(phi: Statistics, r: Tensor, maps: Tensor) -> Tensor:
    """A Gaussian draw of all parts but the last given their sum: (m - 1, C, ny, nx).

    x_m = c_m + P_m / P (r - sum c), with c one draw of each part (Hoffman & Ribak 1991, ApJ 380, L5).
    """
    first = maps[:, 0]
    centred = maps - maps.mean((-2, -1), keepdim=True)
    power = phi.bands(centred).mean(1)  # (m, C, b)
    share = power / power.sum(0).clamp_min(torch.finfo(power.dtype).tiny)
    shape = (*r.shape[:-1], r.shape[-1] // 2 + 1)
    f = torch.fft.rfft2(r - first.sum(0))
    moved = [torch.fft.irfft2(f * phi.bands.spread(s).reshape(shape), s=tuple(r.shape[-2:])) for s in share]
    return first[:-1] + torch.stack(moved)[:-1]
