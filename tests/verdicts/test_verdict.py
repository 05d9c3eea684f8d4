"""A verdict prints an aligned table, worst first, and its JSON is strictly valid."""

import json
import math

import pytest
import torch

from sundog import Verdict
from sundog.verdicts.evidence import Evidence
from sundog.verdicts.verdict import Row


def row(name, p, passed=True, **more):
    return Row(name, 0.2, 0.02, 0.01, 0.03, 5.0, p, 0.01, passed, **more)


@pytest.fixture
def verdict():
    evidence = Evidence((), torch.zeros(3, 1), torch.ones(3, 1), ("<b>x</b>",), ("GeV",))
    rows = (row("marginals", 1e-9, False, worst="<b>x</b>", worst_value=0.3, worst_null=math.nan), row("radius", 0.4))
    return Verdict(rows, 1e-9, 100, 120, "events", 12, 0, evidence, ("mind the gap",),
                   {"seconds": math.inf, "path": object()})


def test_the_global_p_value_decides_and_not_the_rows(verdict):
    assert not verdict.passed and [r.name for r in verdict.failures] == ["marginals"]
    assert Verdict(verdict.rows, 0.011, 100, 120, "events", 12, 0, verdict.evidence).passed
    assert not Verdict(verdict.rows[1:], 0.01, 100, 120, "events", 12, 0, verdict.evidence).passed
    assert verdict["radius"].p_value == 0.4


def test_the_summary_is_one_sentence_that_names_the_worst(verdict):
    assert verdict.summary().startswith("FAIL: 120 fakes and 100 real") and "marginals" in verdict.summary()
    assert verdict.summary().count(". ") == 0


def test_the_table_is_aligned_and_marks_fails_in_words(verdict):
    lines = str(verdict).splitlines()
    table = [line for line in lines if line.startswith(("FAIL  ", "pass  "))]
    assert [line.index("0.2") for line in table] == [table[0].index("0.2")] * 2
    assert "note: mind the gap" in lines
    assert repr(verdict) == "Verdict(failed, p=1e-09, events, n=100, worst: marginals)"


def test_json_is_strict_and_holds_every_row(verdict):
    def refuse(word):
        raise AssertionError(word)

    content = json.loads(verdict.to_json(), parse_constant=refuse)
    assert content["passed"] is False and content["n"] == 100 and content["p_value"] == 1e-9
    assert content["rows"][0]["worst_null"] is None and content["provenance"]["seconds"] is None
    assert content["rows"][1]["p_value"] == 0.4


def test_notebook_table_escapes_names(verdict):
    assert "<b>" not in verdict._repr_html_() and "&lt;b&gt;" in verdict._repr_html_()


def test_rows_become_a_data_frame(verdict):
    frame = verdict.to_pandas()
    assert list(frame["name"]) == ["marginals", "radius"] and frame["p_value"][1] == 0.4
