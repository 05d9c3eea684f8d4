"""Pages survive hostile names: numbers stay readable for machines, text stays text."""

import json
import re

import pytest
import torch
from jinja2 import UndefinedError

import sundog
from sundog.reports.html import embedded, render

HOSTILE = "<!--<script>alert(1)</script>"


def numbers_of(html: str) -> object:
    return json.loads(re.search(r'<script type="application/json" id="\w+">(.*?)</script>', html, re.DOTALL)[1])


def test_numbers_come_back_whatever_the_names() -> None:
    facts = {HOSTILE: [1.5, "a & b </script>"]}
    assert json.loads(embedded(facts)) == facts
    assert "<" not in embedded(facts)
    assert "<" in json.dumps(facts)  # without the care they would end the element


@pytest.mark.parametrize("name", [HOSTILE, r"$\frac$", "$", "µ_{", "\\"])
def test_a_verdict_on_a_column_of_any_name(name: str, tmp_path) -> None:
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    data = [sundog.Dataset.from_arrays(part, names=[name, "b"]) for part in (x[:200], x[200:] + 1)]
    page = sundog.judge(*data, splits=4).report(tmp_path / "page.html").read_text()
    assert numbers_of(page) and "<script>alert" not in page


def test_a_name_that_the_page_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("texture.html", title="x")
