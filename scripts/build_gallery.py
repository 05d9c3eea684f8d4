"""Run the gallery scripts and write one page for each: question, code, printed sentence, figure.

Run: python scripts/build_gallery.py [output folder]. A script docs/gallery/NAME.py gets the path of its figure as
argv[1]; a last printed line that starts with "skipped:" gives the reason for a page without a figure. Results are
kept by content hash of the script and of the library, so a second build runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "docs" / "gallery"
CACHE = ROOT / ".gallery"
LIMIT_SECONDS = 600


def build(output: Path = CACHE) -> list[tuple[str, Path, Path | None]]:
    """(title, page, figure or None) of every gallery script, in alphabetical order."""
    output.mkdir(parents=True, exist_ok=True)
    library = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "src").rglob("*.py")))).hexdigest()
    scripts = sorted(SCRIPTS.glob("*.py"))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda script: _one(script, library, output), scripts))


def _one(script: Path, library: str, output: Path) -> tuple[str, Path, Path | None]:
    code = script.read_text()
    key = hashlib.sha256((code + library).encode()).hexdigest()[:16]
    page, figure = output / f"{script.stem}.md", output / f"{script.stem}.png"
    stamp = output / f"{script.stem}.key"
    if not (page.exists() and stamp.exists() and stamp.read_text() == key):
        figure.unlink(missing_ok=True)
        said = _run(script, figure)
        page.write_text(_page(script, code, said, figure if figure.exists() else None))
        stamp.write_text(key)
    return _title(code), page, figure if figure.exists() else None


def _run(script: Path, figure: Path) -> str:
    """What the script printed; a failing script stops the build and shows its traceback."""
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1",
                   "SUNDOG_DATA": str((ROOT / os.environ.get("SUNDOG_DATA", "../shared/data")).resolve())}
    done = subprocess.run([sys.executable, str(script), str(figure)], capture_output=True, text=True, cwd=figure.parent,
                          stdin=subprocess.DEVNULL, env=environment, timeout=LIMIT_SECONDS)
    said = done.stdout.strip()
    skipped = said.rpartition("\n")[2].startswith("skipped:")
    if done.returncode or not (figure.exists() or skipped):
        raise RuntimeError(f"gallery script {script.name} failed ({done.returncode})\n{said}\n{done.stderr}")
    return said


def _title(code: str) -> str:
    found = re.search(r"^# # (.+)$", code, re.MULTILINE)
    if found is None:
        raise ValueError("a gallery script opens with '# %% [markdown]' and '# # The question?'")
    return found[1]


def _page(script: Path, code: str, said: str, figure: Path | None) -> str:
    """Markdown of one example: the text cells as text, the code cells as code, then what it printed and drew."""
    parts = []
    for cell in re.split(r"^# %%", code, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        elif body.strip():
            parts.append(f"```python\n{body.strip()}\n```")
    parts.append(f"It prints\n\n```text\n{said}\n```")
    parts += [f"![{_title(code)}]({figure.name})"] if figure else []
    parts.append(f"Run it: `python docs/gallery/{script.name} figure.png`")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for title, page, figure in build(Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE):
        print(f"{title}: {page}" + ("" if figure else " (skipped)"))
