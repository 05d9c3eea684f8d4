"""fit: from a Dataset to a Run. The only place where data, scaling, model, plan and engine meet."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.data.atomic import alone_in
from sundog.data.dataset import Dataset
from sundog.data.files import as_dataset
from sundog.data.scaling import Formula, Reparametrised, Scaling, Standard
from sundog.data.series.layout import laid_out, whole_series, whole_sets
from sundog.errors import DataError, OptionError, RunError, SampleSizeError, ShapeError
from sundog.models.base import Batch, Model, RowNoise, as_often_as_weighed
from sundog.models.emulators.base import Emulator
from sundog.models.families import FAMILIES, build
from sundog.random import key, short, stream
from sundog.train.checkpoint import CHECKPOINT, RUN, read_facts
from sundog.train.devices import choose_device, to, train_shared
from sundog.train.engine import train
from sundog.train.history import History
from sundog.train.plan import Plan
from sundog.train.privacy.budget import Mechanism, private_scaling
from sundog.train.run import LABELS, Run, load_run, make_run
from sundog.train.scaled import Kinds, fitted_scaling, placed
from sundog.version import __version__

FEWEST_ROWS = 20  # below this neither a scaling nor a held-out score means anything for a trained family


def fit(
    family: str | type[Model],
    dataset: Any,
    *,
    context: Sequence[str] | str | None = None,
    plan: Plan | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    scaling: Scaling | str | None = None,
    kinds: Kinds = None,
    init_from: Run | str | Path | None = None,
    low_fidelity: Any = None,
    reparametrise: Mapping[str, Formula] | None = None,
    progress: bool = False,
    **options: Any,
) -> Run:
    """A fitted generator of the training part of the data (``dataset.train``; ``dataset.held_out`` is not touched).

    Parameters
    ----------
    family : ``flow``, ``flow-matching``, ... (``sundog.models.families``), or a class of models
    dataset : what to learn, a Dataset or whatever `load` takes; its own context conditions the generator, and
        ``periodic`` maps wrap around in its networks
    context : names of value columns to condition on as well
    plan : budget and settings; the family's defaults where it is silent
    steps : of training, where the plan has no budget (``steps`` or ``seconds``) of its own
    seed : of weights, batches and noise; the plan's (0) when not given
    device : ``auto``, ``cpu``, ``cuda``, ``mps``; other than auto it overrides the plan
    out : folder for checkpoints and the finished run. Called again with the same arguments, an interrupted fit
        goes on where it was and ends with the same numbers; a finished one is loaded.
    scaling : of the values: a word (``auto``, ``standard``, ``logit``, ``asinh``, ``log-modulus``, ``normal-scores``,
        ``identity``) or an unfitted ``Scaling``; when None ``auto`` for events and ``standard`` for images, or
        ``identity`` for families that know units of their own
    kinds : of columns of events, {name: kind} where the kind found is not the right one (``describe`` names it;
        ``sundog.data.scaling.ByKind`` lists the kinds), or one word for all: ``continuous`` takes every number as it is
    init_from : a run of the same family and networks, or its folder: training starts from its weights instead of
        random ones (transfer learning). The scaling is fitted to the new data all the same.
    low_fidelity : of emulators in closed form: runs of a cheaper simulator with the same inputs and outputs, elsewhere
        and many more, which the emulator of ``dataset`` then corrects
    reparametrise : what the model is told of the context, {name: formula of the columns}: the name of a column replaces
        it, None leaves it out, another name adds one; ``{"tau": "log(tau)", "bend": "(tau - 0.05)^2"}``. Formulas know
        + - * / ^ ( ) exp log sqrt abs sin cos; or a function of {column: tensor}, in runs that are not kept. What is
        asked and drawn keeps the columns; extrapolated is what lies outside the box of the formulas
    progress : show a progress bar
    **options : of the family, e.g. ``hidden=(64, 64)``

    Returns
    -------
    DensityRun for families with a density, EmulatorRun for emulators, else Run.

    Raises
    ------
    OptionError, DataError, SampleSizeError, RunError : before any training; the message says what to do.
    TrainingError : a loss that is not finite.

    Example
    -------
    >>> toy = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = fit("flow", toy, plan=Plan(steps=5), layers=2, hidden=(16,))
    >>> run.log_prob(toy[:3]).shape
    torch.Size([3])
    """
    dataset = as_dataset(dataset)
    _check(plan, steps, out)
    plan = _complete(plan or Plan(), steps, seed, device)
    where = choose_device(plan.device)
    dataset = dataset.with_context(context) if context else dataset
    if "places" in options:
        dataset = replace(dataset, places=options["places"])
    given = dataset.train
    _check_series(given, family)
    data = laid_out(given)
    options = _with_places(data, family, options)
    shape, width = tuple(data.values.shape[1:]), _width(data, reparametrise, out)
    cheap = None if low_fidelity is None else _cheap_runs(low_fidelity, context, data)
    options = options if cheap is None else {**options, "low_fidelity": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(short(plan.seed, 64, "weights"))
        model = build(family, shape, width, options, periodic=data.periodic) if isinstance(family, str) else \
            family(shape=shape, context_dim=width, **options)  # type: ignore[call-arg]
    start = load_run(init_from) if isinstance(init_from, str | Path) else init_from
    if start is not None:
        _take_weights(model, start)
    plan = _with_defaults(plan, model)
    data = _that_weigh(data, model)
    count = len(data.runs.unique()) if data.places else len(data)
    if model.objectives() and count < FEWEST_ROWS:
        raise SampleSizeError(f"too few {'runs' if data.places else 'rows'} to train on", got=count,
                              expected=f"at least {FEWEST_ROWS}",
                              do="add data, or lower held_out_fraction")
    cheap = None if cheap is None else _that_weigh(cheap, model)
    private = _mechanism(plan, model, data, scaling, kinds)
    fitted = _scaling(data, model, private, scaling, kinds)
    context_scaling = _context_scaling(data if cheap is None else cheap, reparametrise)
    identity = _identity(model.family, model, plan, data, fitted, start, cheap, reparametrise)
    folder = None if out is None else Path(out)
    if folder is not None and (folder / RUN).exists():
        return _finished(folder, identity, plan)
    if folder is not None:
        _make(folder)
    with alone_in(folder):
        batches = _standardised(data, fitted, context_scaling, plan)
        if cheap is not None:
            model.double().cheap.look(_standardised(cheap, fitted, context_scaling, plan)[0])  # type: ignore[operator, union-attr]
        facts = {
            "scaling": fitted, "context_scaling": context_scaling, "contexts": _contexts(data), "plan": plan,
            "labels": {label: getattr(given, label) for label in LABELS}, "identity": identity,
            "provenance": _provenance(data, where, private) | ({} if start is None else {"init_from": start.identity}),
            "precise": data.values.dtype == torch.float64,
        }
        del dataset, given, data  # the training has its own copy
        kept: dict[str, Any] = {"folder": folder} if private is None else {"private": private}  # no checkpoints of it
        model, history = _trained(model, batches, plan, where, identity=identity, progress=progress, **kept)
        run = make_run(model=model.eval(), history=history, **facts)
        if folder is not None:
            run.save(folder)
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return run


def _trained(model: Model, batches: tuple[Batch, Batch | None], plan: Plan, where: torch.device, **settings: Any
             ) -> tuple[Model, History]:
    """The model in its best state, on its device, and what happened."""
    whole, held_out = batches
    model = model.double() if plan.precision == "float64" else model
    if plan.privacy is None:
        model.look(whole)
    if plan.devices > 1:
        history = train_shared(model, whole, held_out, plan, **settings)
    held_out = None if held_out is None else to(held_out, where)
    model = model.to(where)
    if plan.devices == 1:
        history = train(model, to(whole, where), held_out, plan, **settings)
    if held_out is not None:
        seen = held_out.of_equal_weight()
        model.calibrate(seen.x, seen.context)
    return model, history


def _check_series(data: Dataset, family: str | type[Model]) -> None:
    if data.kind != "series":
        return
    model = FAMILIES[one_of(family, FAMILIES, "family")] if isinstance(family, str) else family
    if "series" not in model.draws:
        takers = ", ".join(word for word, cls in FAMILIES.items() if "series" in cls.draws)
        raise OptionError(f"family '{model.family}' draws no series", got=f"series of {data.values.shape[1]} points",
                          expected=f"one of {takers}", do="choose one of these; for columns without an order in time "
                          "pass sundog.Dataset.from_arrays(data.values)")
    (whole_sets if model.family == "sets" else whole_series)(data, f"family '{model.family}'")


def _with_places(data: Dataset, family: str | type[Model], options: dict[str, Any]) -> dict[str, Any]:
    """Options of a family that reads runs at points of their own; OptionError for emulators that leave out rows."""
    model = FAMILIES[one_of(family, FAMILIES, "family")] if isinstance(family, str) else family
    if not data.places or not issubclass(model, Emulator):
        return options
    if not hasattr(model.takes, "places"):
        raise OptionError(f"'{model.family}' needs runs that share their points", got="runs with points of their own",
                          expected="family deeponet, which reads them as they are", do="fit deeponet; or interpolate "
                          "every run onto one grid, and see how far that is off")
    return {**options, "places": data.places}


def _check(plan: Plan | None, steps: int | None, out: str | Path | None) -> None:
    if not isinstance(plan, Plan | None):
        raise OptionError("the plan is not a Plan", got=type(plan).__name__, expected="sundog.Plan",
                          do="pass Plan(steps=...), Plan.from_json(text) or Plan.load(file)")
    if steps is not None and plan is not None and (plan.steps, plan.seconds) != (None, None):
        raise OptionError("two budgets of training", got=f"steps={steps} beside a plan with "
                          + (f"steps={plan.steps}" if plan.seconds is None else f"seconds={plan.seconds:g}"),
                          expected="one", do="leave one out; the steps of a sampler are sampling_steps")
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise RunError(f"{out} is a file", got="a file", expected="a folder for the run", do="choose another name")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}", got=error.strerror, expected="a place to write to",
                       do="choose another folder") from error


def _that_weigh(data: Dataset, model: Model) -> Dataset:
    """The rows of weight above zero: the others say nothing, and must not count as rows."""
    if data.weights is None:
        return data
    if isinstance(model, Emulator) and bool((data.weights == data.weights[0]).all()):
        return replace(data, weights=None)
    if bool((data.weights > 0).all()):
        return data
    if not bool((data.weights > 0).any()):
        raise DataError("weights are all zero", got="sum 0", expected="some weight above 0", do="check the weights")
    return data[data.weights > 0]


def _contexts(data: Dataset) -> Tensor | None:
    """The contexts that samples are drawn at: those of training, as often as their weights say."""
    if data.context is None or data.weights is None:
        return data.context
    return data.context[as_often_as_weighed(data.weights, len(data))]


def _width(data: Dataset, formulas: Mapping[str, Formula] | None, out: str | Path | None) -> int:
    """How many numbers the model is told of a context."""
    if formulas is None:
        return 0 if data.context is None else data.context.shape[1]
    if data.context is None:
        raise OptionError("reparametrise without a context", got="no context", expected="columns to write formulas of",
                          do="name them with context=[...], or leave reparametrise out")
    seen = Reparametrised(data.context_names, formulas)
    if out is not None:
        seen.to_json()  # functions cannot be kept: said before the work
    return seen.columns(data.context).shape[1]


def _context_scaling(data: Dataset, formulas: Mapping[str, Formula] | None) -> Scaling | Reparametrised | None:
    if data.context is None:
        return None
    try:
        if formulas is not None:
            return Reparametrised.fitted(data.context, data.weights, data.context_names, formulas)
        return Standard().fit(data.context, data.weights, data.context_names)
    except DataError as error:
        raise DataError(f"the context {error.what}", got=error.got, expected="at least two values to condition on",
                        do="leave it out of the context: a single value conditions nothing") from error


def _complete(plan: Plan, steps: int | None, seed: int | None, device: str) -> Plan:
    changes = {"steps": steps, "seed": seed, "device": None if device == "auto" else device}
    return plan.with_(**{name: value for name, value in changes.items() if value is not None})


def _with_defaults(plan: Plan, model: Model) -> Plan:
    steps = model.default_steps if plan.steps is None and plan.seconds is None else plan.steps
    if plan.privacy is not None:
        plan = plan.with_(validation_fraction=0.0)  # a state chosen by rows would tell of them
    return plan.with_(**{"steps": steps, "batch": plan.batch or model.default_batch, **model.fixes})


def _standardised(data: Dataset, scaling: Scaling, context_scaling: Scaling | Reparametrised | None, plan: Plan
                  ) -> tuple[Batch, Batch | None]:
    """Training and validation rows in standardised units; weights scaled to mean one."""
    dtype = torch.float64 if plan.precision == "float64" else torch.float32
    runs = data.runs if data.places else None
    n = len(data) if runs is None else int(runs.max()) + 1
    count = round(plan.validation_fraction * n)
    weights = None if data.weights is None else (data.weights / data.weights.mean()).to(dtype)

    def batch(rows: Tensor, first: int) -> Batch:
        cells, context = RowNoise(key(plan.seed, "cells"), len(rows), first, dtype=torch.float64), data.context
        return Batch(
            placed(scaling, data.values, rows, cells, dtype),
            None if context_scaling is None or context is None else
            placed(context_scaling, context, rows, cells, dtype),
            None if weights is None else weights[rows],
        )

    if count == 0 or n - count < 1:
        return batch(torch.arange(len(data)), 0), None
    if runs is None:
        rows, held = _parted(n, count, data.weights, plan.seed)
    else:
        sums = None if data.weights is None else torch.zeros(n).index_add_(0, runs, data.weights)
        rows, held = (torch.isin(runs, part).nonzero().flatten() for part in _parted(n, count, sums, plan.seed))
    return batch(rows, 0), batch(held, len(rows))


def _parted(n: int, count: int, weights: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on and ``count`` rows to validate on, both in random order."""
    order = torch.randperm(n, generator=stream(seed, "validation", 0))
    if weights is None:
        return order[count:], order[:count]
    # Of rows alike in weight every n / count-th: by chance alone the validation could miss all that weighs.
    ranked = order[weights[order].argsort(descending=True, stable=True)]
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[ranked[((torch.arange(count) + 0.5) * (n / count)).long()]] = True
    return order[~chosen[order]], order[chosen[order]]


def _finished(folder: Path, identity: str, plan: Plan) -> Run:
    found = read_facts(folder)["identity"]
    if found != identity:
        raise RunError(f"{folder} holds a run of another model, data or plan", got=found, expected=identity,
                       do="choose another folder, or delete this one")
    return load_run(folder, plan.device)


def _take_weights(model: Model, start: Run) -> None:
    """Give the model the weights of a fitted one with the same networks."""
    try:
        if type(model) is not type(start.model):
            raise RuntimeError(f"a run of family '{start.family}'")
        model.load_state_dict(start.model.state_dict())
    except RuntimeError as error:
        raise OptionError("cannot start from this run", got=str(error).splitlines()[-1].strip(),
                          expected=f"family '{model.family}' with the networks of {model.config()}",
                          do="fit with the options of that run, or leave init_from out") from error


def _mechanism(plan: Plan, model: Model, data: Dataset, scaling: object, kinds: Kinds) -> Mechanism | None:
    """The noise of a private plan; OptionError for whatever would tell of rows beside the gradients."""
    if plan.privacy is None:
        return None
    wrong = [what for what, found in (
        ("a context, whose training values a run keeps", data.context is not None),
        ("weights", data.weights is not None),
        (f"family '{model.family}', which looks at all rows beside its training", not model.unseen()),
        (f"family '{model.family}', which has {len(model.objectives())} losses, where one is a sum over rows",
         len(model.objectives()) != 1),
        ("kinds of columns", kinds is not None),
        ("a scaling that is fitted to rows", scaling not in (None, "standard", "identity")),
        ("a budget in seconds", plan.seconds is not None), ("several devices", plan.devices > 1),
    ) if found]
    if wrong:
        raise OptionError("cannot be trained privately", got=", ".join(wrong), do="leave it out, or leave privacy out",
                          expected="flow, flow-matching, diffusion with skip 'edm' or vae on plain rows, scaling "
                          "'standard' or 'identity', steps")
    assert plan.steps is not None and plan.batch is not None  # by _with_defaults
    return Mechanism.affordable(plan.privacy, min(1.0, plan.batch / len(data)), plan.steps, scaling != "identity")


def _scaling(data: Dataset, model: Model, private: Mechanism | None, chosen: Scaling | str | None, kinds: Kinds
             ) -> Scaling:
    if private is not None and private.histograms:
        return private_scaling(data.values, private.histograms)
    return fitted_scaling(data, model.default_scaling if chosen is None else chosen, kinds)


def _cheap_runs(given: Any, context: Sequence[str] | str | None, data: Dataset) -> Dataset:
    """Runs of the cheaper simulator, of the same inputs and outputs as the dear ones."""
    cheap = as_dataset(given)
    cheap = (cheap.with_context(context) if context else cheap).train
    if (cheap.context_names, cheap.values.shape[1:]) != (data.context_names, data.values.shape[1:]):
        raise ShapeError("runs of low fidelity differ in kind", expected=f"{', '.join(data.context_names)} to "
                         f"{tuple(data.values.shape[1:])} numbers", got=f"{', '.join(cheap.context_names)} to "
                         f"{tuple(cheap.values.shape[1:])} numbers", do="give the same inputs and outputs, in order")
    return cheap


def _identity(family: str, model: Model, plan: Plan, data: Dataset, scaling: Scaling, start: Run | None,
              cheap: Dataset | None, formulas: Mapping[str, Formula] | None) -> str:
    """Hash of everything that decides the result; two fits with the same one may continue each other."""
    settings = plan.model_dump(exclude={"checkpoint_seconds", "device", "devices"})
    facts: list[Any] = [family, model.config(), settings]
    facts += [data.fingerprint(), scaling.to_json()] if plan.privacy is None else [len(data)]  # a hash tells of rows
    facts += [] if cheap is None else [cheap.fingerprint()]
    facts += [] if formulas is None else [{name: str(formula) for name, formula in formulas.items()}]
    text = json.dumps(facts if start is None else [*facts, start.identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _provenance(data: Dataset, device: torch.device, private: Mechanism | None) -> dict[str, Any]:
    told = {**data.provenance, "fingerprint": data.fingerprint()} if private is None else {}
    return {
        "data": {**told, "rows": len(data)}, **({} if private is None else {"privacy": private.facts()}),
        "versions": {"sundog": __version__, "torch": torch.__version__, "numpy": numpy.__version__,
                     "python": platform.python_version()},
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
