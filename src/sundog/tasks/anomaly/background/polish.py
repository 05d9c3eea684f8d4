"""What a generator gets wrong beside the window, taken away inside it: a template polished by trees.

    r(x) = p_data(x) / p_template(x) over the sidebands;   p'(x | m) = p(x | m) r(x) / Z

The errors of a generator (edges, tails, narrow ridges) hardly depend on the mass, so what trees learn of them where
the data are pure background holds inside the window too. What does depend on the mass stays with the generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import SampleSizeError
from sundog.models.classifier import Classifier, TreeEnsemble
from sundog.random import stream
from sundog.train.run import Run

CAP = 2.0  # r is kept between 1/2 and 2: rejection then draws twice, and trees cannot invent a peak
FEWEST_ROWS = 2000
MOST_ROWS = 200_000  # of the sidebands: more cost time and no longer change the trees
FRESH_ROWS = 20_000  # for the normalisation: half a per cent where r scatters by two thirds
ROUNDS = 30  # of the rejection; after them one event in 10^9 is accepted as it comes


@dataclass(frozen=True, eq=False)
class Polish:
    """The ratio of sideband data to a generator at the same masses, as a function of the features alone.

    Attributes
    ----------
    trees : whose log-odds are log r
    level : log Z, the logarithm of the mean of r over the generator
    """

    trees: Classifier
    level: float

    def log_ratio(self, values: Tensor) -> Tensor:
        """log r(x) / Z, float64 (n,), for features x (n, d)."""
        return self._raw(values) - self.level

    def thin(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Which of the rows drawn from the generator to keep, (n,) booleans, so that those kept follow p r / Z."""
        u = torch.rand(len(values), generator=generator, dtype=torch.float64)
        return u < (self._raw(values) - math.log(CAP)).exp()

    def _raw(self, values: Tensor) -> Tensor:
        return self.trees.predict_log_odds(values).clamp(-math.log(CAP), math.log(CAP))


def fit_polish(run: Run, beside: Dataset, *, seed: int = 0, members: int = 4) -> Polish:
    """The polish of a generator from sideband events, drawn against as many of its own at the same masses.

    Trees grow slowly and stop on held-out rows: where the generator is right they learn nothing, and r = 1.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog import Plan, fit
    >>> beside = ResonantToy().background(2000, 0)
    >>> polish = fit_polish(fit("flow", beside, plan=Plan(steps=5), layers=1, hidden=(8,)), beside, members=1)
    >>> polish.log_ratio(beside.values[:3]).shape
    torch.Size([3])
    """
    if len(beside) < FEWEST_ROWS:
        raise SampleSizeError("too few sideband events to polish a template", got=len(beside),
                              expected=f"at least {FEWEST_ROWS}", do="leave polish out")
    order = torch.randperm(len(beside), generator=stream(seed, "polished rows"))[:MOST_ROWS]
    real = beside[order]
    assert real.context is not None  # the sidebands of a search carry their mass
    drawn = run.sample(len(real), context=real.context, seed=seed + 17)
    x, y = torch.cat([real.values, drawn.values]), (torch.arange(2 * len(real)) < len(real)).double()
    trees = TreeEnsemble(members=members, seed=seed, learning_rate=0.05, max_iter=300, validation=0.3).fit(x, y)
    # On draws that the trees have not seen: on their own they claim a few per cent too little.
    fresh = run.sample(min(len(real), FRESH_ROWS), context=real.context[:FRESH_ROWS], seed=seed + 18)
    return Polish(trees, float(Polish(trees, 0.0).log_ratio(fresh.values).exp().mean().log()))


def draw(run: Run, polish: Polish, context: Tensor, seed: int) -> Dataset:
    """One event for each row of the context (n, 1), by rejection: drawn again until it is kept."""
    found = run.sample(len(context), context=context, seed=seed)
    generator = stream(seed, "rejection")
    values, left = found.values.clone(), torch.arange(len(context))
    for again in range(1, ROUNDS):
        left = left[~polish.thin(values[left], generator)]
        if len(left) == 0:
            break
        values[left] = run.sample(len(left), context=context[left], seed=seed + 1_000_003 * again).values
    return Dataset(values=values, context=found.context, held_out_fraction=0.0, names=found.names, units=found.units,
                   context_names=found.context_names, context_units=found.context_units, provenance=found.provenance)
