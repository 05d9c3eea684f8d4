"""Verdict: what the judge says, row by row, worst first; prints, goes to JSON, becomes a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from sundog.checks import one_of
from sundog.results import Result
from sundog.verdicts.evidence import Evidence, Worth
from sundog.verdicts.explaining.where import Region

FALSE_ALARM = 0.01  # probability per verdict; docs/judge.md has the measured rate
SURE = 0.05  # p of a box above which it is not named
NOWHERE = "no box of the features tried holds too many or too few fakes"
HEADER = ("", "statistic", "fake vs real", "real vs real", "16-84 %", "pull", "p", "worst part")


@dataclass(frozen=True)
class Row:
    """One statistic: the fakes' number beside the band that real against real gives at the same size.

    Attributes
    ----------
    name : of the statistic
    value : all fakes against all real rows
    null, null_low, null_high : real against real at the same sizes: median and 16-84 % over random splits
    pull : distance from the null in null standard deviations (of the quantity that decided the row)
    p_value : probability of a pull this large if the fakes were real, corrected for the components tried; of a row
        that decides, corrected for all rows that decide
    threshold : the row fails when ``p_value`` is at or below this
    passed : whether it does not fail
    decides : whether it is one of the rows behind the verdict, or explains
    n : rows of the smaller sample in this row
    worst, worst_value, worst_null, worst_pull : the component that disagrees most, where there are several
    real_value, real_error, fake_value, fake_error, unit : mean of that component in each sample, where it has one
    about : what the number is, in one sentence
    note : what to know before believing the row
    """

    name: str
    value: float
    null: float
    null_low: float
    null_high: float
    pull: float
    p_value: float
    threshold: float = 0.0
    passed: bool = True
    decides: bool = False
    n: int = 0
    worst: str = ""
    worst_value: float | None = None
    worst_null: float | None = None
    worst_pull: float | None = None
    real_value: float | None = None
    real_error: float | None = None
    fake_value: float | None = None
    fake_error: float | None = None
    unit: str = ""
    about: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Verdict(Result):
    """The judge's answer on one set of fakes.

    Attributes
    ----------
    rows : worst first (smallest p-value first)
    p_value : the global p-value, of the rows that decide together
    n_real, n_fake : rows of each sample
    kind : "events", "images" or "series"
    splits : how many random splits of the truth stand behind every band
    seed : of splits and relabellings
    evidence : what the report draws
    notes : warnings about the comparison as a whole
    provenance : fingerprints, sizes, versions, seconds
    where : boxes of feature space with too many or too few fakes, the surer first, whether sure or not
    worth : how many true events the fakes are worth, where it was measured (``amplification``)

    Example
    -------
    >>> import sundog, torch
    >>> real = sundog.Dataset.from_arrays(torch.randn(600, 2, generator=torch.Generator().manual_seed(0)))
    >>> verdict = sundog.judge(real, sundog.Dataset.from_arrays(real.values[:300] * 2 + 1), splits=8)
    >>> verdict.passed, verdict.n
    (False, 300)
    """

    rows: tuple[Row, ...]
    p_value: float
    n_real: int
    n_fake: int
    kind: str
    splits: int
    seed: int
    evidence: Evidence
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    where: tuple[Region, ...] = ()
    worth: Worth | None = None

    @property
    def passed(self) -> bool:
        """Whether the global p-value is above 1 %."""
        return self.p_value > FALSE_ALARM

    @property
    def boxes(self) -> tuple[Region, ...]:
        """The boxes of ``where`` that are sure: p at most 5 %."""
        return tuple(region for region in self.where if region.p_value <= SURE)

    @property
    def n(self) -> int:
        """Rows of the smaller sample."""
        return min(self.n_real, self.n_fake)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that fail, deciding or not, worst first."""
        return tuple(row for row in self.rows if not row.passed)

    def __getitem__(self, name: str) -> Row:
        """The row of that name.

        Raises
        ------
        OptionError : no such row; the nearest names are told.
        """
        rows = {row.name: row for row in self.rows}
        return rows[one_of(name, rows, "row of the verdict")]

    def summary(self) -> str:
        """One sentence: pass or fail, the global p-value, which row is worst."""
        worst, pair = self.rows[0], f"{self.n_fake} fakes and {self.n_real} real {self.kind}"
        where = f" ({worst.worst})" if worst.worst else ""
        facts = f"{worst.name}{where} at {number(worst.pull)} sigma from real against real"
        said = f"(p = {probability(self.p_value)})"
        if self.passed:
            return f"PASS: {pair} are not told apart {said}; the furthest row is {facts}."
        return f"FAIL: {pair} are told apart {said}; the worst row is {facts}."

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame, worst first, one column per attribute of `Row`."""
        import pandas  # heavy, and nothing else here needs it

        return pandas.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        header = HEADER
        table = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(header))]
        right = {2, 3, 5, 6}
        lines = ["  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths)))
                 for line in table]
        lines.insert(1, "  ".join("-" * w for w in widths))
        remarks = [f"where: {region}" for region in self.boxes or ([NOWHERE] if self.where else [])]
        remarks += [f"worth: {self.worth}"] if self.worth else []
        remarks += [f"note: {note}" for note in self.notes]
        remarks += [f"note: {row.name}: {row.note}" for row in self.rows if row.note]
        rule = (f"Global p = {probability(self.p_value)}; the verdict fails at {FALSE_ALARM:g} or below. Rows with a "
                f"star decide, the others explain. Real against real: {self.splits} random splits, seed {self.seed}.")
        return "\n".join([self.summary(), "", *(line.rstrip() for line in lines), "", rule, *remarks])

    def __repr__(self) -> str:
        word = "passed" if self.passed else "failed"
        return f"Verdict({word}, p={probability(self.p_value)}, {self.kind}, n={self.n}, worst: {self.rows[0].name})"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEADER)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
                       for row in self.rows)
        notes = "".join(f"<li>{escape(str(note))}</li>" for note in (*self.boxes, *self.notes))
        return (f"<div><p><strong>{escape(self.summary())}</strong></p><table><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "") + "</div>")

    def to_json(self) -> str:
        """Everything but the pictures as strictly valid JSON; what is not a finite number becomes null."""
        content = {
            "passed": self.passed, "p_value": self.p_value, "summary": self.summary(), "kind": self.kind, "n": self.n,
            "n_real": self.n_real, "n_fake": self.n_fake, "splits": self.splits, "seed": self.seed,
            "where": [{**asdict(region), "words": region.words} for region in self.where],
            "worth": None if self.worth is None else self.worth.to_json(), "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "provenance": dict(self.provenance),
        }
        return json.dumps(_finite(content), indent=2, allow_nan=False)


def number(x: float | None) -> str:
    """A number with three significant digits, short enough for a table; ``-`` for nothing.

    Example
    -------
    >>> number(0.01234), number(1234.5), number(2.5e-7), number(None)
    ('0.0123', '1234', '2.5e-07', '-')
    """
    if x is None or not math.isfinite(x):
        return "-"
    if x == 0 or 1e-3 <= abs(x) < 1e4:
        return f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}"
    return f"{x:.2g}"


def probability(p: float) -> str:
    """A p-value for a table; never a bare zero.

    Example
    -------
    >>> probability(0.0), probability(0.012)
    ('< 1e-99', '0.012')
    """
    return "< 1e-99" if p < 1e-99 else number(p)


def _cells(row: Row) -> tuple[str, ...]:
    worst = row.worst
    if row.worst_value is not None:
        worst += f" ({number(row.worst_value)}, real {number(row.worst_null)})"
    return ("pass" if row.passed else "FAIL", row.name + ("*" if row.decides else ""), number(row.value),
            number(row.null), f"{number(row.null_low)} .. {number(row.null_high)}", f"{row.pull:+.1f}",
            probability(row.p_value), worst)


def _finite(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {str(key): _finite(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_finite(value) for value in x]
    if isinstance(x, bool | int | str) or x is None:
        return x
    if hasattr(x, "tolist"):
        return _finite(x.tolist())
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    return str(x)
