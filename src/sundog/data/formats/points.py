"""Runs that were read at points of their own: a row per point, which keeps no padding and needs no common grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sundog.data.formats.raw import Raw
from sundog.errors import ShapeError


def row_per_point(points: np.ndarray, values: np.ndarray, context: np.ndarray, context_names: Sequence[str] | None,
                  weights: np.ndarray | None) -> Raw:
    """Runs with points of their own, a row per point whose first context columns are the place.

    points (n, m) or (n, m, dims), values (n, m), NaN in either where a run has fewer than m points: left out, and
    noted; context (n, c), weights (n,) of the runs. ShapeError : arrays that do not fit each other.
    """
    points = points[..., None] if points.ndim == 2 else points
    context = context[:, None] if context.ndim == 1 else context
    if points.ndim != 3 or values.shape != points.shape[:2] or context.ndim != 2 or len(context) != len(values) \
            or (weights is not None and weights.shape != (len(values),)):
        shapes = {"points": points, "values": values, "context": context, "weights": weights}
        raise ShapeError("points, values and context of runs do not fit", expected="points (n, m) or (n, m, dims), "
                         "values (n, m), context (n, c), weights (n,)", do="pad short runs with NaN; where all runs "
                         "share their points, leave points out",
                         got=", ".join(f"{name} {part.shape}" for name, part in shapes.items() if part is not None))
    dims, width = points.shape[2], context.shape[1]
    there = ~(np.isnan(values) | np.isnan(points).any(2))
    run = np.nonzero(there)[0]
    names = tuple(context_names) if context_names is not None else \
        ("context",) if width == 1 else tuple(f"context{i}" for i in range(width))
    left, none = int((~there).sum()), np.nonzero(~there.any(1))[0]
    notes = (f"{len(values) - len(none)} runs read at points of their own: {len(run)} rows, one per point, place first",
             *([f"{left} of {there.size} points are NaN, and left out"] if left else []),
             *([f"runs {', '.join(map(str, none))} have no points"] if len(none) else []))
    return Raw(values[there][:, None], np.concatenate([points[there], context[run]], 1),
               None if weights is None else weights[run], notes=notes, facts={
                   "names": ("value",), "places": dims,
                   "context_names": (*(["point"] if dims == 1 else [f"point{i}" for i in range(dims)]), *names)})
