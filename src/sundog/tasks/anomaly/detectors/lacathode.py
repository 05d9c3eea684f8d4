"""LaCATHODE: the classifier of CATHODE in the latent space of the background flow.

z = f(x; m),   p_B(z | m) = N(z; 0, 1) for every m

Background looks the same at every mass there, so a cut on the classifier's score cannot sculpt a bump into the
mass spectrum, even where the features themselves shift with the mass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.errors import OptionError, ShapeError
from sundog.models.classifier import Classifier
from sundog.models.flow import NormalizingFlow
from sundog.models.matching import FlowMatching
from sundog.random import stream
from sundog.tasks.anomaly.background.template import Template, fit_template
from sundog.tasks.anomaly.detectors.base import TemplateDetector
from sundog.tasks.anomaly.detectors.references import fit_ratio, scored
from sundog.tasks.anomaly.regions import SignalRegion, gather, gather_any
from sundog.train.plan import Plan
from sundog.train.run import Run

CHUNK = 16_384  # events mapped at once: bounds memory


@dataclass(eq=False)
class LaCathode(TemplateDetector):
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
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = LaCathode(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1,
    ...                    options={"layers": 1, "hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, search.latent(events[:5]).shape
    (torch.Size([5]), torch.Size([5, 4]))
    """

    region: SignalRegion
    seed: int = 0
    template: str = "flow"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    check: bool = True
    out: Any = None
    template_: Template | None = None
    classifier_: Classifier | None = None

    def __post_init__(self) -> None:
        if self.template not in ("flow", "flow-matching"):
            raise OptionError("this template has no latent space of the data", got=self.template,
                              expected="flow | flow-matching", do="choose one, or use Cathode")

    def fit(self, x: Any, m: Any = None) -> LaCathode:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        if self.oversampling <= 0:
            raise OptionError("oversampling is unusable", got=self.oversampling, expected="a number > 0", do="pass 3")
        events = gather(x, m, unit=self.region.unit)
        self.template_ = fit_template(events, self.region, family=self.template, seed=self.seed, plan=self.plan,
                                      scaling=self.scaling, law=self.masses, check=self.check, out=self.out,
                                      **self.options)
        inside = self.latent(events[self.region.contains(events)])
        normal = torch.randn(round(self.oversampling * len(inside)), inside.shape[1],
                             generator=stream(self.seed, "normal", 0))
        self.classifier_ = fit_ratio(inside, normal, seed=self.seed, members=self.members)
        return self

    def latent(self, x: Any, m: Any = None) -> Tensor:
        """z = f(x; m), float32 (n, d): standard normal for background, whatever its mass."""
        events = gather_any(x, m)
        if events.context is None:
            raise ShapeError("the latent vector depends on the mass", got="no m", expected="one mass per event",
                             do="pass m, or a Dataset made with with_context('m_jj')")
        return encoded(self.fitted_template.run, events)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(z) / N(z; 0, 1) inside the window, float64 (n,), equal to that of x given m."""
        return scored(self.classifier_, self.latent(x, m), None, False)


def encoded(run: Run, events: Dataset) -> Tensor:
    """Latent vectors (n, d) of events under a run of an invertible family, one mass per event."""
    model, of_mass = run.model, run.context_scaling
    assert isinstance(model, NormalizingFlow | FlowMatching) and of_mass is not None  # the door let no other in
    assert events.context is not None
    out = []
    for x, m in zip(events.values.split(CHUNK), events.context.split(CHUNK)):
        with torch.no_grad():
            z = model.latent(run.scaling.forward(x).to(run.device), of_mass.forward(m).to(run.device))
        out.append(z.float().cpu())
    return torch.cat(out)
