"""Gallery scripts become notebooks that run by themselves and show what the script saves."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

for library in ("jupytext", "nbclient"):
    pytest.importorskip(library)
ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "docs" / "gallery").glob("*.py"))


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    found = importlib.util.spec_from_file_location("build_gallery", ROOT / "scripts" / "build_gallery.py")
    assert found is not None and found.loader is not None
    module = sys.modules["build_gallery"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_becomes_a_notebook(builder: ModuleType, script: Path) -> None:
    notebook = builder.notebook_of(script.read_text())
    cells = [cell.source.removeprefix(builder.INLINE) for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(cells)
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    assert "sys" not in names and "savefig" not in code
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    assert "pyplot" in code or "display(figure)" in code


def test_there_are_five() -> None:
    assert len(SCRIPTS) >= 5


@pytest.mark.slow
def test_the_build_runs_a_script_once_and_stops_at_one_that_fails(builder: ModuleType, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    monkeypatch.setattr(builder, "SCRIPTS", scripts)
    head = "# %% [markdown]\n# # Why?\n# Because.\n\n# %%\nimport sys\n\nimport matplotlib.pyplot as plt\n\n# %%\n"
    (scripts / "one.py").write_text(head + "figure, panel = plt.subplots()\nprint('said', 1 + 1)\n"
                                           "figure.savefig(sys.argv[1])\n")
    monkeypatch.setattr(builder, "ROOT", tmp_path)  # whose sources are none
    [made] = builder.build(tmp_path / "out")
    assert "said 2" in made.page.read_text() and "Because." in made.page.read_text()
    assert made.figure.read_bytes().startswith(b"\x89PNG")
    when = made.notebook.stat().st_mtime_ns
    assert builder.build(tmp_path / "out") == [made] and made.notebook.stat().st_mtime_ns == when
    (scripts / "two.py").write_text(head + "1 / 0\n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        builder.build(tmp_path / "out")
