"""Gaps of skies: a constrained Gaussian start in a_lm, then each gap made one among windows elsewhere on the sphere.

Both for normal scores of the pixels: where a sky is skewed, what is small varies more where the sky is high, and a
constrained Gaussian sky of the pixels themselves would vary the same everywhere. For the same reason the windows are
those whose surroundings are most like the surroundings of the gap.

Windows are flat: pixels of a tangent plane as wide as those of the sky, means of the four nearest. Where a gap is too
wide for a plane, or too little of the sky is whole, the statistics of the whole sky are met instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.polynomial.legendre import legval
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import solve
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.special import ndtri
from torch import Tensor

from sundog.models.microcanonical.elsewhere import CLOSE, FEWEST, SEAM, WINDOWS, Elsewhere, opened
from sundog.models.microcanonical.sky import SkyConstraints
from sundog.solve.descend import Descent
from sundog.solve.together import descend_rows
from sundog.statistics.sphere.transforms import analyse_healpix, copies, degrees, pixel_vectors, synthesise_healpix

Array = NDArray[Any]
STEPS = 60  # of the messenger field, two transforms each
NEAREST = 1500  # known pixels that say what a gap holds
JITTER = 1e-6  # of their variance, on the diagonal of their covariance
WIDEST = math.radians(25)  # radius of a gap in a tangent plane
STRAIN = 0.005  # weight of the squared change from the start, in units of its variance, in gaps without windows
FRAME = 3.0  # side of a window over the width of its gap


def conditional(x: Tensor, gap: Array, seen: Tensor, power: Tensor, vectors: Array) -> Tensor:
    """Return the likeliest pixels (n, m) of a gap in RING skies x (n, pixels) under a Gaussian law of mean 0.

    C_gk C_kk^-1 x_k with C(theta) = sum_l (2l + 1) / (4 pi) C_l P_l(cos theta), over the known pixels nearest to the
    gap. Of the difference of known pixels and a random sky it makes a constrained random sky.

    Parameters
    ----------
    seen : (pixels,) true where x is known; power : (lmax + 1,) C_l; vectors : (pixels, 3)

    Source: Hoffman & Ribak 1991, ApJ 380, L5.

    Example
    -------
    >>> vectors = pixel_vectors(8)
    >>> x, gap = torch.from_numpy(vectors[:, 2])[None], np.arange(300, 306)
    >>> seen = ~torch.isin(torch.arange(768), torch.from_numpy(gap))
    >>> bool((conditional(x, gap, seen, torch.tensor([0.0, 1.0, 1e-2]), vectors) - x[:, gap]).abs().max() < 1e-2)
    True
    """
    known = np.flatnonzero(seen.numpy())
    distance = cKDTree(vectors[gap]).query(vectors[known])[0]
    near = known[np.argsort(distance)[:NEAREST]]
    angle = np.linspace(0, math.pi, 20 * len(power))
    ell = np.arange(len(power))
    table = CubicSpline(angle, legval(np.cos(angle), (2 * ell + 1) / (4 * math.pi) * power.numpy()))

    def covariance(a: Array, b: Array) -> Array:
        return np.asarray(table(np.arccos(np.clip(vectors[a] @ vectors[b].T, -1, 1))))

    among = covariance(near, near)
    # Pixels hold more than l <= lmax: as much as the last C_l in every further mode, which would else be amplified.
    among[np.diag_indices(len(near))] += JITTER * table(0.0) + float(power[-1]) * len(vectors) / (4 * math.pi)
    found = covariance(gap, near) @ solve(among, x.double().numpy()[:, near].T, assume_a="pos")
    return torch.from_numpy(found.T).to(x)


def constrained(x: Tensor, valid: Tensor, power: Tensor, steps: int = STEPS) -> Tensor:
    """Return RING skies x (n, pixels) whose missing pixels are about the likeliest under a Gaussian law of mean 0.

    For gaps too large for `conditional`. A messenger field: t is x where it is known and s where it is not,
    s <- Y C / (C + T) A t, with the variance T of the messenger cooled from the largest C_l to that of what lies above
    l = 2 NSIDE, where quadrature is no inverse.

    Parameters
    ----------
    valid : (pixels,) true where x is known; known pixels are returned as they are
    power : (lmax + 1,) C_l > 0 from l = 0

    Source: Elsner & Wandelt 2013, A&A 549, A111, what lies above 2 NSIDE taken for the noise.

    Example
    -------
    >>> x = torch.from_numpy(pixel_vectors(8)[:, 2])[None]
    >>> valid = x[0].abs() > 0.2
    >>> power = torch.tensor([1.0, 1.0, *[1e-6] * 14], dtype=torch.float64)
    >>> bool((constrained(x * valid, valid, power) - x).abs().max() < 0.05)
    True
    """
    nside = math.isqrt(x.shape[-1] // 12)
    lmax = min(len(power) - 1, 2 * nside)
    c, above = power.to(x)[degrees(lmax)], power[lmax + 1 :].double()
    rest = float(((2 * torch.arange(lmax + 1, len(power)) + 1) * above).sum()) / x.shape[-1]
    s = torch.zeros_like(x)
    for cooled in np.geomspace(float(c.max()), max(rest, float(c.min())), steps).tolist():
        s = synthesise_healpix(analyse_healpix(torch.where(valid, x, s), lmax, 0) * (c / (c + cooled)), nside, lmax)
    return torch.where(valid, x, s)


@dataclass(frozen=True, eq=False)
class Plane:
    """A tangent plane of n x n pixels: which four pixels of the sky (n n, 4) each is the mean of, and their weights."""

    pixels: Tensor
    weights: Tensor
    side: int

    @staticmethod
    def at(centre: Array, side: int, tree: cKDTree, step: float) -> Plane:
        """The plane of square pixels of ``step`` radians that touches the sphere at a direction (3,), north up."""
        east = np.cross([0.0, 0.0, 1.0], centre)
        east = np.array([1.0, 0.0, 0.0]) if np.hypot(*east[:2]) < 1e-9 else east / np.linalg.norm(east)
        offset = (np.arange(side) - 0.5 * (side - 1)) * step
        v = centre + offset[:, None, None] * np.cross(centre, east) + offset[None, :, None] * east
        distance, pixels = tree.query((v / np.linalg.norm(v, axis=-1, keepdims=True)).reshape(-1, 3), k=4)
        weights = np.exp(-2 * (distance / step) ** 2)
        return Plane(torch.from_numpy(pixels), torch.from_numpy(weights / weights.sum(1, keepdims=True)), side)

    def of(self, sky: Tensor) -> Tensor:
        """A sky (..., pixels) in the plane, (..., n, n)."""
        return self.mean(sky[..., self.pixels])

    def mean(self, values: Tensor) -> Tensor:
        """(..., n n, 4) -> (..., n, n)."""
        return (values * self.weights.to(values)).sum(-1).unflatten(-1, (self.side, self.side))


def fill_sky(constraints: SkyConstraints, white: Tensor, known: Tensor, valid: Tensor, budget: dict[str, Any],
             **statistics: Any) -> Descent:
    """A sky (1, pixels) with new values where it is not ``valid``, from white a_lm (K,); units of the model.

    Every gap is moved until the window around it is one among windows elsewhere; ``loss`` is the mean over such gaps.
    """
    order = constraints.order
    seen = valid[order]
    if bool(seen.all()):
        return Descent(known, 0.0, 0, 0, 0.0, "target", [])
    scores = Scores(known[0, valid])
    y = torch.where(valid, scores.forward(known), 0.0)
    power = constraints.spectrum(y, valid)
    alm = white * power.sqrt().to(white)[degrees(constraints.lmax)]
    random = synthesise_healpix(alm[None], constraints.nside, constraints.lmax).to(y)
    apart = torch.where(seen, y[:, order] - random, 0.0)
    vectors = pixel_vectors(constraints.nside)
    tree, step = cKDTree(vectors), math.sqrt(4 * math.pi / len(vectors))
    gaps = [(gap, _window(gap, y[0, order], seen, vectors, tree, step)) for gap in _gaps(seen, vectors, step)]
    far = [gap for gap, window in gaps if window is None]
    done: list[Descent] = []
    x = random + (constrained(apart, seen, power) if far else apart)
    for gap, window in gaps:
        if window is not None:
            of_gap = torch.from_numpy(gap)
            x[:, of_gap] = random[:, of_gap] + conditional(apart, gap, seen, power, vectors)
    if far:
        free = torch.zeros_like(seen)
        free[torch.from_numpy(np.concatenate(far))] = True
        done.append(_met(constraints, scores.inverse(x), free, power, budget))
        x = scores.forward(done[-1].x[None])
    for gap, window in gaps:
        if window is not None:
            done.append(_moved(x[0], gap, window, budget, statistics))
            x = x.index_copy(1, torch.from_numpy(gap), done[-1].x[None])
    out = torch.empty_like(x)
    out[:, order] = torch.where(seen, known[:, order], scores.inverse(x))
    losses = [one.loss for one in done]
    return replace(done[0], x=out, loss=sum(losses) / len(losses), iterations=sum(one.iterations for one in done),
                   evaluations=sum(one.evaluations for one in done), seconds=sum(one.seconds for one in done))


class Scores:
    """Normal scores Phi^-1((rank - 1/2) / n) of values, and back; nothing lies beyond the values that are known.

    Source: Goovaerts 1997, Geostatistics for Natural Resources Evaluation, section 7.2.

    Example
    -------
    >>> x = torch.arange(1.0, 1000).log()
    >>> scores = Scores(x)
    >>> round(float(scores.forward(x).std()), 2), bool((scores.inverse(scores.forward(x)) - x).abs().max() < 1e-5)
    (1.0, True)
    """

    def __init__(self, x: Tensor) -> None:
        self.x, count = (v.numpy() for v in x.double().unique(return_counts=True))
        self.y = ndtri((np.cumsum(count) - 0.5 * count) / count.sum())

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(x, self.x, self.y)).to(x)

    def inverse(self, y: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(y, self.y, self.x)).to(y)


def _gaps(seen: Tensor, vectors: Array, step: float) -> list[Array]:
    """Pixels of each connected gap."""
    missing = np.flatnonzero(~seen.numpy())
    pairs = cKDTree(vectors[missing]).query_pairs(1.7 * step, output_type="ndarray")
    joined = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(missing),) * 2)
    count, label = connected_components(joined, directed=False)
    return [missing[label == i] for i in range(count)]


def _window(gap: Array, x: Tensor, seen: Tensor, vectors: Array, tree: cKDTree, step: float,
            ) -> tuple[Plane, Tensor, list[Plane], float] | None:
    """The plane of a gap, the window around it, planes elsewhere with such surroundings, the width in pixels."""
    centre = vectors[gap].sum(0)
    norm = np.linalg.norm(centre)
    radius = math.acos(np.clip((vectors[gap] @ centre).min() / norm, -1, 1)) + 0.5 * step if norm > 0 else math.pi
    if radius > WIDEST or len(gap) > NEAREST:
        return None
    side = max(16, 2 * math.ceil(FRAME * radius / step))
    plane = Plane.at(centre / norm, side, tree, step)
    inside = torch.zeros(len(vectors), dtype=torch.float64)
    inside[torch.from_numpy(gap)] = 1
    around = opened((plane.of(inside) > 0.3).float(), periodic=False)
    reach = 2 * math.sin(min(math.pi, radius + 4 * SEAM * step) / 2)
    places = pixel_vectors(8)
    places = places[cKDTree(vectors[~seen.numpy()]).query(places)[0] > reach]
    if len(places) < FEWEST:
        return None
    here, *there = (_rim(place, radius, x, seen, tree, step) for place in (centre / norm, *places))
    off = np.hypot(*((np.array(there) - here) / (np.std(there, 0) + 1e-9)).T)
    others = [Plane.at(place, side, tree, step) for place in places[np.argsort(off, kind="stable")[:WINDOWS]]]
    return plane, around, others, 2 * radius / step


def _rim(centre: Array, radius: float, x: Tensor, seen: Tensor, tree: cKDTree, step: float) -> Array:
    """Mean and logarithm of the standard deviation of what is known around a gap."""
    inner, outer = (tree.query_ball_point(centre, 2 * math.sin(r / 2)) for r in (radius, radius + 4 * SEAM * step))
    rim = torch.from_numpy(np.setdiff1d(outer, inner))
    values = x[rim[seen[rim]]].double()
    return np.array([float(values.mean()), math.log(max(float(values.std()), 1e-9))])


def _moved(x: Tensor, gap: Array, window: tuple[Plane, Tensor, list[Plane], float], budget: dict[str, Any],
           statistics: dict[str, Any]) -> Descent:
    """The pixels (1, m) of a gap, moved until its window is one among the others."""
    plane, around, others, width = window
    local = Elsewhere.among(torch.stack([other.of(x)[None] for other in others]), around.to(x), width, **statistics)
    place = torch.full((len(x),), -1)
    place[torch.from_numpy(gap)] = torch.arange(len(gap))
    at, base = place[plane.pixels], x[plane.pixels]

    def energies(part: Tensor, rows: Tensor) -> Tensor:
        return local.energies(plane.mean(torch.where(at >= 0, part[:, at.clamp_min(0)], base))[:, None])

    (found,) = descend_rows(energies, x[torch.from_numpy(gap)][None], target=CLOSE, **budget)
    return found


def _met(constraints: SkyConstraints, x: Tensor, free: Tensor, power: Tensor, budget: dict[str, Any]) -> Descent:
    """The sky with its ``free`` pixels moved until its statistics are the targets, not far from where it started."""
    c = power.to(x)[degrees(constraints.lmax)]
    back = torch.empty_like(constraints.order)
    back[constraints.order] = torch.arange(len(back))

    def energy(part: Tensor, rows: Tensor) -> Tensor:
        sky = torch.where(free, part, x)
        change = analyse_healpix(sky - x, constraints.lmax, 0)
        strain = (change.abs().square() / c * copies(constraints.lmax).to(c)).sum(1) / free.sum()
        return constraints.energies(sky[:, None, back]) + STRAIN * strain

    (found,) = descend_rows(energy, x, **budget)
    return replace(found, x=torch.where(free, found.x, x[0]))
