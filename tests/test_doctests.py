"""The examples in the docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import sundog

MODULES = ["sundog", *sorted(item.name for item in pkgutil.walk_packages(sundog.__path__, "sundog."))]
WITH_EXAMPLES = [name for name in MODULES if ">>>" in Path(importlib.util.find_spec(name).origin).read_text()]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        example.globs.setdefault("sundog", sundog)
        told: list[str] = []
        failed = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=told.append).failed
        assert not failed, "".join(told)


def test_there_are_examples() -> None:
    modules = [importlib.import_module(name) for name in WITH_EXAMPLES]
    found = [t for module in modules for t in doctest.DocTestFinder(exclude_empty=True).find(module) if t.examples]
    assert len(found) > 30
