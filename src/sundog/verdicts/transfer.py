"""Can fakes stand in for real data? A classifier that learns from the one is asked about the other, both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, SampleSizeError, ShapeError
from sundog.models.classifier import TreeEnsemble
from sundog.random import short
from sundog.statistics.catalogue.features import features
from sundog.statistics.catalogue.table import Frame
from sundog.verdicts.twosample import area_under_curve

FEWEST = 20  # rows of each class


@dataclass(frozen=True)
class Transfer:
    """Area under the ROC curve of a classifier of two classes, for every pair of what it learned from and was asked.

    Attributes
    ----------
    real_real : learned from n real rows, asked about real ones; median over random choices of the n
    low, high : 16 % and 84 % quantile over those choices
    fake_real : learned from n fakes, asked about the same real rows, with its spread over choices of fakes
    real_fake : learned from n real rows, asked about fakes
    error : of real_real from the rows asked about, 1 standard deviation (DeLong et al. 1988)
    n, asked : rows to learn from, real rows asked about
    """

    real_real: float
    low: float
    high: float
    fake_real: float
    fake_real_spread: float
    real_fake: float
    real_fake_spread: float
    error: float
    n: int
    asked: int

    def __str__(self) -> str:
        return (f"classes from {self.n} rows, AUC on {self.asked} real rows (± {self.error:.3f}): learned from real "
                f"{self.real_real:.3f} ({self.low:.3f} to {self.high:.3f}), from fakes {self.fake_real:.3f} "
                f"± {self.fake_real_spread:.3f}; learned from real, asked about fakes {self.real_fake:.3f} "
                f"± {self.real_fake_spread:.3f}")


def transfer(real: Dataset, held_out: Dataset, fake: Dataset, label: str, *, repeats: int = 8, seed: int = 0
             ) -> Transfer:
    """How well classes carry over between real and fake rows, beside real to real at the same n.

    Fakes that miss what tells the classes apart teach a classifier badly (``fake_real`` low); fakes that exaggerate
    it are too easy (``real_fake`` above ``real_real``). n = min(len(fake), len(real)) / 2 rows, drawn anew
    ``repeats`` times. The classifier is a small ensemble of boosted trees on the interpretable features of the
    judge, in one frame set by the real rows.

    Parameters
    ----------
    real, held_out, fake : with the class in the context column ``label``: two different values in all

    Raises
    ------
    ShapeError, DataError : no such column, or not two classes.
    SampleSizeError : fewer than 20 rows of a class.
    """
    frame = Frame.of(real.values, periodic=real.periodic)
    parts = [(features(data.values, frame).float(), _classes(data, label)) for data in (real, held_out, fake)]
    values = torch.unique(torch.cat([y for _, y in parts]))
    if len(values) != 2:
        raise DataError(f"'{label}' is not two classes", got=f"{len(values)} values", expected="2",
                        do="choose the rows of two classes")
    (x, y), (x_out, y_out), (x_fake, y_fake) = ((a, (b == values[1]).double()) for a, b in parts)
    for name, labels in (("real", y), ("held-out", y_out), ("fake", y_fake)):
        if min(float(labels.sum()), float((1 - labels).sum())) < FEWEST:
            raise SampleSizeError(f"too few {name} rows of a class", got=int(min(labels.sum(), (1 - labels).sum())),
                                  expected=f"{FEWEST} or more", do="add rows, or sample more fakes")
    n = min(len(x), len(x_fake)) // 2
    errors: list[float] = []
    found: dict[str, list[float]] = {"real_real": [], "fake_real": [], "real_fake": []}
    for repeat in range(repeats):
        g = torch.Generator().manual_seed(short(seed + repeat, 64, "halves"))
        a, b = torch.randperm(len(x), generator=g)[:n], torch.randperm(len(x_fake), generator=g)[:n]
        from_real = TreeEnsemble(members=2, seed=seed + repeat).fit(x[a], y[a])
        from_fake = TreeEnsemble(members=2, seed=seed + repeat).fit(x_fake[b], y_fake[b])
        auc, error = _area(from_real.predict_log_odds(x_out), y_out)
        errors.append(error)
        found["real_real"].append(auc)
        found["fake_real"].append(_area(from_fake.predict_log_odds(x_out), y_out)[0])
        found["real_fake"].append(_area(from_real.predict_log_odds(x_fake), y_fake)[0])
    low, middle, high = np.quantile(found["real_real"], [0.16, 0.5, 0.84]).tolist()
    other = [(float(np.median(found[name])), float(np.std(found[name]))) for name in ("fake_real", "real_fake")]
    return Transfer(middle, low, high, *other[0], *other[1], float(np.median(errors)), n, len(x_out))


def _area(score: Tensor, label: Tensor) -> tuple[float, float]:
    return area_under_curve(score[label == 0], score[label > 0])


def _classes(data: Dataset, label: str) -> Tensor:
    if label not in data.context_names or data.context is None:
        raise ShapeError("no such class column", got=", ".join(data.context_names) or "no context", expected=label,
                         do="pass the class as context")
    return data.context[:, data.context_names.index(label)]
