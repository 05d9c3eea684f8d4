"""README and docs say what is true: their code runs, prints what stands under it, their commands exist."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest
import typer

from sundog.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
WITH_CODE = [path for path in PAGES if BLOCK.search(path.read_text())]


def marks(path: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if "<!-- slow -->" in path.read_text() else []


def same_text(said: str, expected: str) -> bool:
    """Same words; numbers within 20 % or 0.02, since their last digits depend on machine and threads."""
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", text)).strip() for text in (said, expected)]
    pairs = zip(NUMBER.findall(said), NUMBER.findall(expected))
    return words[0] == words[1] and all(math.isclose(float(a), float(b), rel_tol=0.2, abs_tol=0.02) for a, b in pairs)


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT)), marks=marks(p)) for p in WITH_CODE])
def test_code_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, expected in BLOCK.findall(path.read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), namespace)
        if expected:
            assert same_text(printed.getvalue(), expected), printed.getvalue()


def test_a_wrong_number_under_the_code_would_be_noticed() -> None:
    assert same_text("AUC 0.512 of 3 rows", "AUC 0.52  of 3 rows\n")
    assert not same_text("AUC 0.70 of 3 rows", "AUC 0.52 of 3 rows")
    assert not same_text("AUC 0.52 failed", "AUC 0.52 passed")


@cache
def whole_command() -> click.Command:
    return typer.main.get_command(app)


def commands() -> list[str]:
    """Every line of a code block, or of a help text, that calls sundog."""
    texts = [path.read_text() for path in (*PAGES, *sorted((ROOT / "src" / "sundog" / "cli").glob("*.py")))]
    lines = [line.strip().removeprefix("$ ") for text in texts for line in text.splitlines()]
    return sorted({re.split(r"\s{2,}|\s#", line)[0] for line in lines if re.match(r"sundog [a-z]+( |$)", line)})


@pytest.mark.parametrize("line", commands())
def test_command_line_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    command = whole_command()
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def typed(page: Path) -> list[str]:
    """What a reader of the page types in a shell, top to bottom; without installing and words in capitals."""
    found = re.finditer(r"^ *```(\w*)\n(.*?)^ *```$|`(sundog [^`\n]+)`", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.rpartition("&& ")[2].partition("  #")[0].strip()
             for match in found if not match[1] for line in (match[2] or match[3]).splitlines()]
    return [line for line in lines if line.startswith("sundog") and not re.search(r"\b[A-Z]{4,}\b|\.\.\.", line)]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_every_command_of_the_page_runs_in_one_shell(page: str, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "sundog"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m sundog "$@"\n')
    script.chmod(0o755)
    (tmp_path / "work").mkdir()
    lines = [*typed(ROOT / page), "true"]  # bash becomes its last command; completion asks for the shell above it
    done = subprocess.run(["bash", "-exc", "\n".join(lines)], cwd=tmp_path / "work", capture_output=True, text=True,
                          env={**os.environ, "HOME": str(tmp_path), "PATH": f"{script.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr[-3000:]
    if page == "README.md":
        found = re.search(r"evidence for a resonance at ([\d.]+) \+- ([\d.]+) TeV", done.stdout)
        assert found, done.stdout
        assert abs(float(found[1]) - 3.5) < 2 * float(found[2]) < 0.2, found[0]  # where the example has one


def test_what_is_typed_is_found() -> None:
    readme = typed(ROOT / "README.md")
    assert len(readme) > 15
    assert readme.index("sundog example all") < readme.index("sundog emulate runs.npz")
    assert not any("COMMAND" in line for line in readme)


def test_readme_first_screen() -> None:
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:60])
    assert "make demo" in top
    assert "make test" in top
    assert "pip install -c constraints.txt" in top
    assert "```python" in top


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", prose):
        made_by_the_build = (target.startswith(("gallery/", "../gallery/")) or path.parent.name == "gallery"
                             or target in ("changelog.md", "cli.md"))
        assert made_by_the_build or (path.parent / target).exists(), target


def test_every_page_is_in_the_menu() -> None:
    listed = (ROOT / "scripts" / "docs_hooks.py").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for folder in ("", "models") for path in
             (ROOT / "docs" / folder).glob("*.md")]
    missing = [page for page in pages if f'"{page}"' not in listed]
    assert not missing, missing
