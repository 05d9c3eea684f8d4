"""Make a notebook of every gallery script, run it, and write a page of it: question, code, what it printed and drew.

Run: python scripts/build_gallery.py [output folder]. Scripts are in jupytext's percent format and save their figure to
argv[1]; in the notebook it is shown instead. Results are kept by content hash of the script and of the library, so a
second build runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "docs" / "gallery"
CACHE = ROOT / ".gallery"
LIMIT_SECONDS = 600
INLINE = "%matplotlib inline"


@dataclass(frozen=True)
class Example:
    """The files made of one script."""

    title: str
    page: Path
    figure: Path
    notebook: Path


def build(output: Path = CACHE) -> list[Example]:
    """Every gallery script as an example, in alphabetical order.

    Raises
    ------
    CellExecutionError : of the first cell that fails, with its traceback.
    """
    output.mkdir(parents=True, exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": "1",
                   "SUNDOG_DATA": str((ROOT / os.environ.get("SUNDOG_DATA", "../shared/data")).resolve())}
    os.environ.pop("MPLBACKEND", None)  # a notebook draws inline
    library = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "src").rglob("*.py")))).hexdigest()
    scripts = sorted(SCRIPTS.glob("*.py"))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda script: _one(script, library, output), scripts))


def _one(script: Path, library: str, output: Path) -> Example:
    code = script.read_text()
    key = hashlib.sha256((code + library).encode()).hexdigest()[:16]
    made = Example(_title(code), *(output / f"{script.stem}{suffix}" for suffix in (".md", ".png", ".ipynb")))
    stamp = output / f"{script.stem}.key"
    if not (stamp.exists() and stamp.read_text() == key):
        stamp.unlink(missing_ok=True)
        notebook = notebook_of(code)
        NotebookClient(notebook, timeout=LIMIT_SECONDS, resources={"metadata": {"path": str(output)}},
                       record_timing=False).execute()
        nbformat.write(notebook, made.notebook)
        [drawn] = [output.data["image/png"] for cell in notebook.cells for output in cell.get("outputs", ())
                   if "image/png" in output.get("data", ())]
        made.figure.write_bytes(base64.b64decode(drawn))
        made.page.write_text(_page(notebook, made, script))
        stamp.write_text(key)
    return made


def notebook_of(code: str) -> NotebookNode:
    """The script as a notebook that shows its figure where the script saves it."""
    shown = "" if "plt." in code else "display(figure)\n"  # pyplot's own are shown at the end of a cell
    code = re.sub(r"^import sys\n+(?=import|from|#|\n)", "", code, flags=re.MULTILINE)
    code = re.sub(r"^figure\.savefig\(sys\.argv.*\n", shown, code, flags=re.MULTILINE)
    notebook = jupytext.reads(code, fmt="py:percent")
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = f"{INLINE}\n{first.source}"
    notebook.metadata = NotebookNode(kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"})
    return notebook


def _title(code: str) -> str:
    found = re.search(r"^# # (.+)$", code, re.MULTILINE)
    if found is None:
        raise ValueError("a gallery script opens with '# %% [markdown]' and '# # The question?'")
    return found[1]


def _page(notebook: NotebookNode, made: Example, script: Path) -> str:
    """Markdown of one example: text, code, then what it printed and drew."""
    cells = [(cell.cell_type, cell.source.removeprefix(INLINE).strip()) for cell in notebook.cells]
    parts = [source if kind == "markdown" else f"```python\n{source}\n```" for kind, source in cells if source]
    said = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", ())
                   if output.get("name") == "stdout")
    parts += [f"It prints\n\n```text\n{said.strip()}\n```", f"![{made.title}]({made.figure.name})",
              f"[This notebook]({made.notebook.name}) · as a script: `python docs/gallery/{script.name} figure.png`"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for example in build(Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE):
        print(f"{example.title}: {example.notebook}")
