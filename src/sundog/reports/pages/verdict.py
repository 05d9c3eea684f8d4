"""One self-contained HTML page for a verdict: opens without network, prints, and can be mailed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sundog.data.atomic import write_text
from sundog.reports.figures import verdict as figures
from sundog.reports.html import Picture, picture_of, render
from sundog.verdicts.verdict import FALSE_ALARM, NOWHERE, Row, Verdict, number, probability

DPI = 144  # sharp on a screen of double density at the size used, and in print
CHANNELS_SHOWN = 3
FAR = 3.0  # standard deviations of real against real
WORDS = {"com_radius": "distance of the centre of light from the middle", "com_x": "centre of light, x",
         "com_y": "centre of light, y", "com_angle": "direction of the centre of light",
         "pca_angle": "direction of the long axis"}  # parts of rows, in the words of the page


def write_report(verdict: Verdict, path: str | Path) -> Path:
    """Write the verdict as one HTML file, atomically; returns the path.

    Everything is inside the file: style, pictures (PNG), and the numbers as JSON for machines
    (``<script type="application/json" id="verdict">``). Nothing is loaded from anywhere.

    Errors: FileError when the folder is missing or not writable.
    """
    return write_text(path, page(verdict))


def page(verdict: Verdict) -> str:
    """The HTML of the report."""
    return render("verdict.html", json.loads(verdict.to_json()), filters={
        "number": number, "probability": probability, "capitalise": lambda text: text[:1].upper() + text[1:],
        "named": lambda word: WORDS.get(word, word)},
        verdict=verdict, pictures=list(pictures(verdict)), reading=_reading(verdict), measured=measured, far=far,
        place=_place(verdict), nowhere=NOWHERE)


def far(row: Row) -> bool:
    """Whether a row that passes stands so far out that it should not be shown as any other."""
    return row.passed and abs(row.pull) >= FAR


def pictures(verdict: Verdict) -> Iterator[Picture]:
    """The pictures of the page, in reading order."""
    evidence = verdict.evidence
    yield picture_of("Every row at a glance", figures.overview(verdict),
                   "Distance of each statistic from real against real. The grey bar is the 16–84 % band of the "
                   "truth against itself; a cross marks a row that fails. To the left: fakes closer than chance, "
                   "or, for shares such as recall, fewer than expected.")
    if verdict.kind != "events":
        draw, scale = ((figures.images, "colour scale") if verdict.kind == "images" else (figures.lines, "scale"))
        for channel, label in list(enumerate(evidence.labels()))[:CHANNELS_SHOWN]:
            yield picture_of(f"Real beside fake: {label}", draw(evidence, channel),
                           f"Drawn at random, not chosen. One {scale} for both, fixed by the real {verdict.kind}.")
        if evidence.telling is not None:
            few = replace(evidence, real=evidence.real[: len(evidence.telling)], fake=evidence.telling)
            yield picture_of("The fakes that give themselves away most", draw(few),
                             "Furthest along the direction in feature space that separates the samples best; the real "
                             f"{verdict.kind} beside them are drawn at random.")
    else:
        yield picture_of("Marginals", figures.marginals(evidence),
                       "Each column with Poisson error bars; below, the ratio where the truth has five events or more.")
        if len(evidence.names) > 1:
            yield picture_of("Corner plot", figures.corner(evidence),
                           "Contours that hold 68 % and 95 % of the events: real filled, fake as lines.")
    for curve in evidence.curves:
        unit = evidence.units[0] if len(set(evidence.units)) == 1 else ""
        yield picture_of(curve.name.capitalize() if curve.name.islower() else curve.name, figures.curve(curve, unit),
                       "Mean over the samples; bands are one standard error. Below, fake / real, or where that has no "
                       "meaning the difference in standard errors (pull).")


def _place(verdict: Verdict) -> Picture | None:
    """The surest box of events in its plane."""
    for region in verdict.boxes[:1] if verdict.kind == "events" else ():
        shown = figures.box(verdict.evidence, region)
        if shown is not None:
            return picture_of("Where the samples differ", shown,
                              f"{region.words}: blue cells lack fakes, red ones have too many.")
    return None


def measured(row: Row) -> str:
    """``real 3.51 ± 0.01 TeV, fake 3.62 ± 0.01 TeV`` for a row that carries such numbers, else nothing."""
    if row.real_value is None or row.fake_value is None:
        return ""
    unit = f" {row.unit}" if row.unit else ""
    return (f"real {number(row.real_value)} ± {number(row.real_error)}{unit}, "
            f"fake {number(row.fake_value)} ± {number(row.fake_error)}{unit}")


def _reading(verdict: Verdict) -> str:
    return (f"One p-value decides: how often {verdict.n_fake} rows of the truth in place of the fakes would look as "
            f"different, in the rows marked as deciding; the verdict fails at {number(FALSE_ALARM)} or below. The "
            "other rows explain. Each number stands beside what real against real gives at the same sizes.")

