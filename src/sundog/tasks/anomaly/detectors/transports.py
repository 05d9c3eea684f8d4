"""Transport detectors: sideband events carried to masses inside the window are the background template.

    x ~ p(x | m),   x' = T(x; m -> m') ~ p(x' | m')

A generator must learn the whole density of the features; a transport learns only how it changes with the mass.
The methods differ in T (``sundog.models.transport``): an invertible flow (``Curtains``), optimal transport between the
two sidebands (``RadOT``), a residual network trained against a critic (``Transit``).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling, Standard
from sundog.errors import OptionError, SampleSizeError
from sundog.models.transport.movers import FlowForFlow, Mover, ResidualTransport
from sundog.models.transport.pairs import OptimalPairs
from sundog.tasks.anomaly.background.template import Template, fit_template
from sundog.tasks.anomaly.detectors.base import FeatureSearch
from sundog.tasks.anomaly.regions import FEWEST_BESIDE, mass_column
from sundog.train.plan import Plan


@dataclass(eq=False)
class TransportSearch(FeatureSearch):
    """A classifier against sideband events carried into the window. Abstract."""

    reach: float | None = None

    @abstractmethod
    def transport(self, beside: Dataset) -> dict[str, Any]:
        """Family, plan, scaling and options of the transport, for sideband events."""

    def make_template(self, events: Dataset) -> Template:
        beside = events[self.region.sidebands(events, self.reach)]
        return fit_template(events, self.region, seed=self.seed, law=self.masses, reach=self.reach, check=self.check,
                            **self.transport(beside))


@dataclass(eq=False)
class TrainedTransport(TransportSearch):
    """A transport by a network. Abstract: a method names its network and how long it trains by default."""

    plan: Plan | None = None
    scaling: Scaling | str = "standard"
    options: dict[str, Any] = field(default_factory=dict)
    network: ClassVar[type[Mover]]
    default_plan: ClassVar[Plan]

    def transport(self, beside: Dataset) -> dict[str, Any]:
        return {"family": self.network, "plan": self.plan or self.default_plan, "scaling": self.scaling,
                **self.options}


@dataclass(eq=False)
class Curtains(TrainedTransport):
    """Classifier between the data and sideband events carried into the window by an invertible flow.

    Parameters
    ----------
    region : the signal region
    seed : of training, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    plan, scaling : of the training of both flows
    options : ``base`` and ``top``, each with layers, hidden and bins of a flow, and ``learning_rate``
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Raine, Klein, Sengupta & Golling 2023 (CURTAINs); Sengupta, Klein, Raine & Golling 2024 (flows for
    flows: the likelihood above in place of an optimal-transport loss).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> small = {"base": {"layers": 1, "hidden": (16,)}, "top": {"layers": 1, "hidden": (16,)}}
    >>> search = Curtains(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1, options=small).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    network = FlowForFlow
    default_plan = Plan(steps=1500, batch=1024)


@dataclass(eq=False)
class Transit(TrainedTransport):
    """Classifier between the data and sideband events carried into the window by a residual network.

    Parameters
    ----------
    region : the signal region
    seed : of training, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    plan, scaling : of the training
    options : of ``ResidualTransport``: hidden, critic_steps, penalty_weight, inertia, learning_rate
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Oleksiyuk, Voloshynovskiy & Golling 2025 (TRANSIT), abstract and introduction; the factor (m' - m) and
    the Wasserstein critic are ours.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Transit(SignalRegion(3.3, 3.7), plan=Plan(steps=10), members=1, options={"hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    network = ResidualTransport
    default_plan = Plan(steps=1000, batch=1024)


@dataclass(eq=False)
class RadOT(TransportSearch):
    """Classifier between the data and events interpolated along optimal-transport paths through the window.

    Both sidebands are cut into ``slices`` of equally many events, ordered outwards from the window, and slice k
    below is paired with slice k above, batch by batch: events of one slice have nearly one mass, so the pairing
    cannot mistake the trend within a sideband for the change across the window. Assumes that p(x | m) changes
    linearly *along the paths*, as under a shift of the mean or a change of resolution.

    Parameters
    ----------
    region : the signal region
    seed : of batches, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    slices : of each sideband
    batch : events paired at once; pairs are closer in larger batches, time grows as its square and more
    neighbours : over which the way is averaged; 1 for the published straight path from each event to its partner
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events; beyond a pair's masses the paths are extended there

    Source: Leigh, Sengupta, Nachman & Golling 2024 (RAD-OT), abstract; slices and neighbours are ours.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = RadOT(SignalRegion(3.3, 3.7), members=1).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    slices: int = 8
    batch: int = 1000
    neighbours: int = 100

    def transport(self, beside: Dataset) -> dict[str, Any]:
        mass = mass_column(beside)
        below, above = int((mass <= self.region.lo).sum()), int((mass >= self.region.hi).sum())
        if min(below, above) < FEWEST_BESIDE // 2:
            raise SampleSizeError("too few events within reach of the window", expected=f"{FEWEST_BESIDE} on each side",
                                  got=f"{below} and {above}", do="pass a longer reach")
        # Where the window lies, in the units that the model will see the masses in.
        assert beside.context is not None  # gather gave every event its mass
        split = Standard().fit(beside.context).forward(torch.tensor([[self.region.centre]]))
        return {"family": OptimalPairs, "plan": Plan(validation_fraction=0.0), "scaling": "standard",
                "split": float(split), "slices": self.slices, "batch": self.batch, "neighbours": self.neighbours,
                "pairing": self.seed}

    def _check(self) -> None:
        super()._check()
        if self.slices < 1 or self.batch < 2 or self.neighbours < 1:
            raise OptionError("RAD-OT cannot pair events", expected="slices >= 1, batch >= 2, neighbours >= 1",
                              got=f"slices {self.slices}, batch {self.batch}, neighbours {self.neighbours}",
                              do="leave them at 8, 1000 and 100")
