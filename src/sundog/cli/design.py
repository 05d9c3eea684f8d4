"""``sundog design``: which runs of a simulator to buy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.checks import one_of
from sundog.cli.options import AsJson, Columns, Key, Quiet, Seed, Unit, before_work, load
from sundog.errors import OptionError, SampleSizeError, ShapeError

if TYPE_CHECKING:
    import numpy as np

    from sundog.data.dataset import Dataset

METHODS = ("projection-dpp", "volume-rescaled", "christoffel", "d-optimal", "latin-hypercube", "sobol")
SATURATED = 1.5  # runs per feature: below, polynomials hang on every single run


def design(
    file: Annotated[Path, typer.Argument(help="Candidates: a table, one column per parameter.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Runs to make.")],
    degree: Annotated[int, typer.Option(min=0, help="Total degree of the polynomials that shall be learned.")] = 2,
    method: Annotated[str, typer.Option(help=" | ".join(METHODS))] = METHODS[0],
    after: Annotated[Path | None, typer.Option(
        help="Runs already made (context, or values, hold the parameters); greedy, D-optimal.")] = None,
    key: Key = None,
    columns: Columns = None,
    unit: Unit = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The chosen candidates with their weights.")] =
    Path("runs.csv"),
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Choose which simulations to run: rows of the candidates, with weights for least squares.

    \b
    sundog design candidates.csv -n 40 --degree 2 --out runs.csv
    sundog design candidates.csv --after runs.npz -n 10 --out more.csv
    """
    from dataclasses import replace

    import torch

    one_of(method, METHODS, "method")
    before_work(data=out)
    pool = load(file, key=key, columns=columns, unit=unit)
    if pool.kind != "events":
        raise ShapeError("candidates are no table", got=f"{pool.kind}", expected="one column per parameter",
                         do="pass a csv, parquet or npz table")
    made = _parameters(after, pool) if after is not None else None
    found = _choose(pool.values.double().numpy(), n, degree, "d-optimal" if after is not None else method, made, seed)
    weights = None if found.weights is None else torch.as_tensor(found.weights).float()
    path = replace(pool[torch.as_tensor(found.rows)], weights=weights, held_out_fraction=0.0).save(out)
    if as_json:
        typer.echo(json.dumps({"file": str(path), "method": found.method, "n": n, "candidates": len(pool),
                               "features": found.features, "rows": found.rows.tolist(),
                               "smallest_singular_value": found.smallest}))
    elif not quiet:
        typer.echo(f"{n} of {len(pool)} candidates by {found.method}, {found.features} features (degree {degree} in "
                   f"{pool.values.shape[1]} parameters); smallest singular value {found.smallest:.3g}\n"
                   f"{_advice(n + (0 if made is None else len(made)), found)}\nwrote {path}")


@dataclass(frozen=True)
class _Chosen:
    rows: np.ndarray
    weights: np.ndarray | None
    method: str
    features: int
    smallest: float


def _choose(pool: np.ndarray, n: int, degree: int, method: str, made: np.ndarray | None, seed: int) -> _Chosen:
    """Rows by the method; the smallest singular value is that of all runs together, those made before included."""
    import numpy as np

    from sundog import design as rooms

    phi = rooms.polynomial_features(pool, degree)
    done = phi[:0] if made is None else rooms.polynomial_features(made, degree, candidates=pool)
    weights: np.ndarray | None = None
    if method == "d-optimal":
        rows = _new_rows(pool, phi, n, done, made)
    elif method in ("latin-hypercube", "sobol"):
        bounds = np.stack([pool.min(axis=0), pool.max(axis=0)], axis=1)
        rows = rooms.nearest_candidates(pool, rooms.space_filling(bounds, n, method, seed))
    else:
        sampler: Any = {"projection-dpp": rooms.sample_projection_dpp, "volume-rescaled": rooms.sample_volume_rescaled,
                        "christoffel": rooms.sample_christoffel}[method]
        rows, weights = sampler(phi, n, seed)
    root = np.sqrt(np.ones(n) if weights is None else weights)[:, None]
    all_runs = np.concatenate([root * phi[rows], done])
    spread = np.linalg.svd(all_runs / np.sqrt(len(all_runs)), compute_uv=False)
    smallest = float(spread[-1]) if len(all_runs) >= phi.shape[1] else 0.0
    return _Chosen(rows, weights, method, phi.shape[1], smallest)


def _new_rows(pool: np.ndarray, phi: np.ndarray, n: int, done: np.ndarray, made: np.ndarray | None) -> np.ndarray:
    """Greedy rows among the candidates that were not run yet."""
    import numpy as np

    from sundog.design import d_optimal

    if made is None:
        return d_optimal(phi, n)
    scale = np.ptp(pool, axis=0)
    ran = np.array([(abs(made - row) <= 1e-6 * scale).all(axis=1).any() for row in pool])
    left = np.flatnonzero(~ran)
    if n > len(left):
        raise SampleSizeError("more runs than candidates", got=f"n = {n}",
                              expected=f"{len(left)} or fewer, which were not run yet", do="give more candidates")
    return left[d_optimal(phi[left], n, after=done)]


def _parameters(file: Path, pool: Dataset) -> np.ndarray:
    """Parameters of the runs made: (n, d) in the order of the candidates."""
    runs = load(file)
    table, names = (runs.values, runs.names) if runs.context is None else (runs.context, runs.context_names)
    if set(pool.names) <= set(names):
        table = table[:, [names.index(name) for name in pool.names]]
    elif table.ndim != 2 or table.shape[1] != len(pool.names):
        raise OptionError("runs of other parameters", got=", ".join(names), expected=", ".join(pool.names),
                          do="give runs whose context holds the parameters under these names")
    return table.double().numpy()


def _advice(runs: int, found: _Chosen) -> str:
    """What the number of runs per feature means."""
    ratio = runs / found.features
    text = f"{ratio:.2g} runs per feature"
    if ratio < 1:
        return f"{text}: too few for least squares of this degree; lower --degree, or use a Gaussian process"
    if ratio < SATURATED:
        return (f"{text}: a polynomial hangs on every run; --method d-optimal suits it best, a Gaussian process is "
                "better off with latin-hypercube or sobol; or lower --degree, or make more runs")
    return f"{text}: enough for least squares with the weights of the file"
