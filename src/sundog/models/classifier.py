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
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from sundog.errors import DataError, OptionError, ShapeError

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
        _positive(members=members, max_iter=max_iter, patience=patience)
        self.members, self.seed = members, seed
        self._settings = {
            "max_iter": max_iter, "learning_rate": learning_rate, "max_leaf_nodes": max_leaf_nodes,
            "min_samples_leaf": min_samples_leaf, "l2_regularization": l2, "validation_fraction": validation,
            "n_iter_no_change": patience, "early_stopping": True, "tol": 0.0,
        }
        self._trees: list[Any] = []

    def fit(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> TreeEnsemble:
        """The ensemble itself, trained on x (n, d), y (n,) of 0 and 1, weights (n,) >= 0."""
        _check(x, y, weights)
        rows, labels = _array(x), _array(y).astype(int)
        w = None if weights is None else _array(weights)
        from sklearn.ensemble import HistGradientBoostingClassifier as Boosting  # slow, and sets os.environ

        with _threads(len(rows)):
            self._trees = [
                Boosting(random_state=self.seed + i, **self._settings).fit(rows, labels, w)
                for i in range(self.members)
            ]
        return self

    def predict_log_odds(self, x: Tensor) -> Tensor:
        """Mean log-odds of the members, float64 (n,), for x (n, d)."""
        _fitted(self._trees, x, self._trees[0].n_features_in_ if self._trees else 0)
        rows = _array(x)
        with _threads(len(rows)):
            return torch.from_numpy(np.mean([tree.decision_function(rows) for tree in self._trees], axis=0))


class NetworkClassifier(Classifier):
    """Mean log-odds of several small fully connected networks, trained side by side as one batched product.

    Inputs are standardised with the training rows. AdamW on minibatches; each member keeps the weights of its
    best epoch on the ``validation`` rows; training stops when no member has improved for ``patience`` epochs.

    Parameters
    ----------
    members : how many networks are averaged; they differ in their initial weights
    seed : of the initial weights, the validation rows and the order of the minibatches
    hidden : widths of the hidden layers
    epochs, batch, learning_rate, weight_decay : of the training
    validation : share of the rows that decides when to stop
    patience : epochs without improvement before stopping

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(1000, 2, generator=g)
    >>> y = (torch.arange(1000) % 2).double()
    >>> net = NetworkClassifier(members=2, epochs=20).fit(x + y[:, None], y)
    >>> bool(net.predict_log_odds(torch.tensor([[2.0, 2.0]])) > 1)
    True
    """

    def __init__(self, members: int = 3, seed: int = 0, *, hidden: Sequence[int] = (64, 64), epochs: int = 100,
                 batch: int = 512, learning_rate: float = 3e-3, weight_decay: float = 1e-4,
                 validation: float = 0.25, patience: int = 8) -> None:
        _positive(members=members, epochs=epochs, batch=batch, patience=patience)
        self.members, self.seed, self.hidden = members, seed, tuple(hidden)
        self.epochs, self.batch, self.patience = epochs, batch, patience
        self.learning_rate, self.weight_decay, self.validation = learning_rate, weight_decay, validation
        self._stack: _Stack | None = None
        self._mean = self._std = torch.empty(0)

    def fit(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> NetworkClassifier:
        """The classifier itself, trained on x (n, d), y (n,) of 0 and 1, weights (n,) >= 0."""
        _check(x, y, weights)
        generator = torch.Generator().manual_seed(self.seed)
        x, y = x.float(), y.float()
        w = torch.ones_like(y) if weights is None else weights.float() / weights.float().mean()
        self._mean, std = x.mean(0), x.std(0)
        self._std = torch.where(std > 0, std, torch.ones_like(std))
        x = (x - self._mean) / self._std
        order = torch.randperm(len(x), generator=generator)
        held = max(1, round(self.validation * len(x)))
        self._stack = _Stack(self.members, (x.shape[1], *self.hidden, 1), generator)
        self._train((x, y, w), order[held:], order[:held], generator)
        return self

    def predict_log_odds(self, x: Tensor) -> Tensor:
        """Mean log-odds of the members, float64 (n,), for x (n, d)."""
        _fitted(self._stack, x, len(self._mean))
        assert self._stack is not None  # for the type checker: _fitted has raised otherwise
        with torch.no_grad():
            return self._stack((x.float() - self._mean) / self._std).double().mean(0)

    def _train(self, data: tuple[Tensor, Tensor, Tensor], rows: Tensor, held: Tensor,
               generator: torch.Generator) -> None:
        assert self._stack is not None  # for the type checker: built in fit
        stack, best = self._stack, torch.full((self.members,), torch.inf)
        kept = [p.detach().clone() for p in stack.parameters()]
        adam = torch.optim.AdamW(stack.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        stale = 0
        for _ in range(self.epochs):
            shuffled = rows[torch.randperm(len(rows), generator=generator)]
            for part in shuffled.split(self.batch):
                adam.zero_grad()
                stack.loss(*(t[part] for t in data)).sum().backward()
                adam.step()
            with torch.no_grad():
                loss = stack.loss(*(t[held] for t in data))
                better = loss < best
                best = torch.minimum(loss, best)
                for old, new in zip(kept, stack.parameters()):
                    old[better] = new[better]
            stale = 0 if better.any() else stale + 1
            if stale == self.patience:
                break
        with torch.no_grad():
            for parameter, old in zip(stack.parameters(), kept):
                parameter.copy_(old)


class _Stack(nn.Module):
    """Several networks of one shape as one batched product: weights (members, in, out)."""

    def __init__(self, members: int, widths: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        # He scaling, uniform; drawn from the generator because nn.Linear would draw from global state
        self.weights = nn.ParameterList(
            nn.Parameter((torch.rand(members, a, b, generator=generator) * 2 - 1) * (3 / a) ** 0.5)
            for a, b in zip(widths[:-1], widths[1:])
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        h = x.expand(self.weights[0].shape[0], *x.shape)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, h, weight)
            h = nn.functional.silu(h) if i < len(self.weights) - 1 else h
        return h[..., 0]

    def loss(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        """Weighted cross-entropy of every member (members,)."""
        logits = self(x)
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, y.expand_as(logits), reduction="none")
        return (w * entropy).mean(1)


def _threads(n: int) -> AbstractContextManager[object]:
    return _controller().limit(limits=1, user_api="openmp") if n < ONE_THREAD_BELOW else nullcontext()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, 5 ms: once, after scikit-learn has come


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def _positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise OptionError(f"{name} of a classifier is unusable", got=count, expected="a whole number >= 1",
                              do=f"pass e.g. {name}=10")


def _check(x: Tensor, y: Tensor, weights: Tensor | None) -> None:
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


def _fitted(state: object, x: Tensor, width: int) -> None:
    if not state:
        raise OptionError("the classifier has not been trained", got="predict_log_odds", expected="fit first",
                          do="call fit(x, y)")
    if x.ndim != 2 or x.shape[1] != width:
        raise ShapeError("rows do not fit the classifier", got=tuple(x.shape), expected=f"(n, {width})",
                         do="pass the columns that it was trained with")
