"""The two-sample classifier: gradient-boosted trees or a small network, fitted to tell y = 1 from y = 0.

Trained to convergence with the binary cross-entropy, a classifier knows the likelihood ratio,

    log-odds(x) = log p(y=1|x) / p(y=0|x) = log p(x|1) / p(x|0) + log w_1 / w_0,

with w_y the total weight of class y in the training sample: pass equal totals to read the log-odds as the
log-likelihood ratio. (Cranmer, Pavez & Louppe 2015, eq. 2.) What is done with the answer, a test, a scan or
a reweighting, is the business of the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from sundog.checks import at_least
from sundog.errors import DataError, OptionError, ShapeError
from sundog.models.base import Batch, Density, Noise, Objective, RowNoise
from sundog.nets.mlp import mlp
from sundog.random import short

LEVELS = 255  # of each feature, of which trees see the histogram
ONE_THREAD_BELOW = 100_000  # rows; below, threads gain nothing and their barriers cost seconds on a busy machine


class Classifier(ABC):
    """Anything that learns the log-odds of two classes from labelled rows. Abstract: subclasses are final."""

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> Classifier:
        """The classifier itself, trained on x (n, d), y (n,) of 0 and 1, weights (n,) >= 0."""

    @abstractmethod
    def predict_log_odds(self, x: Tensor) -> Tensor:
        """Natural logarithm of p(y=1|x) / p(y=0|x), float64 (n,), for x (n, d)."""


class TreeEnsemble(Classifier):
    """Mean log-odds of several histogram gradient boostings that differ in the seed.

    Each member keeps ``validation`` of the rows aside (another part for another seed) and stops when the
    cross-entropy there has not improved for ``patience`` trees, so that noise is not learned.

    Parameters
    ----------
    members : how many boostings are averaged
    seed : member i uses seed + i
    max_iter : largest number of trees per member
    learning_rate, max_leaf_nodes, min_samples_leaf, l2 : of the trees
    validation : share of the rows that decides when to stop
    patience : trees without improvement before stopping

    Source: Ke et al. 2017 (LightGBM); the ensemble over seeds follows Finke et al. 2024, section 2.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(2000, 2, generator=g)
    >>> y = (torch.arange(2000) % 2).double()
    >>> trees = TreeEnsemble(members=2).fit(x + y[:, None], y)
    >>> bool(trees.predict_log_odds(torch.tensor([[2.0, 2.0]])) > 1)
    True
    """

    def __init__(self, members: int = 10, seed: int = 0, *, max_iter: int = 200, learning_rate: float = 0.1,
                 max_leaf_nodes: int = 31, min_samples_leaf: int = 20, l2: float = 0.0,
                 validation: float = 0.25, patience: int = 10) -> None:
        for what, count in (("members", members), ("max_iter", max_iter), ("patience", patience)):
            at_least(count, 1, what)
        self.members, self.seed = members, seed
        self._settings = {
            "max_iter": max_iter, "learning_rate": learning_rate, "max_leaf_nodes": max_leaf_nodes,
            "min_samples_leaf": min_samples_leaf, "l2_regularization": l2, "validation_fraction": validation,
            "n_iter_no_change": patience, "early_stopping": True, "tol": 0.0,
        }
        self._trees: list[Any] = []
        self._edges: list[np.ndarray] = []

    def fit(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> TreeEnsemble:
        """The ensemble itself, trained on x (n, d), y (n,) of 0 and 1, weights (n,) >= 0."""
        check_rows(x, y, weights)
        rows, labels = _array(x), _array(y).astype(int)
        w = None if weights is None else _array(weights)
        # Weighted quantiles of scikit-learn sort a column anew for each of 254, in every member: most of its time.
        self._edges = [] if w is None else [_edges(column, w) for column in rows.T]
        rows = self._levels(rows)
        from sklearn.ensemble import HistGradientBoostingClassifier as Boosting  # slow, and sets os.environ

        with _threads(len(rows)):
            self._trees = [
                Boosting(random_state=short(self.seed + i, 32, "trees"), **self._settings).fit(rows, labels, w)
                for i in range(self.members)
            ]
        return self

    def predict_log_odds(self, x: Tensor) -> Tensor:
        """Mean log-odds of the members, float64 (n,), for x (n, d)."""
        check_fitted(self._trees, x, self._trees[0].n_features_in_ if self._trees else 0)
        rows = self._levels(_array(x))
        with _threads(len(rows)):
            return torch.from_numpy(np.mean([tree.decision_function(rows) for tree in self._trees], axis=0))

    def _levels(self, rows: np.ndarray) -> np.ndarray:
        """Rows with every number replaced by the level it lies in, where the levels were found beforehand."""
        if not self._edges:
            return rows
        return np.stack([np.searchsorted(edges, column) for edges, column in zip(self._edges, rows.T)], 1)


class LabelNetwork(Density):
    """p(y | x) of labels y of 0 or 1, rows (n, 1), given standardised x as context (n, d): several small networks.

    The networks are trained side by side as one batched product and differ in their initial weights.

    Parameters
    ----------
    shape, context_dim : (1,) and d
    members, hidden : how many networks, and the widths of their hidden layers
    learning_rate, weight_decay : of the training
    """

    family: ClassVar[str] = "label network"

    def __init__(self, shape: Sequence[int] = (1,), context_dim: int = 1, *, members: int = 3,
                 hidden: Sequence[int] = (64, 64), learning_rate: float = 3e-3, weight_decay: float = 1e-4) -> None:
        super().__init__()
        self._config: dict[str, Any] = {
            "shape": list(shape), "context_dim": context_dim, "members": members, "hidden": list(hidden),
            "learning_rate": learning_rate, "weight_decay": weight_decay}
        widths = (context_dim, *hidden, 1)
        # He scaling, uniform.
        self.weights = nn.ParameterList(nn.Parameter((torch.rand(members, a, b) * 2 - 1) * (3 / a) ** 0.5)
                                        for a, b in zip(widths[:-1], widths[1:]))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in widths[1:])

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def logits(self, x: Tensor) -> Tensor:
        """Log-odds of every member, (members, n), for x (n, d)."""
        h = x.expand(self.weights[0].shape[0], *x.shape)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, h, weight)
            h = nn.functional.silu(h) if i < len(self.weights) - 1 else h
        return h[..., 0]

    def objectives(self) -> list[Objective]:
        return [Objective("cross-entropy", list(self.parameters()), self.loss, self._config["learning_rate"],
                          weight_decay=self._config["weight_decay"])]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Cross-entropy, summed over the members so that none learns from another."""
        assert batch.context is not None  # rows are what labels are given
        return batch.mean(_entropy(self.logits(batch.context), batch.x).sum(0))

    def log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(y | x) by the mean log-odds, of labels x (n, 1) given rows (n, d)."""
        assert context is not None
        return -_entropy(self.logits(context).mean(0), x)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self.log_prob(x, context).mean()

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Labels (n, 1) drawn for rows (n, d)."""
        assert context is not None
        return (noise.uniform() < torch.sigmoid(self.logits(context).mean(0))).float()[:, None]


class PairNetwork(Density):
    """p(y | x, theta) of labels y of 0 or 1, rows (n, 1), given standardised (x, theta) as context.

        log-odds = f(x) . g(theta) + a(x) + b(theta),    f and g of ``rank`` numbers each

    The log-odds of n rows under k parameters are one product of matrices, (n, rank) times (rank, k).

    Parameters
    ----------
    shape, context_dim : (1,) and the number of columns of x and theta
    parameters : how many of them, the last, are theta
    hidden, rank : widths of the hidden layers of either network; numbers that meet in the product
    learning_rate, weight_decay : of the training
    """

    family: ClassVar[str] = "pair network"

    def __init__(self, shape: Sequence[int] = (1,), context_dim: int = 2, *, parameters: int = 1,
                 hidden: Sequence[int] = (128, 128), rank: int = 64, learning_rate: float = 2e-3,
                 weight_decay: float = 1e-4) -> None:
        super().__init__()
        self._config: dict[str, Any] = {
            "shape": list(shape), "context_dim": context_dim, "parameters": parameters, "hidden": list(hidden),
            "rank": rank, "learning_rate": learning_rate, "weight_decay": weight_decay}
        self.split = context_dim - parameters
        self.of_rows, self.of_parameters = mlp(self.split, rank + 1, hidden), mlp(parameters, rank + 1, hidden)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        return [Objective("cross-entropy", list(self.parameters()), self.loss, self._config["learning_rate"],
                          weight_decay=self._config["weight_decay"])]

    def table(self, x: Tensor, theta: Tensor) -> Tensor:
        """Log-odds (n, k) of rows x (n, d) under the parameters theta (k, p)."""
        f, g = self.of_rows(x), self.of_parameters(theta)
        return f[:, :-1] @ g[:, :-1].T + f[:, -1:] + g[:, -1]

    def logits(self, context: Tensor) -> Tensor:
        """Log-odds (n,) of rows (n, d + p)."""
        f, g = self.of_rows(context[:, : self.split]), self.of_parameters(context[:, self.split :])
        return (f[:, :-1] * g[:, :-1]).sum(1) + f[:, -1] + g[:, -1]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        assert batch.context is not None  # rows are what labels are given
        return batch.mean(_entropy(self.logits(batch.context), batch.x))

    def log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(y | x, theta) of labels x (n, 1) given rows (n, d + p)."""
        assert context is not None
        return -_entropy(self.logits(context), x)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self.log_prob(x, context).mean()

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Labels (n, 1) drawn for rows (n, d + p)."""
        assert context is not None
        return (noise.uniform() < torch.sigmoid(self.logits(context))).float()[:, None]


def _entropy(logits: Tensor, y: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, y[:, 0].expand_as(logits), reduction="none")


def _threads(n: int) -> AbstractContextManager[object]:
    return _controller().limit(limits=1, user_api="openmp") if n < ONE_THREAD_BELOW else nullcontext()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, 5 ms: once, after scikit-learn has come


def _edges(column: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weighted quantiles of a column (n,) that part it into at most LEVELS levels of equal weight."""
    order = np.argsort(column)
    share = np.cumsum(w[order])
    places = np.searchsorted(share, np.arange(1, LEVELS) / LEVELS * share[-1])
    return np.unique(column[order[np.minimum(places, len(order) - 1)]])


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def check_rows(x: Tensor, y: Tensor, weights: Tensor | None) -> None:
    """Nothing, if a classifier can be trained on these rows, labels and weights."""
    if x.ndim != 2 or y.shape != (len(x),) or (weights is not None and weights.shape != (len(x),)):
        shapes = [tuple(t.shape) for t in (x, y, weights) if t is not None]
        raise ShapeError("rows, labels and weights do not fit", got=shapes, expected="(n, d), (n,) and (n,)",
                         do="pass one label and one weight per row")
    found = set(y.unique().tolist())
    if found != {0.0, 1.0}:
        raise DataError("labels are unusable", got=f"values {sorted(found)[:5]}", expected="0 and 1, both present",
                        do="label one sample 0 and the other 1")
    if weights is not None and bool((weights < 0).any()):
        raise DataError("weights are negative", got=f"smallest {float(weights.min()):.3g}", expected="numbers >= 0",
                        do="drop the rows of negative weight")
    if not torch.isfinite(x).all():
        raise DataError("rows contain NaN or Inf", got=f"{int((~torch.isfinite(x)).any(1).sum())} bad rows",
                        expected="finite numbers", do="drop or repair them")


def check_fitted(state: object, x: Tensor, width: int) -> None:
    """Nothing, if a classifier has been trained, on rows of that width."""
    if not state:
        raise OptionError("the classifier has not been trained", got="predict_log_odds", expected="fit first",
                          do="call fit(x, y)")
    if x.ndim != 2 or x.shape[1] != width:
        raise ShapeError("rows do not fit the classifier", got=tuple(x.shape), expected=f"(n, {width})",
                         do="pass the columns that it was trained with")
