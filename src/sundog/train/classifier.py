"""The classifier made of small networks, trained by the engine like every other model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.data.dataset import Dataset
from sundog.models.classifier import Classifier, LabelNetwork, check_fitted, check_rows
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import Run


class NetworkClassifier(Classifier):
    """Mean log-odds of several small fully connected networks, trained side by side (``LabelNetwork``).

    Inputs are standardised with the training rows; the running mean of the weights that is best on the validation rows
    is kept.

    Parameters
    ----------
    members : how many networks are averaged; they differ in their initial weights
    seed : of the initial weights, the validation rows and the order of the minibatches
    hidden : widths of the hidden layers
    epochs, batch, learning_rate, weight_decay : of the training
    validation : share of the rows that decides which state is kept

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(1000, 2, generator=g)
    >>> y = (torch.arange(1000) % 2).double()
    >>> net = NetworkClassifier(members=2, epochs=20).fit(x + y[:, None], y)
    >>> bool(net.predict_log_odds(torch.tensor([[2.0, 2.0]])) > 1)
    True
    """

    def __init__(self, members: int = 3, seed: int = 0, *, hidden: Sequence[int] = (64, 64), epochs: int = 30,
                 batch: int = 512, learning_rate: float = 3e-3, weight_decay: float = 1e-4,
                 validation: float = 0.25) -> None:
        for what, count in (("members", members), ("epochs", epochs), ("batch", batch)):
            at_least(count, 1, what)
        self.seed, self.epochs, self.batch, self.validation = seed, epochs, batch, validation
        self._options: dict[str, Any] = {"members": members, "hidden": tuple(hidden), "learning_rate": learning_rate,
                                         "weight_decay": weight_decay}
        self._run: Run | None = None

    def fit(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> NetworkClassifier:
        """The classifier itself, trained on x (n, d), y (n,) of 0 and 1, weights (n,) >= 0."""
        check_rows(x, y, weights)
        labelled = Dataset.from_arrays(y.reshape(-1, 1), x, ("label",), weights=weights, held_out_fraction=0.0)
        each = max(1, round((1 - self.validation) * len(x) / self.batch))
        plan = Plan(steps=self.epochs * each, batch=self.batch, validation_fraction=self.validation,
                    validate_every=each, seed=self.seed)
        self._run = fit(LabelNetwork, labelled, plan=plan, scaling="identity", kinds="continuous",
                        **self._options)
        return self

    def predict_log_odds(self, x: Tensor) -> Tensor:
        """Mean log-odds of the members, float64 (n,), for x (n, d)."""
        run = self._run
        check_fitted(run, x, 0 if run is None else len(run.labels["context_names"]))
        assert run is not None and run.context_scaling is not None and isinstance(run.model, LabelNetwork)
        with torch.no_grad():
            return run.model.logits(run.context_scaling.forward(x.float())).double().mean(0)
