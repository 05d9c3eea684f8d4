"""Jets: from the particles of a collision to the features of its two leading jets (FastJet, extra ``hep``).

    m_jj, m_j1, delta_m = m_j2 - m_j1 [TeV], tau21 of both, delta_r;  j1 is the lighter jet

tau21 = tau_2 / tau_1 is low for a jet of two prongs, with the N-subjettiness (Thaler & Van Tilburg 2011, eq. 2.1)

    tau_N = sum_i pT_i min_k dR(i, axis_k) / (R sum_i pT_i).

The axes minimise tau_N: they start at the exclusive k_T sub-jets and move to the weighted geometric medians of their
particles (Weiszfeld 1937). Without the minimisation tau21 exceeds 1 for a few per cent of all jets.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any

import numpy as np

from sundog.checks import optional
from sundog.data.dataset import Dataset
from sundog.errors import DataError, ShapeError

RADIUS = 1.0  # of the anti-k_T jets, as in the LHC Olympics
LOWEST_PT = 200.0  # GeV, of a jet
LEADING_PT = 1.2  # TeV: the trigger of the benchmark
WIDEST_ETA = 2.5
MEDIAN_STEPS = 12
NEAR = 1e-3  # distance below which a particle sits on the axis
COLUMNS = ("m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2", "delta_r")
UNITS = ("TeV", "TeV", "TeV", "", "", "")


def clustered(particles: Any, *, angle: bool = False) -> Dataset:
    """Features of the two leading jets of every event that has them, with m_jj as context.

    Events whose leading jet has less than 1.2 TeV, or that lack a second jet within |eta| < 2.5, are dropped;
    ``provenance["rows"]`` counts how many were given.

    Parameters
    ----------
    particles : (n, k, 3) pT [GeV], eta, phi of massless particles, zeros behind the last of each event
    angle : whether to add ``delta_r``

    Example
    -------
    >>> import pytest; _ = pytest.importorskip("fastjet")
    >>> event = np.array([[[1500.0, 0.1, 0.0], [300.0, 0.5, 0.2], [1400.0, -0.1, 3.1], [200.0, -0.5, 3.0]]])
    >>> clustered(np.repeat(event, 2, axis=0))
    Dataset(events, 2 x 4: m_j1 [TeV], delta_m [TeV], tau21_j1, tau21_j2 | m_jj [TeV])
    """
    table = jet_table(particles)
    table = table[np.isfinite(table[:, 0])]
    if len(table) == 0:
        raise DataError("no event passes the selection", got=f"{len(particles)} events without such jets",
                        expected=f"a leading jet above {LEADING_PT:g} TeV", do="check the unit of pT: it is GeV here")
    wanted = [COLUMNS.index(name) for name in COLUMNS[1:5] + (("delta_r",) if angle else ())]
    return Dataset.from_arrays(table[:, wanted], table[:, 0], [COLUMNS[j] for j in wanted], [UNITS[j] for j in wanted],
                               context_names=("m_jj",), context_units="TeV",
                               provenance={"made_by": "sundog.simulate.jets.clustered", "rows": len(particles)})


def jet_table(particles: Any) -> np.ndarray:
    """The columns of ``COLUMNS``, float64 (n, 6); NaN for events that do not pass the selection of ``clustered``."""
    rows = np.asarray(particles, dtype=float)
    if rows.ndim != 3 or rows.shape[2] != 3:
        raise ShapeError("particles have an unusable shape", got=rows.shape, expected="(n, k, 3): pT, eta, phi",
                         do="reshape the flat rows of an LHC Olympics file to (-1, 700, 3)")
    if not np.isfinite(rows).all():
        raise DataError("particles contain NaN or Inf", got=f"{int((~np.isfinite(rows)).any((1, 2)).sum())} events",
                        expected="finite numbers", do="drop these events")
    table = np.full((len(rows), len(COLUMNS)), np.nan)
    passed, momenta, constituents = _two_leading(rows)
    if len(passed) == 0:
        return table
    pt, eta, phi, mass = (momenta[..., j] for j in range(4))
    both = four_vector(pt, eta, phi, mass).sum(1)
    m_jj = np.sqrt(np.maximum(both[:, 3] ** 2 - (both[:, :3] ** 2).sum(1), 0))
    delta_r = np.hypot(eta[:, 0] - eta[:, 1], _turn(phi[:, 0] - phi[:, 1]))
    tau21 = np.stack([_tau21(part) for part in constituents], 1)
    order = np.argsort(mass, axis=1, kind="stable")
    light, heavy = np.take_along_axis(mass, order, 1).T
    tau21 = np.take_along_axis(tau21, order, 1)
    table[passed] = np.column_stack([m_jj / 1e3, light / 1e3, (heavy - light) / 1e3, tau21, delta_r])
    return table


def n_subjettiness(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """tau_N of jets, minimised over the axes from a start: (j,).

    Parameters
    ----------
    pt, eta, phi : (j, k) of the particles of each jet; pt = 0 behind the last
    axes : (j, N, 2) eta and phi where the minimisation starts

    Example
    -------
    >>> pt, eta, phi = np.ones((1, 2)), np.array([[-0.3, 0.3]]), np.zeros((1, 2))
    >>> [round(float(n_subjettiness(pt, eta, phi, np.zeros((1, n, 2)) + 0.1 * np.arange(n)[:, None])[0]), 3)
    ...  for n in (1, 2)]
    [0.3, 0.0]
    """
    axes = axes.copy()
    best = np.full(len(pt), np.inf)
    for _ in range(MEDIAN_STEPS):
        d_eta = eta[:, :, None] - axes[:, None, :, 0]
        d_phi = _turn(phi[:, :, None] - axes[:, None, :, 1])
        distance = np.hypot(d_eta, d_phi)
        nearest = distance.argmin(2)
        closest = np.take_along_axis(distance, nearest[..., None], 2)[..., 0]
        best = np.minimum(best, (pt * closest).sum(1) / (RADIUS * pt.sum(1)))
        mine = nearest[..., None] == np.arange(axes.shape[1])
        weight = pt[..., None] * mine / np.maximum(distance, NEAR)
        total = np.maximum(weight.sum(1), 1e-300)
        axes += np.stack([(weight * d_eta).sum(1), (weight * d_phi).sum(1)], 2) / total[..., None]
    return best


def four_vector(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, mass: Any = 0.0) -> np.ndarray:
    """px, py, pz, E on a new last axis, in the unit of pt."""
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + np.square(mass))], -1)


def _two_leading(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Rows (m,) of the events that pass; pT, eta, phi, mass (m, 2, 4) of their leading jets; particles (2 x m)."""
    fastjet, ak = _libraries()
    used = rows[..., 0] > 0
    momenta = four_vector(rows[..., 0], rows[..., 1], rows[..., 2])[used]
    flat = ak.zip(dict(zip(("px", "py", "pz", "E"), momenta.T)), with_name="Momentum4D")
    found = fastjet.ClusterSequence(ak.unflatten(flat, used.sum(1)),
                                    fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    jets, parts = found.inclusive_jets(min_pt=LOWEST_PT), found.constituents(min_pt=LOWEST_PT)
    order = ak.argsort(np.hypot(jets.px, jets.py), axis=1, ascending=False)
    jets, parts = jets[order], parts[order]
    two = ak.num(jets) >= 2
    jets, parts = jets[two][:, :2], parts[two][:, :2]
    p = np.stack([ak.to_numpy(jets[name]) for name in ("px", "py", "pz", "E")], 2) if len(jets) else np.empty((0, 2, 4))
    pt = np.hypot(p[..., 0], p[..., 1])
    eta, phi = np.arcsinh(p[..., 2] / pt), np.arctan2(p[..., 1], p[..., 0])
    mass = np.sqrt(np.maximum(p[..., 3] ** 2 - (p[..., :3] ** 2).sum(2), 0))
    good = (pt[:, 0] > 1e3 * LEADING_PT) & (np.abs(eta) < WIDEST_ETA).all(1)
    parts = parts[good]
    passed = np.flatnonzero(ak.to_numpy(two))[good]
    return passed, np.stack([pt, eta, phi, mass], 2)[good], [parts[:, 0], parts[:, 1]] if good.any() else []


def _tau21(parts: Any) -> np.ndarray:
    """tau_2 / tau_1 of jets given as lists of particles; 0 where tau_1 is 0."""
    fastjet, ak = _libraries()
    pt, eta, phi = _padded(parts)
    axes = []
    for n in (1, 2):
        enough = ak.to_numpy(ak.num(parts) >= n)  # a jet of one particle has no two sub-jets
        start = np.zeros((len(parts), n, 2))
        axes.append(start)
        if not enough.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the caution about exclusive jets, meant for other algorithms
            sub = fastjet.ClusterSequence(parts[enough], fastjet.JetDefinition(fastjet.kt_algorithm, RADIUS))
            sub = sub.exclusive_jets(n)
        p = np.stack([ak.to_numpy(sub[name]) for name in ("px", "py", "pz")], 2)
        start[enough] = np.stack([np.arcsinh(p[..., 2] / np.hypot(p[..., 0], p[..., 1])),
                                  np.arctan2(p[..., 1], p[..., 0])], 2)
    tau1, tau2 = (n_subjettiness(pt, eta, phi, start) for start in axes)
    several = (pt > 0).sum(1) > 1
    return np.where(several, tau2 / (1e-5 + tau1), 0.0)


def _padded(parts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pT, eta, phi (j, k) with zeros behind the last particle."""
    _, ak = _libraries()
    longest = int(ak.max(ak.num(parts)))
    px, py, pz = (ak.to_numpy(ak.fill_none(ak.pad_none(parts[name], longest, clip=True), 0.0))
                  for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / np.where(pt > 0, pt, 1.0)), np.arctan2(py, px)


def _turn(phi: np.ndarray) -> np.ndarray:
    """Angles in (-pi, pi]."""
    return (phi + np.pi) % (2 * np.pi) - np.pi


@cache
def _libraries() -> tuple[Any, Any]:
    """FastJet and awkward, after FastJet's greeting went nowhere: it comes past Python and would spoil JSON."""
    fastjet, awkward = optional("fastjet", "hep"), optional("awkward", "hep")
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        one = awkward.Array([{"px": 1.0, "py": 0.0, "pz": 0.0, "E": 1.0}], with_name="Momentum4D")
        fastjet.ClusterSequence(one, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)).inclusive_jets()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
    return fastjet, awkward
