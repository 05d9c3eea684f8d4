"""Options of a family, stated once: a frozen dataclass gives the constructor, the JSON of a run, help and errors.

    @dataclass(frozen=True)
    class ToyOptions(Options):
        layers: int = option(4, "number of transforms", least=1)

The type of a field says how a value is read (a whole number stands for a sequence of one), `option` says what it means,
in which range it lies, and beside which other option it has an effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from sundog.checks import flag, near, number, one_of, several, whole
from sundog.errors import OptionError


def option(default: Any, help: str, *, least: float | None = None, above: float | None = None,
           below: float | None = None, words: Iterable[str] | None = None, only: tuple[str, ...] = ()) -> Any:
    """A field of `Options`.

    Parameters
    ----------
    default, help : its value when not given; what it means, in a phrase
    least, above, below : bounds of a number, or of every number of a sequence
    words : the texts that it may be
    only : (what, value, ...): it has an effect where the option ``what``, or ``data`` (``vectors`` or ``images``), has
        one of these values; given elsewhere it is refused
    """
    limits = {name: bound for name, bound in (("least", least), ("above", above), ("below", below))
              if bound is not None}
    facts = {"help": help, "limits": limits, "words": None if words is None else tuple(words), "only": only}
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class Options:
    """Base of the options of a family; itself it has none.

    Example
    -------
    >>> @dataclass(frozen=True)
    ... class Toy(Options):
    ...     hidden: tuple[int, ...] = option((64, 64), "widths of the layers", least=1)
    >>> Toy.read({"hidden": 32}, "toy", (2,), 0)
    Toy(hidden=(32,))
    >>> try:
    ...     Toy.read({"hiden": 32}, "toy", (2,), 0)
    ... except OptionError as error:
    ...     print(error)
    family 'toy' does not take these options: got hiden, expected hidden; did you mean hidden?
    """

    @classmethod
    def read(cls, given: Mapping[str, Any], family: str, shape: tuple[int, ...], context_dim: int) -> Self:
        """The options of a family as given by the user or by a run's JSON, checked, for data of this shape.

        Raises
        ------
        OptionError : unknown names, values of another type or out of range, options without effect.
        """
        known = [f.name for f in fields(cls)]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise OptionError(f"family '{family}' does not take these options", got=", ".join(unknown),
                              expected=", ".join(known) or "none", do=near(unknown[0], known) or "leave them out")
        kinds = _kinds(cls)
        options = cls(**{f.name: _read(given[f.name], kinds[f.name], f) for f in fields(cls) if f.name in given})
        options = options.for_data(shape, context_dim)
        options._check_effect(given, "vectors" if len(shape) == 1 else "images")
        return options

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> Self:
        """The same options, with what None stands for on data of this shape; OptionError where they do not fit it."""
        return self

    def json(self) -> dict[str, Any]:
        """Name -> value, sequences as lists: what a run keeps."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def _check_effect(self, given: Mapping[str, Any], data: str) -> None:
        """Refuse options that would be ignored; at their default they disturb nobody."""
        for f in fields(self):
            what, *values = f.metadata["only"] or ("data", data)
            found = data if what == "data" else getattr(self, what, values[0])
            if f.name in given and found not in values and getattr(self, f.name) != f.default:
                raise OptionError(f"{f.name} has no effect here", got=f"{f.name}={given[f.name]!r} with {what} {found}",
                                  expected=f"{what} {' or '.join(map(str, values))}", do=f"leave {f.name} out")


def signature(options: type[Options]) -> inspect.Signature:
    """Signature of the constructor of a family: shape, context_dim, and the options by keyword."""
    kinds, plain = _kinds(options), inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=kinds[f.name])
           for f in fields(options)]
    first = [inspect.Parameter("shape", plain), inspect.Parameter("context_dim", plain, default=0)]
    return inspect.Signature([*first, *own])


def described(options: type[Options]) -> list[str]:
    """One line per option: name, meaning, type, default and range.

    Example
    -------
    >>> from sundog.models.flow import FlowOptions
    >>> described(FlowOptions)[3]
    'bins : knots of each spline; int, default 8; >= 2; with transform mixed or spline only'
    """
    signs = {"least": ">=", "above": ">", "below": "<"}
    lines = []
    for f in fields(options):
        parts = [f.metadata["help"], f"{f.type}, default {f.default!r}", " | ".join(f.metadata["words"] or ())]
        parts += [f"{signs[name]} {bound:g}" for name, bound in f.metadata["limits"].items()]
        if f.metadata["only"]:
            what, *values = f.metadata["only"]
            parts.append(f"{'for' if what == 'data' else 'with ' + what} {' or '.join(values)} only")
        lines.append(f"{f.name} : {'; '.join(filter(None, parts))}")
    return lines


def _kinds(options: type[Options]) -> dict[str, Any]:
    return get_type_hints(options)


def _read(value: Any, kind: Any, f: Field[Any]) -> Any:
    """``value`` as the type that the field states; None is one where it is the default, and `for_data` settles it."""
    if value is None and f.default is None:
        return None
    limits, words = f.metadata["limits"], f.metadata["words"]
    if get_origin(kind) in (Union, UnionType):
        return _first(value, get_args(kind), f)
    if get_origin(kind) is tuple:
        members = get_args(kind)
        count = None if members[-1] is Ellipsis else len(members)
        return tuple(_read(part, members[0], f) for part in several(value, f.name, count))
    if kind is bool:
        return flag(value, f.name)
    if kind is int:
        return whole(value, f.name, **limits)
    if kind is float:
        return number(value, f.name, **limits)
    if kind is str and words:
        return one_of(value, words, f.name)
    if kind is type(None):
        raise OptionError(f"unknown {f.name}", got=repr(value), expected="None", do="leave it out")
    return value


def _first(value: Any, kinds: tuple[Any, ...], f: Field[Any]) -> Any:
    """``value`` as the first of these types that it can be."""
    wrong = []
    for kind in kinds:
        try:
            return _read(value, kind, f)
        except OptionError as error:
            wrong.append(error)
    raise OptionError(wrong[0].what, got=repr(value), expected=" or ".join(str(error.expected) for error in wrong),
                      do=wrong[0].do)
