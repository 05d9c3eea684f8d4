"""LaCATHODE: the classifier of CATHODE in the latent space of the background flow.

z = f(x; m),   p_B(z | m) = N(z; 0, 1) for every m

Background looks the same at every mass there, so a cut on the classifier's score cannot sculpt a bump into the
mass spectrum, even where the features themselves shift with the mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.models.flow import NormalizingFlow
from sundog.models.matching import FlowMatching
from sundog.random import stream
from sundog.tasks.anomaly.detectors.base import fitted
from sundog.tasks.anomaly.detectors.cathode import GeneratedSearch
from sundog.train.run import Run

CHUNK = 16_384  # events mapped at once: bounds memory


@dataclass(eq=False)
class LaCathode(GeneratedSearch):
    """Classifier between the latent vectors of the data inside the window and standard normal numbers.

    Parameters
    ----------
    region : the signal region
    seed : of generator, normal numbers and classifier
    template : ``flow`` (default) or ``flow-matching``: it must have an inverse
    plan, scaling, options : of the generator; sensible for the family where None
    oversampling : normal vectors per data event inside the window
    members : boostings in the ensemble
    masses : law of the masses that ``sample_background`` draws
    check : whether to test the template on sideband events (``template_report_``)

    Source: Hallin, Kasieczka, Quadfasel, Shih & Sommerhalder 2023 (LaCATHODE).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> from sundog.train.plan import Plan
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = LaCathode(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1,
    ...                    options={"layers": 1, "hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, search.latent(events[:5]).shape
    (torch.Size([5]), torch.Size([5, 4]))
    """

    def view(self, events: Dataset) -> Tensor:
        return encoded(self.fitted_template.run, events)

    def view_of_background(self, n: int, seed: int) -> Tensor:
        return torch.randn(n, len(fitted(self.columns_)), generator=stream(seed, "normal", 0))

    def latent(self, x: Any, m: Any = None) -> Tensor:
        """z = f(x; m), float32 (n, d): standard normal for background, whatever its mass."""
        return self.view(self.seen(x, m))

    def _check(self) -> None:
        super()._check()
        if self.template not in ("flow", "flow-matching"):
            raise OptionError("this template has no latent space of the data", got=self.template,
                              expected="flow | flow-matching", do="choose one, or use Cathode")


def encoded(run: Run, events: Dataset) -> Tensor:
    """Latent vectors (n, d) of events under a run of an invertible family, one mass per event."""
    model, of_mass = run.model, run.context_scaling
    assert isinstance(model, NormalizingFlow | FlowMatching) and of_mass is not None  # the door let no other in
    if events.context is None:
        raise ShapeError("the latent vector depends on the mass", got="no m", expected="one mass per event",
                         do="pass m, or a Dataset made with with_context('m_jj')")
    out, like = [], next(model.parameters())
    for x, m in zip(events.values.split(CHUNK), events.context.split(CHUNK)):
        with torch.no_grad():
            z = model.latent(run.scaling.forward(x).to(like), of_mass.forward(m).to(like))
        out.append(z.float().cpu())
    return torch.cat(out)
