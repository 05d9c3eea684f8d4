"""What the axes of an array mean, how several files become one, and which pixels hold numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.formats.raw import Raw
from sundog.data.sky.healpix import observed
from sundog.errors import DataError, ShapeError

MOST_COLUMNS = 64  # a wider 2-D array is taken for a map: no event of this project has so many features


def shaped(raw: Raw, kind: str) -> Raw:
    """The array as (n, columns), (n, ny, nx) or (n, channels, ny, nx), by the rule that ``load`` states.

    Where another reading is as likely, a note says so.

    Parameters
    ----------
    kind : "auto", "events" or "images"

    Raises
    ------
    DataError : no numbers. ShapeError : a shape that is neither a table nor maps.
    """
    x, facts = raw.values, raw.facts
    if x.size == 0:
        raise DataError("there are no numbers", got=f"shape {x.shape}", expected="at least one row and one column",
                        do="check the selection that produced the file")
    if raw.ours:
        return raw
    names = facts.get("names")
    wide = x.ndim == 2 and x.shape[1] > MOST_COLUMNS and names is None
    as_map = kind == "images" or (kind == "auto" and (raw.image or wide or bool(facts.get("pixel_arcmin"))))
    if kind == "images" and x.ndim == 2 and names is not None and len(names) == x.shape[1] > 1:
        raise ShapeError("a table is no map", got=f"columns {', '.join(names)}", expected="numbers in rows and columns "
                         "of pixels", do="pass the file of a map")
    note = ""
    if x.ndim == 1 and not as_map:
        x = x[:, None]
    elif x.ndim == 1 and len(x) > MOST_COLUMNS:
        x = x[None, None]
    elif x.ndim == 2 and as_map:
        note = "" if raw.image or kind == "images" else \
            f"one map of {' x '.join(map(str, x.shape))} pixels; for a table of events pass kind='events'"
        x = x[None]
    elif x.ndim == 3 and names is not None and len(names) == len(x) > 1:
        x = x[None]
    elif x.ndim > 2 and kind != "events" and not raw.image:
        x, note = _oriented(x, names)
    expected = (3, 4) if as_map or (kind == "auto" and x.ndim > 2) else (2,)
    if x.ndim not in expected:
        raise ShapeError("the array has an unusable shape", got=raw.values.shape,
                         expected="(ny, nx), (n, ny, nx) or (n, channels, ny, nx)" if as_map or x.ndim > 4
                         else "(n, columns)", do="reshape it, or choose another kind")
    whole = x.dtype == np.uint8 and x.ndim > 2 and not any("0 to 255" in note for note in raw.notes)
    return replace(raw, values=x).noted(note, "numbers from 0 to 255, as stored" if whole else "")


def _oriented(x: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, str]:
    """A stack with its channels before the rows, and what was understood. No map is four pixels wide or less."""
    if x.ndim == 4 and x.shape[-1] <= 4 < min(x.shape[2], x.shape[1]):
        return np.moveaxis(x, -1, 1), f"the last axis holds the {x.shape[-1]} channels of {len(x)} maps"
    if x.ndim == 3 and x.shape[-1] in (3, 4) and x.dtype == np.uint8 and min(x.shape[:2]) > 4:
        return np.moveaxis(x, -1, 0)[None], f"one map with its {x.shape[-1]} channels in the last axis"
    if x.ndim == 3:
        note = f"{len(x)} maps of {x.shape[1]} x {x.shape[2]} pixels"
        if x.shape[-1] <= 8 or x.shape[1] <= 8:
            note += f"; particles with {x.shape[-1]} features are no maps: reduce them to one row per event first"
        elif 1 < len(x) <= 4 and names is None:
            note += f"; for one map of {len(x)} channels pass names= of the channels"
        return x, note
    return x, ""


def joined(parts: Sequence[Raw], files: Sequence[Path]) -> Raw:
    """The rows or maps of several files as one array, columns by name; weights and context stay with their rows.

    Raises
    ------
    DataError : maps of different sizes, or tables beside maps.
    ShapeError : other names, units or pixels, or weights and context in some files only.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    _of_one_size(parts)
    series = first.facts.get("time_step") is not None
    kind = "series" if series else "tables" if first.values.ndim == 2 else "maps"
    for fact in ("pixel_arcmin", "context_names", "context_units", "periodic", "time_step", "time_unit", "places"):
        _agree([part.facts.get(fact) for part in parts], fact, kind)
    for what in ("weights", "context"):
        _agree([getattr(part, what) is not None for part in parts], f"whether they hold {what}", kind)
    names = first.facts.get("names")
    _agree([tuple(sorted(part.facts.get("names") or ())) for part in parts], "names", kind)
    aligned = [_in_order(part, names) for part in parts]
    _agree([part.facts.get("units") for part in aligned], "units", kind)
    values, context, weights = (
        np.concatenate([getattr(part, what) for part in aligned]) if getattr(first, what) is not None else None
        for what in ("values", "context", "weights"))
    facts = {**first.facts, "provenance": {**(first.facts.get("provenance") or {}), "file": f"{len(files)} files"}}
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    assert values is not None
    return Raw(values, context, weights, facts, first.ours, first.image, tuple(notes)).noted(
        f"{len(files)} tables were joined, of {', '.join(str(len(part.values)) for part in parts[:12])} rows"
        + ("; for maps pass kind='images'" if names is None else "") if kind == "tables" else "")


def _of_one_size(parts: Sequence[Raw]) -> None:
    sizes = Counter(part.values.shape[1:] for part in parts)
    series = parts[0].facts.get("time_step") is not None
    if len({part.values.ndim for part in parts}) > 1 or (len(sizes) > 1 and (series or parts[0].values.ndim > 2)):
        listing = ", ".join(f"{' x '.join(map(str, size))} ({count} files)" for size, count in sizes.most_common(8))
        raise DataError(f"the {'series' if series else 'maps'} differ in size", got=listing, expected="one size",
                        do="crop or pad them, or load one size at a time")
    if len(sizes) > 1 and parts[0].facts.get("names") is None:
        raise ShapeError("the tables differ in width", got=", ".join(str(size[0]) for size in sizes),
                         expected="one number of columns", do="load them one by one")


def _agree(stated: Sequence[Any], what: str, kind: str) -> None:
    different = {str(value) for value in stated}
    if len(different) > 1:
        raise ShapeError(f"the {kind} differ in {what}", got=", ".join(sorted(different)), expected="one value",
                         do="load them separately, or convert them")


def _in_order(part: Raw, names: Sequence[str] | None) -> Raw:
    """The columns or channels in the order of ``names``."""
    held = part.facts.get("names")
    if names is None or held is None or tuple(held) == tuple(names):
        return part
    order = [list(held).index(name) for name in names]
    units = part.facts.get("units")
    facts = {**part.facts, "names": tuple(names)}
    if units is not None and not isinstance(units, str):
        facts["units"] = tuple(units[i] for i in order)
    axis = 2 if facts.get("time_step") is not None else 1
    return replace(part, values=np.take(part.values, order, axis), facts=facts)


def observed_only(raw: Raw, mask: Any) -> Raw:
    """The maps with 0 in pixels that hold no number and that the mask hides; how many is noted.

    Raises
    ------
    DataError : pixels without a number that no mask hides. ShapeError : a mask of another size.
    """
    x = raw.values
    if x.ndim == 2:
        raise ShapeError("a table has no mask", got="mask=", expected="maps",
                         do="leave mask out, or pass kind='images'")
    if x.dtype.kind != "f":
        return raw
    bad = np.logical_not(observed(x))
    if not isinstance(mask, str) and mask is not None:
        hidden = np.asarray(mask, np.float64).squeeze()
        if hidden.shape != x.shape[-hidden.ndim:] and hidden.shape != x.squeeze().shape:
            raise ShapeError("mask and map differ in size", got=hidden.shape, expected=x.shape[-2:],
                             do="cut the mask to the map")
        hidden = np.broadcast_to(hidden.reshape(x.shape[-hidden.ndim:] if hidden.shape == x.shape[-hidden.ndim:]
                                                else x.shape) == 0, x.shape)
    else:
        hidden = bad if mask == "missing" else np.zeros_like(bad)
    shown = bad & (hidden == 0)
    if shown.any():
        raise DataError("maps hold pixels without a number", expected="numbers",
                        got=f"{int(shown.sum())} of {x.size} NaN, infinite or UNSEEN",
                        do="pass mask= a map that is 0 there, or mask='missing' for all of them, and give the same "
                        "mask to what you do next")
    if not bad.any():
        return raw
    return replace(raw, values=np.where(bad, x.dtype.type(0), x)).noted(
        f"{int(bad.sum())} of {x.size} pixels hold no number: they are 0 here and belong under a mask")
