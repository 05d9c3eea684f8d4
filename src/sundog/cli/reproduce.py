"""``sundog anomaly reproduce``: the figures of published resonance searches, computed anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SAID = ("trial", "method", "n_signal", "true_fraction", "fixed", "w", "sic 0.001", "max_sic", "auc", "cpu")


def reproduce(
    figure: Annotated[str, typer.Option(help="sic | nsig | samples | w | timing")] = "sic",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of rows, models, figure.")] = Path("reproduced"),
    data: Annotated[Path | None, typer.Option(help="Folder with dijets/; SUNDOG_DATA, else ../shared/data.")] = None,
    injections: Annotated[int, typer.Option(min=1, help="How many splits and injections.")] = 3,
    features: Annotated[int, typer.Option(min=4, max=5, help="5 adds the distance of the jets.")] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="Small samples, short training: does everything run?")] = False,
) -> None:
    """Compute and draw a figure of the published searches on LHC-Olympics-like events, or on the toy without them.

    An interrupted run goes on where it was. CPU time on one core: sic 5 minutes per injection, timing 5 minutes,
    nsig 8 minutes per injection, w 5 minutes per injection, samples 2 minutes; with --quick less than one each.

    \b
    sundog anomaly reproduce --figure sic --injections 5
    sundog anomaly reproduce --figure samples --quick --out look
    """
    from sundog.data.atomic import atomic_write
    from sundog.reports.figures import reproduced
    from sundog.tasks.anomaly.checks.reproduce import Order, rows, signals

    where = data or Path(os.environ.get("SUNDOG_DATA", "../shared/data"))
    order = Order(figure, out, where, injections, features, quick)
    typer.echo(f"events: {'LHC-Olympics-like di-jets' if order.on_dijets else 'analytic toy (no di-jets found)'}")
    found = []
    for row in rows(order):
        found.append(row)
        typer.echo("  ".join(f"{key} {_short(row[key])}" for key in
                             SAID if row.get(key) is not None))
    draw = {"sic": reproduced.sic_bands_figure, "nsig": reproduced.significance_figure,
            "w": reproduced.fractions_figure, "timing": reproduced.timing_figure}
    picture = reproduced.samples_figure(signals(order)) if figure == "samples" else draw[figure](found)
    path = atomic_write(out / f"{figure}.png", lambda temporary: picture.savefig(temporary, format="png", dpi=130))
    typer.echo(f"wrote {path}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
