"""POD: outputs as a sum of few modes, whose amplitudes are polynomials of the input by least squares.

    y(c) = m + sum_k a_k(c) v_k,     a_k(c) = sum_{|j| <= degree} b_kj c_1^j_1 ... c_c^j_c

v_k are the proper orthogonal modes (singular vectors) of the centred runs. A linear operator is exact at degree 1.

Source: least squares and leverage in closed form; POD with a linear branch as in Lu et al. 2022 (POD-DeepONet).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import SampleSizeError
from sundog.models.emulators.base import LinearEmulator
from sundog.models.options import Options, option

RANK = 1e-11  # singular values below this share of the largest are rounding
DEGREES = (1, 2, 3)  # tried when none is given


@dataclass(frozen=True)
class PODOptions(Options):
    """Options of `PODEmulator`."""

    degree: int = option(None, "of the polynomials; when None, the one of 1, 2, 3 with the least leave-one-out error",
                         least=1)
    modes: int = option(None, "modes kept; all that are more than rounding when None", least=1)


class PODEmulator(LinearEmulator):
    """Modes of the output, their amplitudes polynomials of the input.

    powers: (p, c) exponents of the input in each feature; whitening: (p, r) turns features into orthonormal ones

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

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.register_buffer("powers", torch.zeros(0, self.context_dim))
        self.register_buffer("whitening", torch.zeros(0, 0))

    def learn(self, context: Tensor, y: Tensor) -> None:
        u, s, v = torch.linalg.svd(y, full_matrices=False)
        kept = min(self.options.modes or len(s), max(1, int((s > RANK * s[0]).sum())))
        modes = (u[:, :kept] * s[:kept]) @ v[:kept]
        self._keep_best([_fitted(_powers(self.context_dim, degree).to(context), context, modes, y)
                         for degree in self._degrees(len(y))])

    def _degrees(self, n: int) -> list[int]:
        """Degrees with fewer coefficients than runs."""
        c = self.context_dim
        wanted = DEGREES if self.options.degree is None else (self.options.degree,)
        able = [degree for degree in wanted if math.comb(c + degree, degree) < n]
        if not able:
            raise SampleSizeError(f"fewer runs than a polynomial of degree {wanted[0]} in {c} inputs has coefficients",
                                  got=f"{n} runs", expected=f"at least {math.comb(c + wanted[0], wanted[0]) + 1}",
                                  do="add runs or lower the degree; 'ntk' and 'random-features' take any number")
        return able

    def features(self, context: Tensor) -> Tensor:
        return _monomials(context, self.powers)

    def inflation(self, features: Tensor, context: Tensor) -> Tensor:
        """g = sqrt(1 + leverage)."""
        return (1 + (features @ self.whitening).square().sum(1)).sqrt()


def _powers(c: int, degree: int) -> Tensor:
    """Exponents (p, c) of all monomials of c numbers up to a degree; p = (c + degree)! / c! degree!."""
    def rows() -> Iterator[list[int]]:
        for d in range(degree + 1):
            for factors in combinations_with_replacement(range(c), d):
                yield [factors.count(i) for i in range(c)]

    return torch.tensor(list(rows()), dtype=torch.float64)


def _monomials(context: Tensor, powers: Tensor) -> Tensor:
    """prod_i c_i^j_i, (n, p)."""
    phi = context.new_ones(len(context), len(powers))
    for i in range(context.shape[1]):
        used = powers[:, i] > 0
        phi[:, used] *= context[:, i, None] ** powers[used, i]
    return phi


def _fitted(powers: Tensor, context: Tensor, modes: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Least squares of the modes' part of y; residuals of all of y: left out, each is itself over 1 - leverage."""
    u, s, v = torch.linalg.svd(_monomials(context, powers), full_matrices=False)
    held = s > RANK * s[0]
    u, whitening = u[:, held], v[held].T / s[held]
    free = (1 - u.square().sum(1, keepdim=True)).clamp(min=1e-6)
    missed = y - u @ (u.T @ modes)
    return {"powers": powers, "whitening": whitening, "coefficients": whitening @ (u.T @ modes),
            "residuals": missed / free.sqrt() / math.sqrt(len(y)), "error": (missed / free).square().sum()}
