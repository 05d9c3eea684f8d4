"""Warp: outputs whose features move along their axis with the input, brought to one scale before they are learned.

    y(c)(x) = f(c)(x s(c)),     log s(c) = sum_j b_j psi_j(c)

psi are the products of one or two inputs. b is what leaves least of f to a regression on polynomials of c: features
that move (peaks of a spectrum) take many modes, features that stand take few. s is a function of the input alone, so
the stretch is undone exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from sundog.errors import OptionError

PLACES = 1500  # of all outputs, used to find b: neighbours say the same
# Of the axis, one after the other: a peak may be taken for its neighbour; beyond the end is nothing to read.
PARTS = (0.25, 0.5, 0.9)
FAINT = 1e-12  # of the largest spread: below, a neighbour read in the place of a number is all of the loss
STEPS = 60  # of L-BFGS for each part


def stretched(y: Tensor, log_s: Tensor) -> Tensor:
    """Outputs y (n, ..., L) read at x s, x = 0 ... L - 1, by cubic Lagrange interpolation; beyond the ends, the ends.

    Example
    -------
    >>> stretched(torch.arange(5.0)[None], torch.tensor([2.0]).log()).tolist()
    [[0.0, 2.0, 4.0, 4.0, 4.0]]
    """
    return _read(y.reshape(len(y), -1, y.shape[-1]), torch.arange(y.shape[-1]).to(log_s), log_s).reshape(y.shape)


def _read(y: Tensor, places: Tensor, log_s: Tensor) -> Tensor:
    """y (n, k, L) at places (p,) times s, (n, k, p)."""
    n, k, length = y.shape
    far = math.log(length)  # where place 1 lies beyond the end; an infinite s would make place 0 nan
    at = (places * log_s.clamp(max=far).exp()[:, None]).clamp(max=length - 1.0)
    first = (at.detach().floor().long() - 1).clamp(0, length - 4)
    t = at - first
    weights = [(t - 1) * (t - 2) * (t - 3) / -6, t * (t - 2) * (t - 3) / 2, t * (t - 1) * (t - 3) / -2,
               t * (t - 1) * (t - 2) / 6]
    parts = (w[:, None] * y.gather(2, (first + i)[:, None].expand(n, k, -1)) for i, w in enumerate(weights))
    return sum(parts, start=torch.zeros((), dtype=y.dtype))


def products(context: Tensor) -> Tensor:
    """psi (n, c + c (c + 1) / 2): inputs and products of two; no constant, as only ratios of scales count."""
    pairs = combinations_with_replacement(range(context.shape[1]), 2)
    return torch.cat([context, torch.stack([context[:, i] * context[:, j] for i, j in pairs], 1)], 1)


def fitted_warp(context: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """b (p,) for outputs y (n, ..., L), each number over its spread, at inputs (n, c), weights (n,); all float64.

    Raises
    ------
    OptionError : an axis of fewer than 8 numbers.
    """
    n, length = len(y), y.shape[-1]
    if length < 8:
        raise OptionError("warp needs outputs along an axis", got=f"{length} numbers", expected="8 or more",
                          do="leave warp out")
    y, w = y.reshape(n, -1, length), weights / weights.sum()
    unit, root = _spread(y, w), w.sqrt()[:, None]
    psi = products(context)
    if n < 2 * (psi.shape[1] + 1):
        psi = psi * (torch.arange(psi.shape[1]) < context.shape[1])  # too few to tell bends: lines alone
    used = psi[:, psi.abs().sum(0) > 0]
    q, _ = torch.linalg.qr(root * torch.cat([torch.ones_like(psi[:, :1]), used], 1))
    b = psi.new_zeros(psi.shape[1], requires_grad=True)
    for part in PARTS:
        count = min(round(part * length), max(8, PLACES // len(unit)))
        places = torch.linspace(0, part * length - 1, count, dtype=psi.dtype).round()
        inverse = torch.where(unit > FAINT * unit.max(), 1 / unit, 0.0)[:, places.long()]
        _descend(b, lambda x=places, u=inverse: _left(root[:, None] * _read(y, x, -psi @ b) * u, q))  # type: ignore[misc]
    return b.detach()


def _spread(y: Tensor, w: Tensor) -> Tensor:
    """Standard deviation of each number (k, L) of y (n, k, L), weights w (n,) of sum 1."""
    mean = torch.einsum("n,nkl->kl", w, y)
    return torch.einsum("n,nkl->kl", w, (y - mean).square()).sqrt()


def _left(f: Tensor, q: Tensor) -> Tensor:
    """Mean square of what a regression on the columns of q leaves of f (n, k, p)."""
    flat = f.flatten(1)
    return (flat - q @ (q.T @ flat)).square().mean()


def _descend(b: Tensor, loss: Callable[[], Tensor]) -> None:
    """Move b to less loss."""
    found = torch.optim.LBFGS([b], lr=1, max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-12)
    scale = float(loss().detach()) or 1.0  # L-BFGS stops by absolute sizes

    def closure() -> Tensor:
        found.zero_grad()
        value = loss() / scale
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        found.step(closure)  # type: ignore[no-untyped-call]
