"""Fakes nearer to the truth than their generator: drawn, measured beside true rows, and kept as often as they should.

    r(x) = p_true(x) / p_fake(x),     a fake is kept with probability min(r, C) / C

r is the odds of trees between the features of true rows and of fakes. A generator that is right but for the shares of
what it makes (too many loud images, sources too far out) becomes right; what it never makes stays missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from sundog.checks import whole
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError
from sundog.models.classifier import TreeEnsemble
from sundog.random import key, stream
from sundog.statistics.catalogue.table import Frame, features
from sundog.verdicts.pooled.admission import Side, admitted, aligned

CAP = 4.0  # C: at best one fake in four is kept
FEWEST_ROWS, MOST_ROWS = 200, 20_000  # true rows: with fewer, trees learn little but them; more change them little
FOLDS = 5
RAREST = 0.01  # share kept, below which a longer training is cheaper than more draws


def accepted(run: Any, real: Dataset, n: int, *, measure: Callable[[Tensor], Tensor] | None = None, seed: int = 0,
             progress: bool = False) -> Dataset:
    """n fakes of a generator, drawn at the contexts of the true rows and thinned until trees cannot tell them.

    Events are measured by their columns, images and series by the features of the judge; contexts are features as well,
    so that they keep their law as far as trees see. The trees learn from the true rows and as many fakes; each of those
    is weighed by trees that did not learn from it, all later ones by the mean of all. Row i is the same whatever n is.
    In ``provenance["accepted"]``: how many were drawn and kept, and the share of the truth beyond C, by which the fakes
    remain short.

    Parameters
    ----------
    run : a Run, or any generator with ``sample(n, context=, seed=)``
    real : true rows, best those that it learned from; not those that later judge the fakes
    n : how many
    measure : values -> (n, k), more features: whatever shall be right and the features above do not know
    progress : say on stderr how many there are

    Raises
    ------
    SampleSizeError : fewer than 200 true rows.
    OptionError : fewer than 1 % are kept; a private run, whose fakes must not tell of any row.

    Source: Azadi et al. 2019, section 3 (with a cap in place of their shift).

    Example
    -------
    >>> import sundog
    >>> moons = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("flow-matching", moons, plan=sundog.Plan(steps=300))
    >>> len(accepted(run, moons, 100, seed=1))
    100
    """
    whole(n, "n", least=1)
    real = real[torch.randperm(len(real), generator=stream(seed, "true rows"))[:MOST_ROWS]]
    weigh: _Ratio | None = None
    parts: list[Dataset] = []
    drawn = kept = 0
    with Console(stderr=True, quiet=not progress).status("drawing") as status:
        while kept < n:
            given = admitted(real, run, None, (None, None), 1.0, key(seed, "block", drawn) >> 193)
            weigh = weigh or _Ratio(given, measure, seed)
            log_r = weigh(given) if drawn else weigh.pilot
            u = torch.rand(len(log_r), generator=stream(seed, "rejection", drawn), dtype=torch.float64)
            rows = (u * CAP < log_r.exp()).nonzero()[:, 0]
            drawn, kept = drawn + len(log_r), kept + len(rows)
            if kept < RAREST * drawn:
                raise OptionError("hardly any fake is kept", got=f"{kept} of {drawn}", expected="one in a hundred",
                                  do="train the generator longer: its fakes are too far from the truth")
            parts += [given.fake[rows]] if len(rows) else []
            status.update(f"{kept} fakes kept of {drawn}")
    told = {"drawn": drawn, "kept": kept, "beyond": weigh.beyond if weigh else 0.0}
    return replace(Dataset.concat(parts)[:n], provenance={**parts[0].provenance, "seed": seed, "accepted": told})


class _Ratio:
    """log r of fakes, by trees of several folds; ``beyond``: the share of the truth where r is above C."""

    def __init__(self, given: Side, measure: Callable[[Tensor], Tensor] | None, seed: int) -> None:
        if given.fake.provenance.get("privacy"):
            raise OptionError("fakes of a private run stay as they are", got="true rows to choose them by",
                              expected="fakes that tell of no row more than their training did",
                              do="sample without the true rows")
        if len(given.real) < FEWEST_ROWS:
            raise SampleSizeError("too few true rows to choose fakes by", got=len(given.real),
                                  expected=f"at least {FEWEST_ROWS}", do="sample without them")
        real, fake, _ = aligned(given, [])
        self.measure = measure
        self.frame = Frame.of(real.values, names=real.names if real.kind == "events" else (),
                              series=real.kind == "series")
        x, y = self._seen(real), self._seen(fake)
        w = real.weights
        weights = None if w is None else torch.cat([w.double() / w.double().mean(), torch.ones(len(y))])
        rows, labels = torch.cat([x, y]), (torch.arange(len(x) + len(y)) < len(x)).double()
        fold = torch.randperm(len(rows), generator=stream(seed, "folds")) % FOLDS
        self.trees, log_r = [], torch.zeros(len(rows), dtype=torch.float64)
        for k in range(FOLDS):
            learn = fold != k
            trees = TreeEnsemble(members=4, seed=key(seed, "trees", k) >> 225, learning_rate=0.05, max_iter=300,
                                 validation=0.2).fit(rows[learn], labels[learn],
                                                     None if weights is None else weights[learn])
            log_r[~learn] = trees.predict_log_odds(rows[~learn]).double()
            self.trees.append(trees)
        self.pilot = log_r[len(x):]
        self.beyond = max(0.0, 1 - float(self.pilot.exp().clamp(max=CAP).mean()))  # the mean of r is 1

    def __call__(self, given: Side) -> Tensor:
        rows = self._seen(aligned(given, [])[1])
        return torch.stack([trees.predict_log_odds(rows).double() for trees in self.trees]).mean(0)

    def _seen(self, data: Dataset) -> Tensor:
        """Features and contexts of the rows, (n, K)."""
        more = [] if self.measure is None else [self.measure(data.values).double()]
        told = [] if data.context is None else [data.context.double()]
        return torch.cat([features(data.values, self.frame), *more, *told], 1)

