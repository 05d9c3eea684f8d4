"""Run: a fitted generator with its scaling, units, plan, history and provenance; a folder on disk.

Folder: ``run.json`` (everything readable) and one ``weights-<hash>.safetensors`` that it names. The JSON is
replaced last and atomically, so a folder is either the old run or the new one. Never a pickle.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sundog.checks import enough_memory
from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.data.sample import tensor_of
from sundog.data.scaling import Reparametrised, Scaling, inputs_from_json, scaling_from_json
from sundog.data.series.layout import as_series, laid_out
from sundog.errors import DataError, OptionError, RunError, ShapeError
from sundog.models.base import Density, EstimatedDensity, Model, RowNoise, Translator, in_parts
from sundog.models.emulators.base import Emulator
from sundog.models.families import build
from sundog.random import key
from sundog.train.checkpoint import RUN, checksum, inside, nested, read_facts, read_tensors, write_tensors
from sundog.train.devices import choose_device
from sundog.train.history import History
from sundog.train.plan import Plan
from sundog.train.prediction import Prediction, physical_moments
from sundog.train.scaled import kinds_of, log_density

DAMAGES = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, RecursionError)
LABELS = ("names", "units", "context_names", "context_units", "pixel_arcmin", "periodic", "time_step", "time_unit")


@dataclass(frozen=True, eq=False)
class Run:
    """A fitted generator: draws fakes in the units of its training data.

    Attributes
    ----------
    model : on its device, in its best held-out state
    scaling, context_scaling : between physical and standardised units
    contexts : (n, c) training contexts in physical units, from which ``sample`` draws when it is given none
    labels : names, units, pixel size of the training data
    plan, history, provenance : how it was trained, what happened, on which data and versions
    identity : hash of model, data and plan
    precise : whether the training data needed float64; fakes then come in float64 too

    Example
    -------
    >>> import sundog
    >>> toy = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("flow-matching", toy, plan=sundog.Plan(steps=5))
    >>> len(run.sample(10, seed=1))
    10
    """

    model: Model
    scaling: Scaling
    context_scaling: Scaling | Reparametrised | None
    contexts: Tensor | None
    labels: Mapping[str, Any]
    plan: Plan
    history: History
    provenance: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""
    precise: bool = False

    @property
    def family(self) -> str:
        """The word that ``fit`` was given."""
        return self.model.family

    @property
    def kinds(self) -> dict[str, str]:
        """What each column is (``ByKind``): fakes are rounded and clipped accordingly; {} if all are continuous."""
        return kinds_of(self.scaling, self.labels["names"])

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next((t.device for t in (*self.model.parameters(), *self.model.buffers())), torch.device("cpu"))

    def sample(self, n: int, context: Any = None, seed: int = 0, **options: Any) -> Dataset:
        """n fakes in physical units, with the names and units of the training data.

        Parameters
        ----------
        n : how many
        context : (n, c), or one row for all, in physical units, or by name, as ``{"m_jj": 3.5}``; a
            conditional run given none draws training contexts
        seed : same seed, same fakes: row i is the same whatever n is, to the rounding of the processor's library
        **options : of the family's sampler, e.g. ``guidance=2.0`` and ``steps=50`` of diffusion

        Raises
        ------
        ShapeError : a context that the run was not trained with.
        OptionError : an option that the family does not take.
        """
        if not isinstance(n, Integral) or n < 1:
            raise OptionError("cannot sample", got=f"n = {n}", expected="a whole number above 0", do="pass n=1000")
        n = int(n)
        _check_options(self.model, options)
        enough_memory(3.0 * n * math.prod(self.model.shape) * (8 if self.precise else 4), f"{n:.3g} fakes",
                      "draw fewer at a time, with another seed each")
        given = self._contexts(n, context, seed)
        told = None if given is None else self._standard_context(given)
        with torch.no_grad():
            parts = in_parts(self.model, self.model.row_noise(n, key(seed, "sample")), told, **options)
            values = _joined(n, (self._physical(z) for z in parts))
        return Dataset(
            values=values, context=given, held_out_fraction=0.0,
            provenance={"drawn_by": self.family, "run": self.identity, "seed": seed,
                        **{k: v for k, v in self.provenance.items() if k == "privacy"}, **self.model.remarks(told)},
            **self.labels,
        )

    def _contexts(self, n: int, context: Any, seed: int, exact: bool = False) -> Tensor | None:
        """(n, c) contexts in physical units for n samples, or None for an unconditional run."""
        width = len(self.labels["context_names"])
        if width == 0:
            if context is not None:
                raise ShapeError("this run takes no context", got="a context", expected="none",
                                 do="leave it out, or fit with context=[...]")
            return None
        if context is None:
            assert self.contexts is not None  # stored by fit for every conditional run
            return self.contexts[RowNoise(key(seed, "context"), n).choice(len(self.contexts))]
        c = self._given(context, exact)
        bad = int((~c.isfinite()).sum())
        if c.shape[1] != width or len(c) not in (1, n) or bad:
            raise ShapeError(
                "context does not fit the run", got=f"shape {tuple(c.shape)}" + f", {bad} not finite" * bool(bad),
                expected=f"({n}, {width}) or (1, {width}) finite numbers: {', '.join(self.labels['context_names'])}",
                do=f"pass one row per sample with these {width} columns",
            )
        return c.expand(n, width).contiguous()

    def _given(self, context: Any, exact: bool = False) -> Tensor:
        """A context as rows (n, c): a number, or a row of several, is one row."""
        width = len(self.labels["context_names"])
        context = self._told_by_name(context) if isinstance(context, Mapping) else context
        c = self._named_context(context) if isinstance(context, Dataset) else _as_tensor(context, exact)
        c = c.reshape(1, 1) if c.ndim == 0 else c[:, None] if c.ndim == 1 and width == 1 else c
        return c[None] if c.ndim == 1 else c

    def _told_by_name(self, context: Mapping[str, Any]) -> Tensor:
        """(1, c) or (n, c) of numbers or arrays by the name of their column."""
        wanted = tuple(self.labels["context_names"])
        if set(context) != set(wanted):
            raise ShapeError("context does not fit the run", got=", ".join(map(str, context)),
                             expected=", ".join(wanted), do="give each of these columns, by name")
        return torch.stack(torch.broadcast_tensors(*(_as_tensor(context[name]).reshape(-1) for name in wanted)), 1)

    def _named_context(self, dataset: Dataset) -> Tensor:
        """The context of a Dataset, its columns found by name and checked for units."""
        wanted = tuple(self.labels["context_names"])
        if not set(wanted) <= {*(dataset.names if dataset.kind == "events" else ()), *dataset.context_names}:
            got = ", ".join((*dataset.names, *dataset.context_names))
            raise ShapeError("the dataset lacks context columns", got=got,
                             expected=", ".join(wanted), do="rename its columns as in training")
        held = list(zip(dataset.names, dataset.units, dataset.values.T)) if dataset.kind == "events" else []
        if dataset.context is not None:
            held += zip(dataset.context_names, dataset.context_units, dataset.context.T)
        found = {name: (unit, column) for name, unit, column in held}
        units = tuple(found[name][0] for name in wanted)
        if units != tuple(self.labels["context_units"]):
            raise ShapeError("units of the context do not fit the run", got=", ".join(units),
                             expected=", ".join(self.labels["context_units"]), do="convert to the units of training")
        return torch.stack([found[name][1] for name in wanted], 1)

    def _standard_context(self, context: Tensor) -> Tensor:
        assert self.context_scaling is not None
        return self.context_scaling.forward(context).to(self.device, self._dtype())

    def _physical(self, z: Tensor) -> Tensor:
        """Standardised rows in physical units, in the type of the training data."""
        x = self.scaling.inverse(z.detach().cpu().to(torch.float64 if self.precise else torch.float32))
        return x if self.labels.get("time_step") is None else as_series(x)

    def _dtype(self) -> torch.dtype:
        tensors = (*self.model.parameters(), *self.model.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)

    @staticmethod
    def load(folder: str | Path, device: str = "cpu") -> Run:
        """The run saved in a folder: `load_run`."""
        return load_run(folder, device)

    def to(self, device: str) -> Run:
        """The same run on another device, e.g. ``run.to("cpu")``."""
        self.model.to(choose_device(device))
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the run to a folder that ``load_run`` reads; returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = nested("model", self.model.state_dict())
        if self.contexts is not None:
            tensors["contexts"] = self.contexts
        weights = folder / f"weights-{_digest(tensors)}.safetensors"
        write_tensors(weights, tensors, {"family": self.family})
        facts = self._facts(weights.name)
        write_text(folder / RUN, json.dumps({**facts, "checksum": checksum(facts)}, indent=1))
        for old in folder.glob("weights-*.safetensors"):
            if old != weights:
                old.unlink(missing_ok=True)
        return folder

    def _facts(self, weights: str) -> dict[str, Any]:
        return {
            "sundog_run": 1, "family": self.family, "weights": weights, "identity": self.identity,
            "model": self.model.config(), "labels": dict(self.labels), "scaling": self.scaling.to_json(),
            "context_scaling": None if self.context_scaling is None else self.context_scaling.to_json(),
            "kinds": self.kinds, "precise": self.precise, "plan": self.plan.model_dump(),
            "history": _finite(asdict(self.history)), "provenance": dict(self.provenance),
        }

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        score = f", held-out score {self.history.best_score:.4g}" if math.isfinite(self.history.best_score) else ""
        if spent := self.provenance.get("privacy"):
            score = f", private: epsilon {spent['epsilon']:.3g}, delta {spent['delta']:.3g}"
        given = f" given {', '.join(self.labels['context_names'])}" if self.labels["context_names"] else ""
        return (f"{type(self).__name__}({self.family}: {', '.join(self.labels['names'])}{given}; "
                f"{count:,} parameters, {self.history.seconds:.0f} s{score})")


@dataclass(frozen=True, eq=False, repr=False)
class DensityRun(Run):
    """A run whose family has a density."""

    def log_prob(self, dataset: Dataset) -> Tensor:
        """Natural log of the density of each row in physical units, (n,), float64; see `log_prob_and_error`."""
        return self.log_prob_and_error(dataset)[0]

    def log_prob_and_error(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Natural log of the density of each row in physical units and its standard error, (n,) and (n,), float64.

        The error is that of a divergence estimated with random probes (diffusion and flow matching in many
        dimensions), 0 where the density is exact. It says nothing of how well the model was trained.

        log p(x | c) = log p_model(z | c) + log |det dz/dx|, z the standardised x. Per product of the units of x; in
        columns of whole, rounded or discrete numbers, and at values that many rows share (``run.kinds``), the
        probability of the value (times the density of the other columns): -inf for one that cannot be.

        Raises
        ------
        ShapeError : columns other than those of the training data.
        """
        if not isinstance(dataset, Dataset):
            raise ShapeError("log_prob needs a Dataset", got=type(dataset).__name__, expected="names and units",
                             do="wrap the array: Dataset.from_arrays(x, names=..., units=...)")
        rows = laid_out(self._aligned(dataset))
        out, errors = [], []
        for first in range(0, len(rows), size := self.model.at_once()):
            part = rows[slice(first, first + size)]
            c = None if part.context is None else self._standard_context(part.context)
            log_p, error = log_density(self.scaling, part.values, partial(self._model_log_prob, c))
            out.append(log_p)
            errors.append(error)
        return torch.cat(out), torch.cat(errors)

    def _model_log_prob(self, context: Tensor | None, z: Tensor, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Log-density of the model at z and its standard error, under the contexts of these rows."""
        z, c = z.to(self.device, self._dtype()), None if context is None else context[rows]
        with torch.no_grad():
            if isinstance(self.model, EstimatedDensity):
                log_p, error = self.model.log_prob_and_error(z, c)
            else:
                log_p = self.model.log_prob(z, c)  # type: ignore[operator]
                error = torch.zeros_like(log_p)
        return log_p.double().cpu(), error.double().cpu()

    def _aligned(self, dataset: Dataset) -> Dataset:
        """The dataset with the run's context columns out of the values, its columns checked."""
        wanted = tuple(self.labels["context_names"])
        if dataset.context is None and wanted and set(wanted) <= set(dataset.names):
            dataset = dataset.with_context(wanted)
        got = (*dataset.names, *dataset.context_names)
        if (dataset.names, dataset.context_names) != (tuple(self.labels["names"]), wanted):
            raise ShapeError("columns do not fit the run", got=", ".join(got),
                             expected=", ".join((*self.labels["names"], *wanted)),
                             do="select and order the columns as in training")
        if (*dataset.units, *dataset.context_units) != (*self.labels["units"], *self.labels["context_units"]):
            raise ShapeError("units do not fit the run", got=", ".join((*dataset.units, *dataset.context_units)),
                             expected=", ".join((*self.labels["units"], *self.labels["context_units"])),
                             do="convert the columns to the units of the training data")
        return dataset


@dataclass(frozen=True, eq=False, repr=False)
class TranslatorRun(Run):
    """A run whose family draws the last channels of maps given the first."""

    def translate(self, known: Dataset | Any, seed: int = 0) -> Dataset:
        """The known maps with a draw of the others beside them, in physical units: all channels of training.

        Parameters
        ----------
        known : Dataset, or array (n, known, ny, nx), or (n, ny, nx) of one known channel; units of training
        seed : same seed, same maps, on the same device

        Raises
        ------
        ShapeError : channels, units or sizes other than in training.
        """
        k, provenance = self._known(known)
        channels = len(self.labels["names"])
        whole = torch.cat([k, k.new_zeros(len(k), channels - k.shape[1], *k.shape[2:])], 1)
        noise, size, done = self.model.row_noise(len(k), key(seed, "translate")), self.model.at_once(), 0
        drawn = []
        for part in whole.split(size):
            z = self.scaling.forward(part)[:, : k.shape[1]].to(self.device, self._dtype())
            with torch.no_grad():
                y = self.model.translate(z, noise.part(done, len(z)))  # type: ignore[operator]
            done += len(z)
            drawn.append(self._physical(torch.cat([z, y], 1))[:, k.shape[1] :])
        return Dataset(
            values=torch.cat([k, torch.cat(drawn)], 1), held_out_fraction=0.0, **self.labels,
            provenance={"drawn_by": self.family, "run": self.identity, "seed": seed, "known": provenance},
        )

    def _known(self, known: Dataset | Any) -> tuple[Tensor, Mapping[str, Any]]:
        """The known channels (n, known, ny, nx) and where they come from."""
        count = int(self.model.known)  # type: ignore[arg-type]
        wanted = tuple(zip(self.labels["names"], self.labels["units"]))[:count]
        values, provenance = _as_tensor(known) if not isinstance(known, Dataset) else known.values, {}
        if isinstance(known, Dataset):
            provenance = dict(known.provenance)
            got = tuple(zip(known.names, known.units))
            if got != wanted:
                raise ShapeError("the maps are not those known in training", got=", ".join(map(" in ".join, got)),
                                 expected=", ".join(map(" in ".join, wanted)), do="select, name and convert them")
        values = values[:, None] if values.ndim == 3 else values
        if values.ndim != 4 or values.shape[1] != count:
            raise ShapeError("the known maps have another shape", got=tuple(values.shape),
                             expected=f"(n, {count}, ny, nx)", do="pass one row per map")
        return values, provenance


@dataclass(frozen=True, eq=False, repr=False)
class EmulatorRun(Run):
    """A run whose family emulates a simulator; ``sample`` draws from the law that ``predict`` describes."""

    def predict(self, context: Dataset | Any) -> Prediction:
        """Mean and standard deviation of the output at each input, in physical units; ``mean, std = ...`` works.

        The standard deviation is that of one output: what the emulator does not know, and the noise of the simulator.
        Inputs outside the box of the runs are answered, and marked in ``outside``.

        Parameters
        ----------
        context : inputs (n, c), a row of one, or a Dataset with these columns

        Raises
        ------
        ShapeError : columns other than those of the training inputs.

        Example
        -------
        >>> import sundog
        >>> c = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
        >>> runs = Dataset.from_arrays(torch.cat([c.sum(1, True), c.prod(1, True)], 1), c)
        >>> mean, std = sundog.fit("pod", runs).predict([[0.5, 0.5]])
        >>> [round(float(number), 3) for number in mean[0]]
        [1.0, 0.25]
        """
        model = self.model
        assert isinstance(model, Emulator)
        rows = self._given(context, exact=True)
        given = self._contexts(len(rows), rows, 0, exact=True)
        assert given is not None
        told = self._standard_context(given)
        with torch.no_grad():
            parts = []
            for c in told.split(model.at_once()):
                mean, std = model.predict(c)
                parts.append(physical_moments(mean, std, self._physical))
            outside = model.outside(told).cpu()
        return Prediction(torch.cat([mean for mean, _ in parts]), torch.cat([std for _, std in parts]), outside)


def make_run(**parts: Any) -> Run:
    """A DensityRun when the family has a density, a TranslatorRun or EmulatorRun when it is one, else a Run."""
    kinds = {Density: DensityRun, Translator: TranslatorRun, Emulator: EmulatorRun}
    return next((run for kind, run in kinds.items() if isinstance(parts["model"], kind)), Run)(**parts)


def _check_options(model: Model, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(model.draw).parameters)[2:]
    if not set(options) <= set(known):
        raise OptionError(f"family '{model.family}' does not take these options when it draws",
                          got=", ".join(sorted(set(options) - set(known))), expected=", ".join(known) or "none",
                          do="leave them out")


def load_run(folder: str | Path, device: str = "cpu") -> Run:
    """The run saved in a folder by ``Run.save`` or ``fit(..., out=folder)``.

    Raises
    ------
    RunError : no run there, an unfinished one, or weights that do not belong to it.

    Example
    -------
    >>> try:
    ...     load_run("nowhere")
    ... except RunError as error:
    ...     print(str(error)[:19])
    there is no run in
    """
    folder = Path(folder)
    facts = read_facts(folder)
    try:
        return _rebuilt(folder, facts, device)
    except DAMAGES as error:
        raise RunError(f"{folder / RUN} is damaged", got=f"{type(error).__name__}: {error}",
                       expected="JSON written by sundog", do="restore it from a copy, or fit again") from error


def _rebuilt(folder: Path, facts: dict[str, Any], device: str) -> Run:
    """The run that the facts and the weights beside them describe."""
    tensors, _ = read_tensors(folder / facts["weights"])
    if _digest(tensors) not in facts["weights"]:
        raise RunError(f"the weights in {folder} are damaged", got=_digest(tensors), expected=facts["weights"],
                       do="restore the folder from a copy, or fit again")
    options = dict(facts["model"])
    try:
        model = build(facts["family"], tuple(options.pop("shape")), options.pop("context_dim"), options)
    except OptionError as error:
        raise RunError(f"{folder / RUN} is of a sundog with other options: {error.what}", got=error.got,
                       expected=error.expected, do="fit again; or, if the meaning is clear, rename them there and "
                       "take its line 'checksum' out") from error
    model = model.double() if facts["plan"]["precision"] == "float64" else model
    try:
        model.load_state_dict(inside("model", tensors))
    except RuntimeError as error:
        raise RunError(f"weights in {folder} do not fit their run.json", got=str(error).splitlines()[-1].strip(),
                       expected="the tensors of this model", do="restore both files from one copy") from error
    given = facts["context_scaling"]
    past = facts["history"]
    best, *scores = (math.nan if score is None else score for score in (past["best_score"], *past["scores"]))
    history = {**past, "best_score": best, "scores": scores}
    return make_run(
        model=model.to(choose_device(device)).eval(), scaling=scaling_from_json(facts["scaling"]),
        context_scaling=None if given is None else inputs_from_json(given), contexts=tensors.get("contexts"),
        labels={k: tuple(v) if isinstance(v, list) else v for k, v in facts["labels"].items()},
        plan=Plan(**facts["plan"]), history=History(**history), provenance=facts["provenance"],
        identity=facts["identity"], precise=facts.get("precise", False),
    )


def _joined(n: int, parts: Iterator[Tensor]) -> Tensor:
    """n rows in one tensor that is filled as they come: a list of parts would hold them twice."""
    first = next(parts)
    whole = first.new_empty(n, *first.shape[1:])
    whole[: len(first)] = first
    done = len(first)
    for part in parts:
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _as_tensor(context: Any, exact: bool = False) -> Tensor:
    """A context given as number, list, array or frame."""
    try:
        return tensor_of(context, "context", exact)
    except DataError as error:
        raise ShapeError("the context is not an array of numbers", got=type(context).__name__,
                         expected="a number, an array (n, c) or a Dataset", do="use numpy.asarray") from error


def _finite(facts: Any) -> Any:
    """The same structure with NaN and Inf as None, which JSON can hold."""
    if isinstance(facts, dict):
        return {key: _finite(value) for key, value in facts.items()}
    if isinstance(facts, list):
        return [_finite(value) for value in facts]
    return None if isinstance(facts, float) and not -1e308 < facts < 1e308 else facts
