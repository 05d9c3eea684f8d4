"""One generator of all events, and the background templates that interpolate it across a window.

    v_B(x, t, m) for lo < m < hi, made of what the generator knows at m_1 = lo - gap and m_2 = hi + gap alone

so that a signal inside the window, which the generator has learned with everything else, does not enter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.data.scaling.chain import named_scaling
from sundog.errors import OptionError
from sundog.models.matching import FlowMatching
from sundog.tasks.anomaly.background.flatten import FlatRun, Flattening
from sundog.tasks.anomaly.background.spectrum import mass_law
from sundog.tasks.anomaly.background.template import (
    PASSES,
    Template,
    TemplateReport,
    bounds,
    compared,
    fit_generator,
    fit_template,
    shortened,
)
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.train.plan import Plan
from sundog.train.run import Run

INTERPOLATIONS = ("context", "linear", "sidebands", "none")
GAP = 0.25  # of the window's width, between its edge and the mass that is interpolated from: 0.1 TeV as published
FEWEST_BESIDE = 200  # unseen events of a neighbouring window, below which its test says nothing
UNSEEN = 0.1  # share of the events kept away from the generator, to test templates on
PLAN = Plan(steps=2000, batch=4096, precision="bf16")
# A third of the published width: in reach of a CPU. Octaves 0..4 of the standardised mass: a period of an eighth
# of a standard deviation, finer than a resonance, at the last.
OPTIONS: dict[str, Any] = {"network": "residual", "hidden": (128, 128, 128), "context_frequencies": 5,
                           "sampling_steps": 6, "sampling": "bf16"}
CONTROL: dict[str, Any] = {"context_frequencies": 0}  # nothing was learned inside: no fine structure to put there


def fit_everything(events: Dataset, *, seed: int = 0, plan: Plan | None = None, scaling: Scaling | str | None = None,
                   check: bool = True, out: Any = None, **options: Any) -> Run:
    """The generator p(x | m) of all events, signal included, as a run of conditional flow matching.

    Parameters
    ----------
    events : from ``gather``
    plan, options : of ``sundog.fit``; those of this module where silent
    scaling : ``flat`` (None), see ``Flattening``, or one of ``sundog.fit``
    check : whether to keep a tenth of the events away, to test templates on
    """
    plan = (plan or _plan(events)).with_(seed=seed)
    data = replace(events, held_out_fraction=UNSEEN if check else 0.0)
    given = {"plan": plan, "out": out, **OPTIONS, **options}
    if scaling not in (None, "flat"):
        return fit_generator(data, seed=seed, scaling=_scaling(scaling), **given)
    flat = _flattening(data.train)
    return FlatRun.of(fit_generator(flat.applied(data), seed=seed, scaling="standard", **given), flat)


def _plan(events: Dataset) -> Plan:
    return shortened(PLAN, PASSES["flow-matching"], len(events))


def _scaling(given: Scaling | str | None) -> Scaling | None:
    return named_scaling(given) if isinstance(given, str) else given


def _flattening(events: Dataset) -> Flattening:
    return Flattening.fit(events.values, _context(events)[:, 0])


def ends(region: SignalRegion, m: Any, gap: float | None = None) -> tuple[float, float]:
    """The two masses that a template interpolates between: ``gap`` beyond the window, inside the spectrum m (n,).

    Where a sideband is thinner than twice the gap, half of that sideband is used instead.

    Example
    -------
    >>> ends(SignalRegion(3.3, 3.7), torch.tensor([3.0, 9.0]))
    (3.2, 3.8)
    """
    mass = mass_column(m)
    gap = GAP * region.width if gap is None else gap
    if gap < 0:
        raise OptionError("gap is negative", got=gap, expected="a distance >= 0", do=f"pass {GAP * region.width:g}")
    below, above = region.lo - float(mass.min()), float(mass.max()) - region.hi
    return round(region.lo - min(gap, below / 2), 9), round(region.hi + min(gap, above / 2), 9)


def interpolated(run: Run, between: tuple[float, float], how: str) -> Run:
    """The same run with its velocity field interpolated between two masses; itself for ``none``.

    Costs nothing: the two runs share their weights. It samples, and knows its density, like any other.
    """
    if how == "none":
        return run
    model = run.model
    if not isinstance(model, FlowMatching) or run.context_scaling is None:
        raise OptionError("nothing to interpolate", got=repr(run), expected="conditional flow matching",
                          do="fit with family 'flow-matching' and the mass as context")
    first, second = run.context_scaling.forward(torch.tensor(between)[:, None]).flatten().tolist()
    return replace(run, model=model.between(first, second, how))


def window_template(run: Run, events: Dataset, region: SignalRegion, *, how: str = "context",
                    gap: float | None = None, law: str = "smooth", unseen: Dataset | None = None,
                    seed: int = 0) -> Template:
    """The background template of a window from the generator of everything, without training.

    Parameters
    ----------
    run : from ``fit_everything``
    events : all events, for the law of the mass
    how : ``context``, ``linear`` or ``none``
    gap : see ``ends``
    law : of the mass: ``smooth``, or the published ``histogram`` and ``kde``
    unseen : events that the generator never saw; with them the template is tested (``interpolation_report``)
    """
    region.check(events)
    between = ends(region, events, gap)
    report, strips = None, None
    if unseen is not None:
        report = interpolation_report(run, events, region, unseen, how=how, gap=gap, seed=seed)
        mass = mass_column(unseen)
        strips = unseen[(mass > between[0]) & (mass < between[1]) & ~region.contains(mass)]
    template = interpolated(run, between, how)
    return Template(template, mass_law(law, events.context, region), region, report,
                    strips if strips is not None and len(strips) >= FEWEST_BESIDE else None, bounds=bounds(events))


def neighbours(region: SignalRegion, m: Any, gap: float | None = None) -> list[SignalRegion]:
    """Windows beside the window, as wide as it where the spectrum m (n,) allows, whose interpolation avoids it.

    Example
    -------
    >>> [(w.lo, w.hi) for w in neighbours(SignalRegion(3.3, 3.7), torch.tensor([3.0, 9.0]))]
    [(3.1, 3.2), (3.8, 4.2)]
    """
    mass = mass_column(m)
    gap = GAP * region.width if gap is None else gap
    lowest, highest = float(mass.min()) + gap, float(mass.quantile(0.99) if len(mass) < 10**7 else mass.max()) - gap
    below = (max(lowest, region.lo - gap - region.width), region.lo - gap)
    above = (region.hi + gap, min(highest, region.hi + gap + region.width))
    return [SignalRegion(round(lo, 9), round(hi, 9), region.unit) for lo, hi in (below, above)
            if hi - lo > 0.2 * region.width]


def interpolation_report(run: Run, events: Dataset, region: SignalRegion, unseen: Dataset, *, how: str,
                         gap: float | None = None, seed: int = 0) -> TemplateReport | None:
    """Test of the same interpolation in the windows beside the window, where the answer is known.

    Unseen events of the neighbouring windows against events drawn there at the same masses, each from the
    interpolation across its own window. None where the spectrum leaves no room for one.
    """
    gap = GAP * region.width if gap is None else gap
    real, fake = [], []
    for window in neighbours(region, events, gap):
        inside = unseen[window.contains(unseen)]
        if len(inside) >= FEWEST_BESIDE:
            real.append(inside)
            between = (window.lo - gap, window.hi + gap)
            fake.append(interpolated(run, between, how).sample(len(inside), context=inside.context, seed=seed + 1))
    return compared(_joined(real), _joined(fake), seed) if real else None


def control_template(events: Dataset, region: SignalRegion, *, seed: int = 0, plan: Plan | None = None,
                     scaling: Scaling | str | None = None, law: str = "smooth", check: bool = True, out: Any = None,
                     **options: Any) -> Template:
    """The control: the same network trained on the sidebands alone, for this window alone."""
    settings = {"family": "flow-matching", "seed": seed, "plan": plan or _plan(events), "law": law, "check": check,
                "out": out, **OPTIONS, **CONTROL, **options}
    if scaling not in (None, "flat"):
        return fit_template(events, region, scaling=_scaling(scaling), **settings)
    flat = _flattening(events[region.sidebands(events)])
    template = fit_template(flat.applied(events), region, scaling="standard", **settings)
    unseen = None if template.unseen is None else flat.restored(template.unseen)
    return replace(template, run=FlatRun.of(template.run, flat), unseen=unseen,
                   bounds=bounds(events[region.sidebands(events)]))


def _joined(parts: list[Dataset]) -> Dataset:
    values, context = torch.cat([p.values for p in parts]), torch.cat([_context(p) for p in parts])
    first = parts[0]
    return Dataset.from_arrays(values, context, first.names, first.units, context_names=first.context_names,
                               context_units=first.context_units, held_out_fraction=0.0)


def _context(part: Dataset) -> Tensor:
    assert part.context is not None  # every dataset of a search carries its mass
    return part.context
