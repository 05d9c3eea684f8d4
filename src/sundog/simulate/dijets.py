"""Di-jet events: an analytic stand-in for LHC-Olympics-like collisions, with a hidden resonance on request.

No collision is simulated: the laws below are smooth fits to the shape of such events, good enough to rehearse a
resonance search without a download. Never quote results on them as results on LHC Olympics data.

Background: m_jj follows the usual di-jet function ``(1 - x)^10.5 x^-1.2``, x = m_jj / 13 TeV; jet masses are
log-normal and grow slowly with m_jj; tau21 (two-prongedness, low = two-pronged) is logit-normal and falls with the
mass of its jet, which correlates all features.
Signal: a resonance at 3.5 TeV decaying to jets of 0.5 and 0.1 TeV, both two-pronged.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from sundog.checks import at_least
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.random import stream

COLUMNS = ("m_j1", "delta_m", "tau21_j1", "tau21_j2")
UNITS = ("TeV", "TeV", "", "")
SIGNAL_REGION = (3.3, 3.7)  # TeV
_BEAM = 13.0  # TeV, both protons together
_PT_CUT = 1.2  # TeV, on the leading jet: bounds the opening angle


def dijets(n_background: int, n_signal: int, seed: int, *, m_jj_min: float = 3.0, angle: bool = False) -> Dataset:
    """Events with features m_j1, delta_m [TeV], tau21_j1, tau21_j2, given m_jj [TeV] as context, in random order.

    j1 is the lighter jet and ``delta_m = m_j2 - m_j1 >= 0``. ``dijet_truth`` tells which events are signal.

    Parameters
    ----------
    m_jj_min : lower end of the background spectrum, TeV; signal events below it are drawn again.
    angle : whether to add the angular distance of the jets, ``delta_r``, as a fifth feature (tied to m_jj).

    Example
    -------
    >>> events = dijets(900, 100, seed=0)
    >>> events
    Dataset(events, 1000 x 4: m_j1 [TeV], delta_m [TeV], tau21_j1, tau21_j2 | m_jj [TeV])
    >>> int(dijet_truth(900, 100, seed=0).sum())
    100
    """
    is_signal = dijet_truth(n_background, n_signal, seed)
    if not 2 <= m_jj_min <= 3.4:
        raise OptionError("m_jj_min out of range", got=m_jj_min, expected="2 <= m_jj_min <= 3.4 TeV",
                          do="leave the resonance at 3.5 TeV above the threshold")
    g = stream(seed, "dijets")
    n = len(is_signal)
    mass = torch.empty(n, dtype=torch.float64)
    mass[~is_signal] = _falling_mass(n_background, m_jj_min, g)
    mass[is_signal] = _resonant_mass(n_signal, m_jj_min, g)
    features = torch.empty(n, 5, dtype=torch.float64)
    features[~is_signal] = _background(mass[~is_signal], g)
    features[is_signal] = _signal(mass[is_signal], g)
    width = 5 if angle else 4
    return Dataset.from_arrays(features[:, :width], mass, names=(*COLUMNS, "delta_r")[:width],
                               units=(*UNITS, "")[:width], context_names=("m_jj",), context_units="TeV",
                               provenance={"simulator": "sundog.simulate.dijets.dijets", "seed": seed,
                                           "m_jj_min": m_jj_min, "n_background": n_background,
                                           "n_signal": n_signal})


def dijet_truth(n_background: int, n_signal: int, seed: int) -> Tensor:
    """Labels of ``dijets(n_background, n_signal, seed)``: (n,) booleans, True for signal."""
    n = at_least(n_background, 0, "n_background") + at_least(n_signal, 0, "n_signal")
    order = torch.randperm(at_least(n, 1, "number of events"), generator=stream(seed, "truth"))
    return order < n_signal


def _falling_mass(n: int, low: float, g: torch.Generator) -> Tensor:
    """m_jj above ``low`` by inverting the cumulative di-jet function on a fine grid."""
    m = np.linspace(low, 10.0, 8001)
    density = (1 - m / _BEAM) ** 10.5 * (m / _BEAM) ** -1.2
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    u = torch.rand(n, generator=g, dtype=torch.float64).numpy()
    return torch.from_numpy(np.interp(u * cumulative[-1], cumulative, m))


def _resonant_mass(n: int, low: float, g: torch.Generator) -> Tensor:
    """m_jj of the signal: a core at 3.5 TeV, a long tail of lost radiation, a short one of extra radiation."""
    mass = torch.zeros(n, dtype=torch.float64)
    while bool((missing := mass < low).any()):
        count = int(missing.sum())
        core = 3.51 + 0.115 * torch.randn(count, generator=g, dtype=torch.float64)
        tail = -torch.log1p(-torch.rand(count, generator=g, dtype=torch.float64))
        kind = torch.rand(count, generator=g, dtype=torch.float64)
        mass[missing] = core - 0.35 * tail * (kind < 0.21) + 0.3 * tail * (kind > 0.92)
    return mass


def _background(mass: Tensor, g: torch.Generator) -> Tensor:
    n, growth = len(mass), torch.log(mass / 3.5)
    z = torch.randn(n, 3, generator=g, dtype=torch.float64)
    u = torch.rand(n, 3, generator=g, dtype=torch.float64)
    log_m1 = -2.23 + 0.2 * growth + torch.exp(0.2 * growth) * (0.65 * z[:, 0] + 0.02 * z[:, 0].square())
    # Both masses bend over near 1 TeV: a jet of radius 1 can hold no heavier one.
    m1 = torch.tanh(log_m1.exp())
    delta = 0.915 * torch.exp(0.45 * growth) * torch.tanh(-0.2 * torch.log1p(-u[:, 0]))
    tau = [_tau21(m, eps) for m, eps in ((m1, z[:, 1]), (m1 + delta, 0.05 * z[:, 1] + z[:, 2]))]
    # t-channel exchange: flat in chi = exp(|delta eta|), up to where the leading jet falls below its pT cut.
    chi = 1 + u[:, 1] * (torch.exp(_widest(mass)) - 1)
    return torch.stack([m1, delta, *tau, _delta_r(chi.log(), u[:, 2], 0.08)], 1)


def _tau21(jet_mass: Tensor, eps: Tensor) -> Tensor:
    """N-subjettiness ratio of a QCD jet: heavy ones radiated one hard gluon and look two-pronged."""
    x = jet_mass.log()
    centre = 0.53 - 1.25 * 0.25 * softplus((x + 1.65) / 0.25)
    return torch.sigmoid(centre + (0.66 + 0.14 * (x + 1.9).abs()) * eps)


def _signal(mass: Tensor, g: torch.Generator) -> Tensor:
    n = len(mass)
    z = torch.randn(n, 4, generator=g, dtype=torch.float64)
    u = torch.rand(n, 8, generator=g, dtype=torch.float64)
    extra = -torch.log1p(-u)[:, :2]  # radiation swept up by each jet, rarely a hard gluon
    light = 0.097 + 0.008 * z[:, 0] + extra[:, 0] * torch.where(u[:, 4] < 0.19, 0.085, 0.014)
    contained = u[:, 2] > 0.17  # else a prong of the heavy decay missed the jet
    peak = 0.497 + 0.03 * z[:, 1] + extra[:, 1] * torch.where(u[:, 5] < 0.12, 0.12, 0.008)
    heavy = torch.where(contained, peak, 0.1 + 0.4 * u[:, 3])
    m1, m2 = torch.minimum(light, heavy), torch.maximum(light, heavy)
    tau1 = torch.sigmoid(-0.49 + 2.0 * (m1 - 0.12).clamp(max=0.2) + 0.7 * z[:, 2])
    tau2 = torch.sigmoid(torch.where(contained, -1.6, -0.75) + torch.where(contained, 0.8, 0.95) * z[:, 3])
    cosine = u[:, 6] * torch.tanh(_widest(mass) / 2)  # a heavy resonance decays in every direction
    return torch.stack([m1, m2 - m1, tau1, tau2, _delta_r(2 * torch.atanh(cosine), u[:, 7], 0.04)], 1)


def _widest(mass: Tensor) -> Tensor:
    """Largest |delta eta| of two back-to-back jets of this m_jj above the pT cut: m^2 = 2 pT^2 (cosh + 1)."""
    return torch.acosh((mass.square() / (2 * _PT_CUT**2) - 1).clamp(min=1))


def _delta_r(delta_eta: Tensor, u: Tensor, radiation: float) -> Tensor:
    delta_phi = math.pi + radiation * torch.log1p(-u).clamp(min=-10)  # back to back but for radiation
    return torch.hypot(delta_eta, delta_phi)
