"""Transport detectors: sideband events carried to masses inside the window are the background template.

    x ~ p(x | m),   x' = T(x; m -> m') ~ p(x' | m')

A generator must learn the whole density of the features; a transport learns only how it changes with the mass.
The methods differ in T: an invertible flow (``Curtains``), optimal transport between the two sidebands (``RadOT``),
a residual network trained against a critic (``Transit``). What follows the template is the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling, Standard
from sundog.data.scaling.chain import named_scaling
from sundog.errors import OptionError
from sundog.models.base import Batch
from sundog.models.classifier import Classifier
from sundog.models.transport import Mover
from sundog.random import stream
from sundog.statistics.samples.distance import wasserstein_1
from sundog.tasks.anomaly.background.spectrum import MassLaw, mass_law
from sundog.tasks.anomaly.background.template import CHECK_ROWS, CHECKED, TemplateReport
from sundog.tasks.anomaly.detectors.base import TemplateSearch, classified
from sundog.tasks.anomaly.detectors.references import scored
from sundog.tasks.anomaly.regions import SignalRegion, gather, mass_column
from sundog.train.engine import train
from sundog.train.plan import Plan
from sundog.verdicts.twosample import classifier_two_sample

CHUNK = 16_384  # events carried at once: bounds memory

# Masses (n,) float64 and a seed -> background features at these masses, (n, d) in physical units.
Carry = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class TransportTemplate:
    """A fitted transport with the law of the masses that it is asked for.

    Attributes
    ----------
    carry : masses (n,) and a seed -> features (n, d) of background events at these masses
    beside : the sideband events that are carried
    masses : law of the mass inside the window
    report : its test on sideband events, None if not asked for
    unseen : the sideband events of that test, never carried nor trained on
    """

    carry: Carry
    beside: Dataset
    masses: MassLaw
    report: TemplateReport | None = None
    unseen: Dataset | None = None

    def sample(self, n: int, seed: int, m: Any = None) -> Dataset:
        """n background events inside the window, or at the masses m (n,) if these are given."""
        mass = self.masses.sample(n, seed) if m is None else mass_column(m)
        values = self.carry(mass, seed)
        return replace(self.beside, values=values, context=mass.float()[:, None],
                       provenance={"drawn_by": "transport of sideband events", "seed": seed})


class TransportDetector(TemplateSearch[TransportTemplate]):
    """Classifier between the data inside the window and sideband events carried there. Abstract.

    A method is a dataclass with the fields listed here, and says in ``learn`` how events are carried.
    """

    region: SignalRegion
    seed: int
    reach: float | None
    oversampling: float
    members: int
    masses: str
    with_mass: bool
    check: bool
    template_: TransportTemplate | None
    classifier_: Classifier | None

    @abstractmethod
    def learn(self, beside: Dataset) -> Carry:
        """The transport, learned from sideband events (n, d) with their mass as context."""

    def fit(self, x: Any, m: Any = None) -> Any:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        if self.oversampling <= 0:
            raise OptionError("oversampling is unusable", got=self.oversampling, expected="a number > 0", do="pass 3")
        events = gather(x, m, unit=self.region.unit)
        self.region.check(events)
        self.template_ = self._template(events)
        self.classifier_ = classified(self, self.template_, events)
        return self

    def _template(self, events: Dataset) -> TransportTemplate:
        beside = replace(events[self.region.sidebands(events, self.reach)],
                         held_out_fraction=CHECKED if self.check else 0.0)
        seen = beside.train if self.check else beside
        carry = self.learn(seen)
        law = mass_law(self.masses, events.context, self.region)
        if not self.check:
            return TransportTemplate(carry, seen, law)
        unseen = beside.held_out
        return TransportTemplate(carry, seen, law, tested(carry, unseen, self.seed), unseen)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(x) / p_B(x) inside the window, float64 (n,)."""
        return scored(self.classifier_, x, m, self.with_mass)


@dataclass(eq=False)
class TrainedTransport(TransportDetector):
    """A transport by a network. Abstract: a method names its network and how long it trains by default."""

    region: SignalRegion
    seed: int = 0
    reach: float | None = None
    plan: Plan | None = None
    scaling: Scaling | str = "standard"
    options: dict[str, Any] = field(default_factory=dict)
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    with_mass: bool = False
    check: bool = True
    template_: TransportTemplate | None = None
    classifier_: Classifier | None = None
    network: ClassVar[Callable[..., Mover]]
    default_plan: ClassVar[Plan]

    def learn(self, beside: Dataset) -> Carry:
        """The network, trained on the sideband events."""
        plan = (self.plan or self.default_plan).with_(seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = type(self).network(beside.values.shape[1:], 1, **self.options)
        return trained_carry(model, beside, self.scaling, plan)


def tested(carry: Carry, unseen: Dataset, seed: int) -> TemplateReport:
    """How far carried events can be told from unseen sideband events at the same masses."""
    unseen = unseen[:CHECK_ROWS]
    mass = mass_column(unseen)
    fake = carry(mass, seed + 1)
    beside = mass.float()[:, None]  # a wrong dependence on the mass must show
    found = classifier_two_sample(torch.cat([unseen.values, beside], 1), torch.cat([fake, beside], 1), seed, folds=2)
    spread = unseen.values.std(0)
    apart = wasserstein_1(unseen.values / spread, fake / spread)
    return TemplateReport(found.auc, found.null_error, dict(zip(unseen.names, apart.tolist())), len(unseen))


def trained_carry(model: Mover, beside: Dataset, scaling: Scaling | str, plan: Plan) -> Carry:
    """The transport by a network, trained on the sideband events."""
    scaling = (named_scaling(scaling) if isinstance(scaling, str) else scaling).fit(beside.values, names=beside.names)
    assert beside.context is not None  # gather gave every event its mass
    of_mass = Standard().fit(beside.context)
    rows = Batch(scaling.forward(beside.values), of_mass.forward(beside.context))
    order = torch.randperm(len(beside), generator=stream(plan.seed, "validation", 0))
    held = round(plan.validation_fraction * len(beside))
    parts = [Batch(rows.x[part], rows.context[part]) for part in (order[held:], order[:held])]  # type: ignore[index]
    model.prepare(parts[0].x, parts[0].context)
    train(model, parts[0], parts[1] if held else None, plan)
    model.eval()

    def carry(mass: Tensor, seed: int) -> Tensor:
        drawn = []
        for i, part in enumerate(mass.float().split(CHUNK)):
            with torch.no_grad():
                z = model.sample(len(part), of_mass.forward(part[:, None]), stream(seed, "carry", i))
            drawn.append(scaling.inverse(z))
        return torch.cat(drawn)

    return carry
