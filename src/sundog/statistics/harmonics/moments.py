"""The covariances of wavelet phase harmonics of one batch of maps, kind by kind, as complex blocks.

Averages over all orientations of two octaves are one matrix product over pixels; averages at lags go through Fourier
space. With weights (masks, edges) an average over two octaves keeps those of the coarser one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.statistics.harmonics.model import HarmonicModel
from sundog.statistics.harmonics.products import (
    average,
    lagged_products,
    phase_harmonic,
    phase_product,
    products,
)
from sundog.statistics.wavelets.waves import safe_modulus


@dataclass(frozen=True)
class Filters:
    """What depends on the map size: filters (J, R, ny, nx), low-passes (P, ny, nx), lags (R, T, 2), and masks.

    ``weights`` of each octave sum to 1 over the map; all are None where nothing is masked.
    """

    psi: Tensor
    phi: Tensor
    lags: Tensor
    valid: Tensor | None
    weights: tuple[Tensor | None, ...]


def harmonic_moments(x: Tensor, model: HarmonicModel, filters: Filters) -> dict[str, Tensor]:
    """Return the covariances of maps x (n, ny, nx) by kind, each (n, k) in the order of ``model.layout``."""
    f = torch.fft.fft2(x)
    W = torch.fft.ifft2(f[:, None, None] * filters.psi)  # (n, J, R, ny, nx)
    M = safe_modulus(W)
    measure: dict[str, Callable[[], Tensor]] = {
        "S11": lambda: _s11(W, M, model, filters), "S00": lambda: _s00(M, model, filters),
        "S01": lambda: _each(M, W, filters), "C00": lambda: _crossed(M, M, model, filters),
        "C01": lambda: _crossed(M, W, model, filters), "Cphase": lambda: _cphase(W, model, filters),
        "L": lambda: _low(f, model, filters),
    }  # fmt: skip
    return {kind: measure[kind]().flatten(1) for kind in model.kinds}


def _covariance(a: Tensor, b: Tensor, weights: Tensor | None) -> Tensor:
    """Cov(a, b) pixel by pixel, (...)."""
    return average(a * b.conj(), weights) - average(a, weights) * average(b, weights).conj()


def _each(a: Tensor, b: Tensor, filters: Filters) -> Tensor:
    """Cov(a, b) of fields (n, J, ..., ny, nx) with the weights of their octave."""
    return torch.stack([_covariance(a[:, j], b[:, j], w) for j, w in enumerate(filters.weights)], 1)


def _s11(W: Tensor, M: Tensor, model: HarmonicModel, filters: Filters) -> Tensor:
    power = torch.stack([average(M[:, j] ** 2, w) for j, w in enumerate(filters.weights)], 1)
    if filters.valid is not None:
        power = power - torch.stack([average(W[:, j], w) for j, w in enumerate(filters.weights)], 1).abs() ** 2
    lags = filters.lags[:, model.forward_lags]
    found = [_with_lags(power.to(W.dtype), W, W, lags, filters).flatten(1)]
    if model.turn == 2:
        L = model.L
        first, second = W[:, :, :L], W[:, :, L:].conj()
        lags = filters.lags[L:, model.opposite_lags]
        found.append(_with_lags(_each(first, second, filters), first, second, lags, filters).flatten(1))
    return torch.cat(found, 1)


def _s00(M: Tensor, model: HarmonicModel, filters: Filters) -> Tensor:
    found = _with_lags(_each(M, M, filters), M, M, filters.lags[:, model.forward_lags], filters)
    return found.real if found.is_complex() else found


def _with_lags(zero: Tensor, a: Tensor, b: Tensor, lags: Tensor, filters: Filters) -> Tensor:
    """Covariances (n, J, R) without lag, followed by those with lags, (n, J, R, 1 + T)."""
    if not lags.shape[1]:
        return zero[..., None]
    moved = [_lagged(a[:, j], b[:, j], lags, w) for j, w in enumerate(filters.weights)]
    return torch.cat([zero[..., None], torch.stack(moved, 1)], -1)


def _crossed(M: Tensor, second: Tensor, model: HarmonicModel, filters: Filters) -> Tensor:
    """C00 or C01: all orientations of each pair of octaves, then lags where the orientations agree (C01 alone)."""
    found = [torch.zeros(len(M), 0, dtype=second.dtype, device=M.device)]
    for j2 in range(1, model.J):
        w, low = filters.weights[j2], max(0, j2 - model.reach)
        a, b = M[:, low:j2].flatten(1, 2), second[:, j2]
        means = average(a, w)[:, :, None] * average(b, w)[:, None].conj()
        found.append((products(a, b, w) - means).flatten(1))
    if second.is_complex() and model.translations:
        for j1, j2 in model.octave_pairs:
            found.append(_lagged(M[:, j1], second[:, j2], filters.lags, filters.weights[j2]).flatten(1))
    return torch.cat(found, 1)


def _cphase(W: Tensor, model: HarmonicModel, filters: Filters) -> Tensor:
    found = [torch.zeros(len(W), 0, dtype=W.dtype, device=W.device)]
    for j1, j2 in model.octave_pairs:
        w, p, T = filters.weights[j2], 2 ** (j2 - j1), len(model.phase_steps(j2))
        a, z = W[:, j1], W[:, j2]
        values = phase_product(a, z, p, w)  # <W_1> = 0 where nothing is masked
        if w is None and not T:
            found.append(values)
            continue
        second = phase_harmonic(z, p)
        values = values - average(a, w) * average(second, w).conj()
        moved = [_lagged(a, second, filters.lags[:, :T], w)] if T else []
        found.append(torch.cat([values[..., None], *moved], -1).flatten(1))
    return torch.cat(found, 1)


def _lagged(a: Tensor, b: Tensor, lags: Tensor, weights: Tensor | None) -> Tensor:
    """Cov(a, b)(tau) of fields (n, R, ny, nx), complex (n, R, T); with weights, over pairs of pixels that are kept."""
    first = a - average(a, weights)[..., None, None]
    second = b - average(b, weights)[..., None, None]
    if weights is None:
        return lagged_products(first, second, lags)
    kept = (weights > 0).to(weights.dtype).expand(len(lags), -1, -1)
    pairs = lagged_products(kept, kept, lags).real.clamp_min(0.5 / weights.numel())
    return lagged_products(first * kept, second * kept, lags) / pairs


def _low(f: Tensor, model: HarmonicModel, filters: Filters) -> Tensor:
    y = torch.fft.ifft2(f[:, None] * filters.phi)
    y = y if model.turn == 2 else y.real
    columns = []
    for i, j in enumerate(model.low_octaves):
        w = filters.weights[max(j, 0)]
        z = y[:, i] - average(y[:, i], w)[..., None, None]
        fields = (safe_modulus(z) if model.turn == 2 else z.abs(), z)
        for p1, p2, conjugate in model.low_moments:
            second = fields[p2].conj() if conjugate else fields[p2]
            columns.append(_covariance(fields[p1], second, w).to(y.dtype))
    return torch.stack(columns, 1)
