"""What the docs build does beside rendering: gallery executed, formulas to MathML, navigation of what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.structure.files import File

from sundog.cli import app

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from build_gallery import Example, build  # noqa: E402

NAV: list[dict[str, Any]] = [
    {"Home": "index.md"},
    {"Start here": "start.md"},
    {"Installing": "installing.md"},
    {"First run on real data": "first_run.md"},
    {"How to": [{"Files": "files.md"}, {"Your own generator": "own_generator.md"}, {"Small data": "small_data.md"},
                {"Weights": "weights.md"}, {"Private data": "private.md"}, {"ArviZ, corner": "arviz.md"},
                {"GPU": "gpu.md"}, {"Slurm, dask": "slurm.md"}]},
    {"Generators": [{"Normalizing flow": "models/flow.md"}, {"Flow matching": "models/matching.md"},
                    {"Diffusion": "models/diffusion.md"}, {"Wasserstein GAN": "models/gan.md"},
                    {"Variational auto-encoder": "models/vae.md"}, {"Image translation": "models/translate.md"},
                    {"Scattering synthesis": "models/scattering.md"}, {"Emulators": "models/emulators.md"},
                    {"An elliptic equation": "models/elliptic.md"},
                    {"Which runs to make": "design.md"},
                    {"Two-sample classifier": "models/classifier.md"}]},
    {"Judging": [{"The judge": "judge.md"}, {"Real or fake?": "quiz.md"}, {"Statistics": "statistics.md"},
                 {"Radiomic features": "radiomics.md"}]},
    {"Scattering": [{"Scattering statistics": "scattering.md"}, {"Phase harmonics": "phase_harmonics.md"},
                    {"Component separation": "separation.md"}]},
    {"Applications": [{"Anomaly search": "anomaly.md"}, {"Methods of the search": "anomaly_methods.md"},
                      {"Scan of a spectrum": "scan.md"},
                      {"Carried templates": "transports.md"}, {"Radio galaxies": "radio.md"},
                      {"Microwave skies": "sky.md"}, {"Series": "series.md"}]},
    {"Speed": "performance.md"},
    {"Glossary": "glossary.md"},
]
_gallery: list[Example] = []


def on_config(config: Any) -> Any:
    """Run the gallery, then list the pages that exist."""
    _gallery[:] = build()
    docs = Path(config["docs_dir"])
    entries = _existing(NAV, docs)
    sections: dict[str, list[Any]] = {"Gallery": ["gallery/index.md", *[{made.title: f"gallery/{made.page.name}"}
                                                                        for made in _gallery]]}
    for folder, title in (("decisions", "Decisions"), ("api", "Reference")):
        found = sorted((docs / folder).glob("*.md"), key=lambda path: (path.stem != "index", path.name))
        sections[title] = [{_heading(path): f"{folder}/{path.name}"} for path in found]
    config["nav"] = [*entries, *[{title: pages} for title, pages in sections.items() if pages],
                     {"Command line": "cli.md"}, {"Changes": "changelog.md"}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages made here: gallery, command line and changelog."""
    for made in _gallery:
        files.append(File.generated(config, f"gallery/{made.page.name}", content=made.page.read_text()))
        for path in (made.figure, made.notebook):
            files.append(File.generated(config, f"gallery/{path.name}", abs_src_path=str(path)))
    files.append(File.generated(config, "gallery/index.md", content=_gallery_index()))
    files.append(File.generated(config, "cli.md", content=_command_pages()))
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text()))
    return files


def _gallery_index() -> str:
    """Markdown of all examples: question and picture, each a link."""
    cards = [f"-   [![{made.title}]({made.figure.name})<br>{made.title}]({made.page.name})" for made in _gallery]
    return "# Gallery\n\nQuestions, each answered by a page of code that you can run: a notebook to take along, " \
        'run when these pages were built.\n\n<div class="grid cards" markdown>\n\n' + "\n".join(cards) + "\n\n</div>\n"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Formulas between $...$ and $$...$$ as MathML, which a browser draws without a script; code is left alone."""
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else _formulas(part) for i, part in enumerate(parts))


def _formulas(text: str) -> str:
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: "\n" + _mathml(m[1], "block") + "\n", text, flags=re.DOTALL)
    return re.sub(r"(?<![\\$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", lambda m: _mathml(m[1], "inline"), text)


def _mathml(formula: str, display: str) -> str:
    mathml = convert(" ".join(formula.split()), display=display).replace("\n", " ")
    # A paragraph that starts with <math> would be taken for a block of HTML.
    return f"<span>{mathml}</span>" if display == "inline" else mathml


def _command_pages() -> str:
    """Markdown of what every command says with --help."""
    commands = ["", *typer.main.get_command(app).commands]  # type: ignore[attr-defined]
    environment = {**os.environ, "COLUMNS": "96", "TERM": "dumb", "NO_COLOR": "1"}
    call = [sys.executable, "-m", "sundog.cli"]
    told = [subprocess.run([*call, *name.split(), "--help"], capture_output=True, text=True, check=True,
                           env=environment).stdout.strip("\n") for name in commands]
    parts = [f"## {('sundog ' + name).strip()}\n\n```text\n{text}\n```\n" for name, text in zip(commands, told)]
    return "# Command line\n\nThe words of the library, on files.\n\n" + "\n".join(parts)


def _existing(entries: list[dict[str, Any]], docs: Path) -> list[dict[str, Any]]:
    """The navigation entries whose page is there."""
    kept = []
    for entry in entries:
        [(title, target)] = entry.items()
        if isinstance(target, list):
            below = _existing(target, docs)
            kept += [{title: below}] if below else []
        elif (docs / target).exists():
            kept.append({title: target})
    return kept


def _heading(path: Path) -> str:
    return path.read_text().splitlines()[0].lstrip("# ").strip() if path.stat().st_size else path.stem
