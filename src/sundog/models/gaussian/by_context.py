"""Mean and variances of a Gaussian law that depend on a context: what `sundog.models.gaussian.law` knows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ROWS = 8192  # of a sample that axes and places are taken from
BLOCK = 256  # maps transformed at once
PLACES = 16  # in the space of contexts, where mean and variances are measured
ROWS_PER_PLACE = 32  # on average, at least; places with less than half of that are given up
FLOOR = 1e-14  # of the variance over all contexts: what rounding leaves of 32-bit floats


class ByContext(nn.Module):
    """Mean and variances of a Gaussian law as smooth functions of a context c.

        m(c) = sum_j w_j(c) m_j,     ln v(c) = sum_j w_j(c) ln v_j,
        w_j(c) ~ exp(-|c - c_j|^2 / 2 h^2),     sum_j w_j = 1

    with up to ``PLACES`` centres c_j (k-means) that lie about 2 h apart; beyond the outermost the law stays what it is
    there. Means and variances are measured on rows weighted by w_j, the variances after their trend (the same sum, with
    the mean of ln power in place of ln v_j) was divided out: where they fall by decades along c, they would otherwise
    be those of the loudest neighbours.

    centres (j, c), infinite where not in use; means (j, *shape); logs (j, m)

    Example
    -------
    >>> c = torch.linspace(-1, 1, 40_000)[:, None]
    >>> x = c + c.exp() * torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0))
    >>> law = ByContext((1,), 1, 1)
    >>> law.fit(x, c, lambda x: x.square(), x.var(0))
    >>> [round(float(part), 1) for part in law(torch.tensor([[0.5]]))]               # 0.5 and e^(2 x 0.5) = 2.7
    [0.5, 2.7]
    """

    centres: Tensor
    width: Tensor
    means: Tensor
    logs: Tensor

    def __init__(self, shape: Sequence[int], directions: int, context_dim: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.full((PLACES, context_dim), math.inf))
        self.centres[0] = 0
        self.register_buffer("width", torch.ones(()))
        self.register_buffer("means", torch.zeros(PLACES, *shape))
        self.register_buffer("logs", torch.zeros(PLACES, directions))

    def fit(self, x: Tensor, context: Tensor, squares: Callable[[Tensor], Tensor], pooled: Tensor, *,
            uniform: bool = False) -> None:
        """Take everything from rows x (n, *shape) and their contexts.

        Parameters
        ----------
        context : (k, c); where it has fewer rows than x, x is k images in several positions, one after the other
        squares : of rows, (n, m), averages to the variances; ``pooled`` (m,) are those over all contexts
        uniform : the mean is one number per channel of a map
        """
        self._place(context)
        context = context.repeat(len(x) // len(context), 1)
        weights = self._weights(context)
        total = weights.sum(0).double().clamp(min=1e-30)

        def averages(of: Callable[[slice], Tensor]) -> Tensor:
            parts = (slice(start, start + BLOCK) for start in range(0, len(x), BLOCK))
            found = sum(weights[rows].double().T @ of(rows).flatten(1).double() for rows in parts)
            return found / total[:, None]  # type: ignore[no-any-return, operator]

        def power(rows: slice) -> Tensor:
            return squares(x[rows] - self(context[rows])[0]).clamp(min=1e-30)

        means = averages(lambda rows: x[rows]).reshape(self.means.shape)
        pixels = tuple(range(max(1, means.ndim - 2), means.ndim))
        self.means.copy_(means.mean(pixels, keepdim=True) if uniform else means)
        self.logs.copy_(averages(lambda rows: power(rows).log()))
        self.logs.add_(averages(lambda rows: power(rows) / self(context[rows])[1]).clamp(min=1e-30).log())
        self.logs.copy_(torch.maximum(self.logs, (FLOOR * pooled).log()))

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, *shape) and variance of every direction (n, m) given contexts (n, c)."""
        with torch.autocast(context.device.type, enabled=False):  # bf16 would know a variance to some per cent only
            weights = self._weights(context)
            return (weights @ self.means.flatten(1)).reshape(-1, *self.means.shape[1:]), (weights @ self.logs).exp()

    def loudest(self) -> Tensor:
        """The largest variance of any place, ()."""
        return self.logs[self._used()].max().exp()

    def _place(self, context: Tensor) -> None:
        """Choose centres and width; a place with too few rows to measure a law on is left to its neighbours."""
        from sklearn.cluster import KMeans

        some = torch.randperm(len(context), generator=torch.Generator().manual_seed(0))[:ROWS]
        rows = context.double().cpu()[some]
        different = len(rows.unique(dim=0))
        count = max(1, min(PLACES, len(rows) // ROWS_PER_PLACE, different))
        centres = torch.from_numpy(KMeans(count, n_init=4, random_state=0).fit(rows.numpy()).cluster_centers_)
        narrow = 10 if count == different else 2  # classes keep a law of their own
        while True:
            self.centres.fill_(math.inf)
            self.centres[: len(centres)] = centres.to(self.centres)
            if len(centres) == 1:
                self.width.fill_(1.0)
                return
            apart = torch.cdist(centres, centres).fill_diagonal_(math.inf).min(1).values.median()
            self.width.fill_(float(apart) / narrow)
            held = self._weights(context).sum(0)[: len(centres)].cpu()
            if held.min() >= ROWS_PER_PLACE / 2:
                return
            centres = centres[torch.arange(len(centres)) != held.argmin()]

    def _used(self) -> Tensor:
        return self.centres.isfinite().all(1)

    def _weights(self, context: Tensor) -> Tensor:
        used = self._used()
        centres = torch.where(used[:, None], self.centres, 0.0)
        apart = (context[:, None] - centres).square().sum(2)
        return torch.softmax((-apart / (2 * self.width.square())).masked_fill(~used, -math.inf), 1)
