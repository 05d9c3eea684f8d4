"""Verdict: what the judge says, row by row, worst first; prints, goes to JSON, becomes a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from sundog.results import Result
from sundog.verdicts.evidence import Evidence


@dataclass(frozen=True)
class Row:
    """One statistic: the fakes' number beside the band that real against real gives at the same size.

    Attributes
    ----------
    name : of the statistic
    value, low, high : fake against real: median and 16-84 % over the splits
    null, null_low, null_high : real against real: median and 16-84 % over the splits
    pull : distance from the null in null standard deviations (of the quantity that decided the row)
    p_value : probability of a pull this large if the fakes were real, corrected for the components tried
    threshold : the row fails when ``p_value`` is below this
    passed : whether it does not fail
    worst, worst_value, worst_null, worst_pull : the component that disagrees most, where there are several
    real_value, real_error, fake_value, fake_error, unit : mean of that component in each sample, where it has one
    n : rows of each sample in every number of this row
    about : what the number is, in one sentence
    note : what to know before believing the row
    """

    name: str
    value: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    pull: float
    p_value: float
    threshold: float
    passed: bool
    n: int
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
    n : rows of each sample per number: min(len(fake), len(real) // 2)
    kind : "events" or "images"
    splits : how many random disjoint splits stand behind every median and band
    seed : of the splits
    notes : warnings about the comparison as a whole
    provenance : fingerprints, sizes, versions, seconds
    evidence : what the report draws

    Example
    -------
    >>> import sundog, torch
    >>> real = sundog.Dataset.from_arrays(torch.randn(600, 2, generator=torch.Generator().manual_seed(0)))
    >>> verdict = sundog.judge(real, sundog.Dataset.from_arrays(real.values[:300] * 2 + 1), splits=8)
    >>> verdict.passed, verdict.n
    (False, 300)
    """

    rows: tuple[Row, ...]
    n: int
    kind: str
    splits: int
    seed: int
    evidence: Evidence
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no row fails."""
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that fail, worst first."""
        return tuple(row for row in self.rows if not row.passed)

    def __getitem__(self, name: str) -> Row:
        """The row of that name."""
        return {row.name: row for row in self.rows}[name]

    def summary(self) -> str:
        """One sentence: pass or fail, how many rows, which is worst."""
        worst, pair = self.rows[0], f"{self.n} fakes and {self.n} real {self.kind}"
        where = f" ({worst.worst})" if worst.worst else ""
        facts = f"{worst.name}{where} at {number(worst.pull)} sigma from real against real"
        if self.passed:
            return f"PASS: none of {len(self.rows)} statistics tells {pair} apart; the furthest is {facts}."
        return f"FAIL: {len(self.failures)} of {len(self.rows)} statistics tell {pair} apart; the worst is {facts}."

    def __str__(self) -> str:
        header = ("", "statistic", "fake vs real", "16-84 %", "real vs real", "16-84 %", "pull", "p", "worst part", "n")
        table = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(header))]
        right = {2, 4, 6, 7, 9}
        lines = ["  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths)))
                 for line in table]
        lines.insert(1, "  ".join("-" * w for w in widths))
        remarks = [f"note: {note}" for note in self.notes]
        remarks += [f"note: {row.name}: {row.note}" for row in self.rows if row.note]
        rule = (f"A row fails when p < {self.rows[0].threshold:.1e}. Every number is a median over random disjoint "
                f"splits (up to {self.splits}, seed {self.seed}).")
        return "\n".join([self.summary(), "", *(line.rstrip() for line in lines), "", rule, *remarks])

    def __repr__(self) -> str:
        word = "passed" if self.passed else f"failed {len(self.failures)} of {len(self.rows)} rows"
        return f"Verdict({word}, {self.kind}, n={self.n}, worst: {self.rows[0].name})"

    def _repr_html_(self) -> str:
        names = ("", "statistic", "fake vs real", "16-84 %", "real vs real", "16-84 %", "pull", "p", "worst part", "n")
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
                       for row in self.rows)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (f"<div><p><strong>{escape(self.summary())}</strong></p><table><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "") + "</div>")

    def to_json(self) -> str:
        """Everything but the pictures as strictly valid JSON; what is not a finite number becomes null."""
        content = {
            "passed": self.passed, "summary": self.summary(), "kind": self.kind, "n": self.n, "splits": self.splits,
            "seed": self.seed, "notes": list(self.notes), "rows": [asdict(row) for row in self.rows],
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
    return ("pass" if row.passed else "FAIL", row.name, number(row.value), f"{number(row.low)} .. {number(row.high)}",
            number(row.null), f"{number(row.null_low)} .. {number(row.null_high)}", f"{row.pull:+.1f}",
            probability(row.p_value), worst, str(row.n))


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
