"""A generator made elsewhere, with the words of a Run: ``sample``, and ``log_prob`` where it has a density.

A function, a torch network, an estimator of scikit-learn, a density of zuko, sbi or torch.distributions is known by
what it can do, not by its class; none of these libraries is imported.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.data.dataset import Dataset
from sundog.data.sample import tensor_of
from sundog.errors import OptionError, ShapeError
from sundog.random import key, stream
from sundog.train.run import Run

Draw = Callable[[int, Tensor | None, int], Any]
Density = Callable[[Tensor, Tensor | None], Any]


@dataclass(frozen=True, eq=False)
class OwnGenerator:
    """A generator made elsewhere, as `as_generator` returns it.

    Attributes
    ----------
    draw : (n, context (n, c) or None, seed) -> n rows
    like : data whose names, units and contexts the fakes have
    """

    draw: Draw
    like: Dataset

    def sample(self, n: int, context: Any = None, seed: int = 0) -> Dataset:
        """n fakes with the names and units of ``like``.

        Parameters
        ----------
        context : (n, c), or one row for all; where ``like`` has a context and none is given, rows of it are drawn

        Raises
        ------
        ShapeError : a context that does not fit, or rows of another shape than those of ``like``.
        """
        n = at_least(n, 1, "n")
        given = self._contexts(n, context, seed)
        rows = tensor_of(self.draw(n, given, seed), "what the generator drew")
        wanted = (n, *self.like.values.shape[1:])
        if len(rows) == n and [k for k in rows.shape if k > 1] == [k for k in wanted if k > 1]:
            rows = rows.reshape(wanted)  # an axis of one more or less says nothing
        if tuple(rows.shape) != wanted:
            raise ShapeError("the generator returns another shape", got=tuple(rows.shape), expected=wanted,
                             do="return one row per fake, with the columns of like")
        return replace(self.like, values=rows, context=given, weights=None, held_out_fraction=0.0,
                       provenance={"drawn_by": "a generator of the user", "seed": seed})

    def _contexts(self, n: int, context: Any, seed: int) -> Tensor | None:
        names = self.like.context_names
        if self.like.context is None:
            if context is not None:
                raise ShapeError("this generator takes no context", got="a context", expected="none",
                                 do="leave it out, or call as_generator with data that have a context")
            return None
        if context is None:
            rows = torch.randint(len(self.like), (n,), generator=stream(seed, "own context"))
            return self.like.context[rows]
        c = tensor_of(context.values if isinstance(context, Dataset) else context, "context")
        c = c.reshape(1, 1) if c.ndim == 0 else c[:, None] if c.ndim == 1 and len(names) == 1 else c
        c = c[None] if c.ndim == 1 else c
        if c.shape[1] != len(names) or len(c) not in (1, n):
            raise ShapeError("context does not fit the generator", got=f"shape {tuple(c.shape)}",
                             expected=f"({n}, {len(names)}) or (1, {len(names)}): {', '.join(names)}",
                             do="pass one row per sample with these columns")
        return c.expand(n, len(names)).to(self.like.context.dtype)


@dataclass(frozen=True, eq=False)
class OwnDensity(OwnGenerator):
    """An `OwnGenerator` that knows its density; as a function of (x, m) it is a background of R-ANODE.

    Attributes
    ----------
    density : (values, context or None) -> natural log of the density (n,)
    """

    density: Density

    def log_prob(self, dataset: Dataset) -> Tensor:
        """Natural log of the density of each row, (n,) float64, per product of the units of ``like``.

        Raises
        ------
        ShapeError : columns other than those of ``like``, or a density that is not one number per row.
        """
        wanted = (*self.like.names, *self.like.context_names)
        if dataset.context is None and self.like.context is not None and set(wanted) <= set(dataset.names):
            dataset = dataset.with_context(self.like.context_names)
        if (*dataset.names, *dataset.context_names) != wanted:
            raise ShapeError("columns do not fit the density", got=", ".join((*dataset.names, *dataset.context_names)),
                             expected=", ".join(wanted), do="select and order the columns as in like")
        return self(dataset.values, dataset.context)

    def __call__(self, x: Any, m: Any = None) -> Tensor:
        """log p(x | m), (n,) float64, of arrays."""
        x = tensor_of(x, "x").to(self.like.values.dtype)
        c = None
        if self.like.context is not None and m is not None:
            c = tensor_of(m, "context").to(self.like.context.dtype)
            c = c[:, None] if c.ndim == 1 else c
        with torch.no_grad():
            found = torch.as_tensor(self.density(x, c)).detach().double().cpu()
        if found.shape != (len(x),):
            raise ShapeError("the density returns another shape", got=tuple(found.shape), expected=f"({len(x)},)",
                             do="return the log of the density of each row")
        return found


def as_generator(source: Any, like: Dataset, *, log_prob: Density | None = None,
                 latent: int | Sequence[int] | None = None) -> OwnGenerator | Run:
    """A generator made elsewhere as what `judge`, R-ANODE and the other tasks take in place of a Run.

    Parameters
    ----------
    source : one of

        * a function ``sample(n, context, seed)``: rows of shape (n, ...), context (n, c) or None
        * a torch module that maps noise ``z``, or ``(z, context)``, to rows: say ``latent``
        * a fitted estimator of scikit-learn with ``sample``: its ``score_samples`` is its density
        * a density with ``sample`` and ``log_prob``: of torch.distributions, sbi (``x=``) or nflows (``context=``), or
          a module that gives one when it is called with the context, as those of zuko
        * a Run, which is returned as it is
    like : what the generator was trained on: fakes take its names, units and, when none is asked for, its contexts
    log_prob : density ``(x, context) -> (n,)`` of a function or module, where there is one
    latent : numbers of noise per row, or its shape, for a module; noise is normal

    Returns
    -------
    OwnDensity where there is a density, else OwnGenerator. Whatever draws from torch's global generator is seeded.

    Raises
    ------
    OptionError : nothing of the kinds above.

    Example
    -------
    >>> from sundog.simulate.densities import TwoMoons
    >>> own = as_generator(lambda n, context, seed: TwoMoons().sample(n, seed=seed).values, TwoMoons().sample(50, 0))
    >>> own.sample(3, seed=1).names == TwoMoons().sample(50, 0).names
    True
    """
    if isinstance(source, Run | OwnGenerator):
        return source
    draw, density = _understood(source, like, latent)
    found = log_prob or density
    return OwnGenerator(draw, like) if found is None else OwnDensity(draw, like, found)


def _understood(source: Any, like: Dataset, latent: Any) -> tuple[Draw, Density | None]:
    """How to draw from the source, and its density if it has one."""
    if isinstance(source, torch.nn.Module):
        source.eval()
    if hasattr(source, "sample") and hasattr(source, "get_params"):
        if like.context is not None:
            raise OptionError("an estimator takes no context", got=", ".join(like.context_names),
                              expected="data without a context", do="leave the context columns among the values")
        return _estimator(source)
    if callable(getattr(source, "sample", None)) and callable(getattr(source, "log_prob", None)):
        return _density(source)
    if isinstance(source, torch.nn.Module):
        return (_lazy(source) if latent is None else (_network(source, latent), None))
    if callable(source):
        return _function(source), None
    raise OptionError("this is no generator", got=type(source).__name__,
                      expected="a function, a torch module, an estimator or a density with sample",
                      do="write a function sample(n, context, seed) around it")


def _function(source: Any) -> Draw:
    names = set(inspect.signature(source).parameters)
    if {"n", "context", "seed"} <= names:
        return lambda n, context, seed: source(n=n, context=context, seed=seed)
    return lambda n, context, seed: source(n, context, seed)


def _network(source: Any, latent: int | Sequence[int]) -> Draw:
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    home = next(iter(source.parameters()), torch.empty(0))

    def draw(n: int, context: Tensor | None, seed: int) -> Tensor:
        z = torch.randn(n, *shape, generator=stream(seed, "own noise")).to(home)
        with _seeded(seed):
            rows: Tensor = source(z) if context is None else source(z, context.to(home))
        return rows.cpu()

    return draw


def _estimator(source: Any) -> tuple[Draw, Density | None]:
    takes_state = "random_state" in inspect.signature(source.sample).parameters

    def draw(n: int, context: Tensor | None, seed: int) -> Any:
        state = key(seed, "own estimator") >> 225  # 31 bits are what numpy's old generators take
        if takes_state:
            found = source.sample(n, random_state=state)
        else:
            one = copy.copy(source)  # the user's own keeps its state
            one.random_state = state
            found = one.sample(n)
        if not isinstance(found, tuple):
            return found
        rows = torch.as_tensor(found[0])  # of a mixture: with the component of each row, ordered by it
        return rows[torch.randperm(n, generator=stream(seed, "own order"))]

    score = getattr(source, "score_samples", None)
    return draw, None if score is None else lambda x, context: score(x.numpy())


def _density(source: Any) -> tuple[Draw, Density]:
    """Of torch.distributions (a shape), sbi (one observation ``x`` at a time) and nflows (``context``)."""
    takes = set(inspect.signature(source.sample).parameters)
    word = next((word for word in ("x", "context") if word in takes), None)

    def draw(n: int, context: Tensor | None, seed: int) -> Tensor:
        with _seeded(seed):
            if context is None or word is None:
                return _plain(source.sample(n if word == "context" else (n,)))
            if word == "context":
                return _plain(source.sample(1, context=context))
            return _by_context(context, lambda c, rows: _plain(source.sample((len(rows),), x=c)))

    def density(x: Tensor, context: Tensor | None) -> Tensor:
        if context is None or word is None:
            return _per_row(source.log_prob(x))
        if word == "context":
            return _per_row(source.log_prob(x, context=context))
        return _by_context(context, lambda c, rows: _per_row(source.log_prob(x[rows], x=c)))

    return draw, density


def _lazy(source: Any) -> tuple[Draw, Density]:
    """Of a module that gives a distribution when called: with the context (n, c), or with nothing."""
    def law(context: Tensor | None) -> Any:
        try:
            found = source() if context is None else source(context)
        except TypeError:
            found = None
        if not hasattr(found, "sample"):
            raise OptionError("a network needs its noise", got=f"{type(source).__name__}, which gave no distribution",
                              expected="the size of its noise", do="pass latent=8")
        return found

    def draw(n: int, context: Tensor | None, seed: int) -> Tensor:
        with _seeded(seed):
            return _plain(law(None).sample((n,)) if context is None else law(context).sample())

    return draw, lambda x, context: _per_row(law(context).log_prob(x))


def _by_context(context: Tensor, part: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Rows made for one context after the other, in the order of the contexts."""
    different, member = context.unique(dim=0, return_inverse=True)
    made: list[Tensor] = []
    order: list[Tensor] = []
    for i, one in enumerate(different):
        order.append((member == i).nonzero()[:, 0])
        made.append(part(one, order[-1]))
    return torch.cat(made)[torch.cat(order).argsort()]


def _plain(drawn: Any) -> Tensor:
    return torch.as_tensor(drawn).detach().cpu()


def _per_row(log_p: Any) -> Tensor:
    """(n,) of log-densities; independent columns are summed."""
    found = _plain(log_p)
    return found if found.ndim == 1 else found.reshape(len(found), math.prod(found.shape[1:])).sum(1)


class _seeded:
    """Inside, torch's global generator is one of this seed, and no gradients are kept; outside nothing has changed."""

    def __init__(self, seed: int) -> None:
        self.state = torch.random.fork_rng(devices=[])
        self.quiet = torch.no_grad()
        self.seed = seed

    def __enter__(self) -> None:
        self.state.__enter__()
        self.quiet.__enter__()
        torch.manual_seed(key(self.seed, "own generator") >> 193)

    def __exit__(self, *error: Any) -> None:
        self.quiet.__exit__(*error)
        self.state.__exit__(*error)
