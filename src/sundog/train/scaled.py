"""How fit chooses the scaling of the values, how rows reach the model through it, and how densities come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from sundog.checks import near
from sundog.data.dataset import Dataset
from sundog.data.scaling import ByKind, Chain, Reparametrised, Scaling, default_scaling, named_scaling
from sundog.data.scaling.chain import AT_ONCE
from sundog.errors import OptionError
from sundog.models.base import RowNoise

Kinds = Mapping[str, str] | str | None
PLACES = 17  # in the cell of a value, at which its density is averaged


def fitted_scaling(data: Dataset, chosen: Scaling | str | None, kinds: Kinds = None) -> Scaling:
    """The scaling of the values, fitted: column kinds first (events alone), then the one chosen.

    Columns that are continuous all of them need no ``ByKind``, and get none; nor do those of ``identity``.

    Raises
    ------
    OptionError : a kind for no such column, an unknown kind; a scaling that forgets the extremes of each image.
    """
    as_it_is = chosen == "identity" and kinds is None  # the numbers are the family's own business, one sky too
    if not isinstance(chosen, Scaling):
        chosen = default_scaling(data.kind) if chosen is None else named_scaling(chosen)
    if data.kind == "events" and not as_it_is:
        by_kind = _fitted(ByKind(_words(kinds, data.names)), data)
        if set(by_kind.kinds) != {"continuous"}:
            chosen = Chain([by_kind, *(chosen.parts if isinstance(chosen, Chain) else [chosen])])
    elif data.kind != "events" and kinds is not None:
        raise OptionError("images have no column kinds", got=kinds, expected="events", do="leave kinds out")
    scaling = _fitted(chosen, data)
    if scaling.memory(data.values[:1]) is not None:
        raise OptionError("this scaling forgets the flux", got=type(scaling).__name__,
                          expected="one scaling for the whole set", do="use 'asinh' or 'standard', or put each image's "
                          "extremes into the context and scale before fitting")
    return scaling


def _fitted(scaling: Scaling, data: Dataset) -> Scaling:
    """The scaling, fitted; of events one column after the other, for a fit holds several copies in float64."""
    if data.kind != "events" or not _lengths(scaling) <= {0, len(data.names)}:  # the latter is an error
        return scaling.fit(data.values, data.weights, data.names)
    alone = [_of_column(scaling, j).fit(data.values[:, j : j + 1].contiguous(), data.weights, (name,))
             for j, name in enumerate(data.names)]
    return _side_by_side(alone)


def _lengths(scaling: Scaling) -> set[int]:
    """For how many columns its tuples say something."""
    if isinstance(scaling, Chain):
        return set().union(*map(_lengths, scaling.parts))
    values = (getattr(scaling, f.name) for f in fields(scaling))  # type: ignore[arg-type]
    return {len(v) for v in values if isinstance(v, tuple)}


def _of_column(scaling: Scaling, j: int) -> Scaling:
    """What the scaling says about one column: where it has a tuple, that is its entry for the column."""
    if isinstance(scaling, Chain):
        return Chain([_of_column(part, j) for part in scaling.parts])
    several = {f.name: getattr(scaling, f.name) for f in fields(scaling)}  # type: ignore[arg-type]
    return replace(scaling, **{name: v[j : j + 1] for name, v in several.items() if isinstance(v, tuple)})  # type: ignore[type-var]


def _side_by_side(alone: Sequence[Scaling]) -> Scaling:
    """One scaling of several columns out of one for each."""
    first = alone[0]
    if isinstance(first, Chain):
        return Chain([_side_by_side(parts) for parts in zip(*(chain.parts for chain in alone))])  # type: ignore[attr-defined]
    joined = {f.name: tuple(v for one in alone for v in getattr(one, f.name)) for f in fields(first)  # type: ignore[arg-type]
              if isinstance(getattr(first, f.name), tuple)}
    return replace(first, **joined)  # type: ignore[type-var]


def _words(kinds: Kinds, names: tuple[str, ...]) -> tuple[str, ...]:
    if kinds is None or isinstance(kinds, str):
        return (kinds or "",) * len(names)
    for name in kinds:
        if name not in names:
            raise OptionError(f"a kind for no column of the values: {name!r}", got=name, expected=", ".join(names),
                              do=near(name, names) or "check dataset.names")
    return tuple(kinds.get(name, "") for name in names)


def placed(scaling: Scaling | Reparametrised, x: Tensor, rows: Tensor, cells: RowNoise, dtype: torch.dtype) -> Tensor:
    """Rows of x in standardised units, values that many rows share at random places of their cells.

    A few at a time: a scaling holds several copies in float64.
    """
    shape = (len(scaling.told),) if isinstance(scaling, Reparametrised) else x.shape[1:]
    z = torch.empty(len(rows), *shape, dtype=dtype)
    size, done = max(1, AT_ONCE // x[0].numel()), 0
    for part, some in zip(z.split(size), rows.split(size)):
        at = cells.part(done, len(some)).uniform(x.shape[1]) if scaling.kinds else None
        part.copy_(scaling.forward(x[some], at))
        done += len(some)
    return z


def log_density(scaling: Scaling, x: Tensor, model: Callable[[Tensor, Tensor | slice], tuple[Tensor, Tensor]]
                ) -> tuple[Tensor, Tensor]:
    """log p of each row and its standard error, (n,) and (n,), float64; in a cell, of the model's mean over it.

    log p(x) = log p_model(z) + log |det dz/dx|. With a value that many rows share (``ByKind``) the density is one with
    respect to counting in that column: the probability of the value, times the density of the others. The mean over
    the cells of a row is that of 17 points of a lattice whose projections on each column are evenly spaced (a midpoint
    rule), good to a hundredth or so; their errors are taken to be the same one.

    Parameters
    ----------
    model : (z, rows) -> log-density of the model at z, which stand for these rows of x, and its standard error
    """
    whole, error = model(scaling.forward(x), slice(None))
    whole = whole + scaling.log_abs_det(x)
    rows = scaling.celled(x).nonzero().flatten()
    if len(rows) == 0:
        return whole, error
    columns = torch.tensor([5**j % PLACES for j in range(x.shape[1])])
    parts, errors = [], []
    for k in range(PLACES):
        at = ((k * columns + 0.5) / PLACES % 1)[None].double()
        log_p, its_error = model(scaling.forward(x[rows], at), rows)
        parts.append(log_p + scaling.log_abs_det(x[rows], at))
        errors.append(its_error)
    log_p = torch.stack(parts)
    whole[rows] = log_p.logsumexp(0) - math.log(PLACES)
    error[rows] = (log_p.softmax(0).nan_to_num() * torch.stack(errors)).sum(0)
    return whole, error


def kinds_of(scaling: Scaling, names: tuple[str, ...]) -> dict[str, str]:
    """Column -> kind, where kinds were looked for; a run in which all columns are continuous has none to tell."""
    return dict(zip(names, scaling.kinds))
