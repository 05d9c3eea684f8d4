"""POD: outputs as a sum of few modes, whose amplitudes are polynomials of the input or Gaussian processes.

    y(c) = m + sum_k a_k(c) v_k,     a_k(c) = sum_j b_kj c_1^j_1 ... c_c^j_c,     or     a_k ~ GP given the runs

v_k are the proper orthogonal modes (singular vectors) of the centred runs. A linear operator is exact at degree 1.

Source: least squares and leverage in closed form; POD with a linear branch as in Lu et al. 2022 (POD-DeepONet).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError
from sundog.models.emulators.base import LinearEmulator, LinearOptions
from sundog.models.emulators.process import Processes, fitted_processes
from sundog.models.options import Options, option

RANK = 1e-11  # singular values below this share of the largest are rounding
TRIED = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (2, 4), (3, 3))  # degree and power of one input, when none is given
EXACT = 1e-8  # of the spread: polynomials that leave less need no process
MOST_PROCESSES = 32
MOST_RUNS, MOST_INPUTS = 300, 20  # beyond, processes are fitted on request only: they cost n^3


@dataclass(frozen=True)
class PODOptions(LinearOptions):
    """Options of `PODEmulator`."""

    branch: str = option(None, "what the amplitudes are; the one with the least leave-one-out error when None",
                         words=("polynomial", "gp"))
    degree: int = option(None, "of the polynomials; when None, the one of 1, 2, 3 with the least leave-one-out error",
                         least=1)
    power: int = option(None, "largest power of a single input beside the products up to degree: 3 adds cubes; degree "
                        "when None, or as the degree is found, up to two more", least=1)
    modes: int = option(None, "modes kept; all that are more than rounding when None, of gp 32 at most", least=1)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> PODOptions:
        if self.branch == "gp" and (self.degree or self.power):
            raise OptionError("processes have no degree", got="branch='gp' with degree or power",
                              expected="one of both", do="leave degree and power out, or pass branch='polynomial'")
        super().for_data(shape, context_dim)
        return self


class PODEmulator(LinearEmulator):
    """Modes of the output, their amplitudes functions of the input.

    powers: (p, c) exponents of the input in each feature; whitening: (p, r) turns features into orthonormal ones;
    empty where the amplitudes are processes, which `Processes` describes

    Example
    -------
    >>> c = torch.rand(20, 2, dtype=torch.float64)
    >>> emulator = PODEmulator((3,), 2)
    >>> emulator.prepare(c @ torch.ones(2, 3, dtype=torch.float64), c)
    >>> mean, std = emulator.predict(torch.tensor([[0.5, 0.25]]))
    >>> [round(float(number), 6) for number in mean[0]]
    [0.75, 0.75, 0.75]
    """

    family: ClassVar[str] = "pod"
    takes: ClassVar[type[Options]] = PODOptions
    options: PODOptions
    powers: Tensor
    whitening: Tensor
    lengths: Tensor

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.register_buffer("powers", torch.zeros(0, self.context_dim))
        self.register_buffer("whitening", torch.zeros(0, 0))
        for field in fields(Processes):
            self.register_buffer(field.name, torch.zeros(0))

    def learn(self, context: Tensor, y: Tensor, weights: Tensor) -> None:
        root = weights.sqrt()[:, None]
        u, s, v = torch.linalg.svd(root * y, full_matrices=False)
        kept = min(self.options.modes or len(s), max(1, int((s > RANK * s[0]).sum())))
        amplitudes, modes = u[:, :kept] * s[:kept] / root, v[:kept]
        fits = [_polynomials(_powers(self.context_dim, *sizes).to(context), context, amplitudes @ modes, y, root)
                for sizes in self._sizes(len(y))]
        if self._with_processes(fits, y):
            kept = min(kept, MOST_PROCESSES)
            fits.append(_processes(context, amplitudes[:, :kept], modes[:kept], y, weights))
        if not fits:
            degree = self.options.degree or 1
            raise SampleSizeError(f"fewer runs than a polynomial of degree {degree} in {self.context_dim} inputs has "
                                  "coefficients", got=f"{len(y)} runs",
                                  expected=f"at least {_count(self.context_dim, degree, self.options.power or 1) + 1}",
                                  do="add runs or lower the degree; branch='gp', 'ntk' and 'random-features' take any "
                                  "number")
        self._keep_best(fits)

    def _sizes(self, n: int) -> list[tuple[int, int]]:
        """Degrees and powers with fewer coefficients than runs."""
        o = self.options
        wanted = [(o.degree, o.power or o.degree)] if o.degree else \
            [(d, p) for d, p in TRIED if o.power in (None, p)] or [(2, o.power)]
        return [] if o.branch == "gp" else [sizes for sizes in wanted if _count(self.context_dim, *sizes) < n]

    def _with_processes(self, fits: list[dict[str, Tensor]], y: Tensor) -> bool:
        """Whether to fit processes too: not where polynomials are asked for, or are exact, or it would take long."""
        o = self.options
        if o.branch or o.degree or o.power:
            return o.branch == "gp"
        exact = min((float(fit["error"].sum()) for fit in fits), default=1.0) < EXACT**2 * y.numel()
        return not exact and len(y) <= MOST_RUNS and self.context_dim <= MOST_INPUTS

    def features(self, context: Tensor) -> Tensor:
        return self._as_processes().mean(context) if len(self.lengths) else _monomials(context, self.powers)

    def inflation(self, features: Tensor, context: Tensor) -> Tensor:
        """g = sqrt(1 + leverage), or the standard deviations of the processes, 1 for what no mode holds."""
        if not len(self.lengths):
            return (1 + (features @ self.whitening).square().sum(1)).sqrt()
        std = self._as_processes().std(context)
        return torch.cat([std, std.new_ones(len(std), len(self.residuals) - std.shape[1])], 1)

    def _as_processes(self) -> Processes:
        return Processes(**{field.name: getattr(self, field.name) for field in fields(Processes)})


def _count(c: int, degree: int, power: int) -> int:
    """Number of monomials: (c + degree)! / c! degree!, and the higher powers of single inputs."""
    return math.comb(c + degree, degree) + c * max(0, power - degree)


def _powers(c: int, degree: int, power: int) -> Tensor:
    """Exponents (p, c) of all monomials of c numbers up to a degree, then of single ones up to a power."""
    def rows() -> Iterator[list[int]]:
        for d in range(degree + 1):
            for factors in combinations_with_replacement(range(c), d):
                yield [factors.count(i) for i in range(c)]
        for p in range(degree + 1, power + 1):
            yield from ([p * (i == j) for i in range(c)] for j in range(c))

    return torch.tensor(list(rows()), dtype=torch.float64)


def _monomials(context: Tensor, powers: Tensor) -> Tensor:
    """prod_i c_i^j_i, (n, p)."""
    phi = context.new_ones(len(context), len(powers))
    for i in range(context.shape[1]):
        used = powers[:, i] > 0
        phi[:, used] *= context[:, i, None] ** powers[used, i]
    return phi


def _polynomials(powers: Tensor, context: Tensor, modes: Tensor, y: Tensor, root: Tensor) -> dict[str, Tensor]:
    """Least squares of the modes' part of y; residuals of all of y: left out, each is itself over 1 - leverage.

    Rows times root (n, 1), the square root of their weights.
    """
    u, s, v = torch.linalg.svd(root * _monomials(context, powers), full_matrices=False)
    held = s > RANK * s[0]
    u, whitening = u[:, held], v[held].T / s[held]
    free = (1 - u.square().sum(1, keepdim=True)).clamp(min=1e-6)
    along = u.T @ (root * modes)
    missed = root * y - u @ along
    return {"powers": powers, "whitening": whitening, "coefficients": whitening @ along, "lengths": y.new_zeros(0),
            "residuals": missed / free.sqrt() / math.sqrt(len(y)), "error": (missed / free).square().sum(0)}


def _processes(context: Tensor, amplitudes: Tensor, modes: Tensor, y: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """A process for each mode that one foresees; what these do not hold is an error of its own."""
    found, left_out = fitted_processes(context, amplitudes, weights)
    foreseen = (left_out.square().sum(0) < amplitudes.square().sum(0)).nonzero().flatten()
    foreseen = foreseen if len(foreseen) else left_out.square().sum(0).argmin()[None]
    found, left_out = found.of(foreseen), left_out[:, foreseen]
    amplitudes, modes = amplitudes[:, foreseen], modes[foreseen]
    beside = y - amplitudes @ modes
    root = weights.sqrt()[:, None]
    residuals = torch.cat([modes, root * beside / math.sqrt(len(y))])
    return {**{field.name: getattr(found, field.name) for field in fields(Processes)}, "coefficients": modes,
            "residuals": residuals, "error": (root * (left_out @ modes + beside)).square().sum(0)}
