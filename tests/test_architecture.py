"""The house stands: who may import whom, how large a file may be, which names are not used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "sundog"
FILES = sorted(SOURCE.rglob("*.py"))

# Room -> what it may import from the package, beside the ground floor and itself; a dotted
# entry allows that module alone.
GROUND = {"errors", "checks", "random", "results", "version"}  # what every room may import
STAIRCASE = {
    "errors": set(),
    "checks": set(),
    "random": set(),
    "results": set(),
    "version": set(),
    "nets": set(),
    "solve": set(),
    "data": set(),
    "statistics": set(),
    "design": {"statistics", "data"},
    "simulate": {"data", "solve"},
    "models": {"nets", "solve", "statistics"},
    "train": {"models", "data"},
    "verdicts": {"statistics", "data", "models.classifier", "train"},
    "tasks": {"verdicts", "train", "models", "statistics", "solve", "simulate", "data"},
    "reports": {"verdicts", "tasks", "statistics", "data"},
}
ANYTHING = {"cli", "demos", "__init__", "__main__"}
IMPORT_NAMES = {"scikit_learn": "sklearn", "pyyaml": "yaml", "scikit_image": "skimage", "pot": "ot", "pillow": "PIL"}
PENDING = ("sundog.data.",)
MOST_FILES = 12  # of a folder, its __init__ aside
FORBIDDEN_NAMES = {"core", "utils", "util", "common", "helpers", "helper", "misc", "manager"}

# Imports inside functions: file -> modules. Optional or slow libraries, and the
# command line (which must answer --help without torch). Everything else is imported at the top.
INSIDE_FUNCTIONS = {
    "cli": {"*"},
    "__init__.py": {"*"},
    "data/exchange.py": {"pandas", "astropy"},
    "data/objects.py": {"awkward"},
    "data/formats/fits.py": {"astropy"},
    "data/formats/hdf5.py": {"h5py", "hdf5plugin"},
    "data/formats/pictures.py": {"PIL"},
    "data/formats/tables.py": {"pandas", "pyarrow"},
    "data/public/fetch.py": {"rich"},
    "data/public/lhco.py": {"h5py"},
    "data/sky/car.py": {"astropy"},
    "data/sky/healpix.py": {"astropy"},
    "data/sky/sphere.py": {"ducc0"},
    "demos/examples.py": {"uproot"},
    "data/formats/root.py": {"uproot"},
    "data/parts.py": {"distributed", "torch"},
    "random.py": {"torch"},
    "data/public/sets.py": {"sklearn", "h5py"},
    "models/gaussian/by_context.py": {"sklearn"},
    "models/classifier.py": {"sklearn"},
    "models/mixture_vae.py": {"sklearn"},
    "verdicts/deciding/mixture.py": {"sklearn"},
    "tasks/anomaly/detectors/base.py": {"sklearn"},
    "simulate/sky/cmb.py": {"camb"},
    "simulate/sky/cosmology.py": {"camb"},
    "tasks/sky/rescale.py": {"astropy"},
    "tasks/sky/project.py": {"astropy"},
    "train/devices.py": {"lightning_fabric"},
    "train/plan.py": {"yaml"},
    "simulate/jets.py": {"awkward", "fastjet"},
    "simulate/pythia.py": {"awkward", "pythia8mc"},
    "tasks/separation/unlabelled.py": {"sklearn"},
    "tasks/emulate.py": {"sklearn"},
    "tasks/radio/catalogue.py": {"pandas", "astropy"},
    "tasks/radio/cutouts.py": {"astropy"},
    "tasks/radio/finder.py": {"photutils"},
    "verdicts/verdict.py": {"pandas"},
    "verdicts/bias.py": {"pandas"},
    "statistics/sphere/transforms.py": {"ducc0"},
}


def listed(path: Path) -> set[str]:
    """Modules that a file may import inside its functions: its own entry and that of its room."""
    inside = path.relative_to(SOURCE)
    return INSIDE_FUNCTIONS.get(inside.as_posix(), set()) | INSIDE_FUNCTIONS.get(inside.parts[0], set())


def room(module: str) -> str:
    """First folder or file below the package: sundog.data.files -> data."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST, path: Path) -> list[str]:
    """Dotted modules that an import statement names; `from sundog.data import files` gives sundog.data.files."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    base = package[: len(package) + 1 - node.level] if node.level else []
    stem = ".".join([*base, *([node.module] if node.module else [])])
    names = [f"{stem}.{alias.name}" for alias in node.names]
    return [name if is_module(name) else stem for name in names]


def files_of(name: str) -> list[Path]:
    """Files of a room."""
    return [path for path in FILES if room(module_of(path)) == name]


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(SOURCE).as_posix()} line {line}"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def is_module(name: str) -> bool:
    target = SOURCE.parent.joinpath(*name.split("."))
    return target.with_suffix(".py").exists() or (target / "__init__.py").exists()


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import of a file, wherever it stands."""
    return [(node.lineno, name) for node in ast.walk(tree(path)) for name in imported(node, path)]


@cache
def inner_imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of the imports that stand inside functions."""
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.lineno, name) for function in functions for node in ast.walk(function)
            for name in imported(node, path)]


def top_imports(path: Path) -> set[str]:
    """Modules of the package that load when this file loads: neither inside functions nor for type checking."""
    inner = set(inner_imports(path))
    typing_only = {(node.lineno, name) for block in tree(path).body
                   if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
                   for node in ast.walk(block) for name in imported(node, path)}
    return {name for line, name in imports(path)
            if name.startswith("sundog") and (line, name) not in inner | typing_only}


def allowed(importer: str, target: str, path: Path) -> bool:
    here, there = room(importer), room(target)
    if here in ANYTHING or there in {here} | GROUND or target == "sundog":
        return True
    below = target.removeprefix("sundog.")
    if any(target.startswith(name) for name in listed(path)):
        return True  # judged by test_imports_inside_functions_are_listed
    return any(below == step or below.startswith(step + ".") for step in STAIRCASE[here])


ROOMS = sorted({room(module_of(path)) for path in FILES})


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 10
    assert sum(len(files_of(name)) for name in ROOMS) == len(FILES)


def test_every_room_is_known() -> None:
    assert set(ROOMS) <= set(STAIRCASE) | ANYTHING


@pytest.mark.parametrize("name", ROOMS)
def test_imports_only_walk_up_the_staircase(name: str) -> None:
    wrong = [f"{where(path, line)}: {target}" for path in files_of(name) for line, target in imports(path)
             if target.split(".")[0] == "sundog" and not allowed(module_of(path), target, path)]
    assert not wrong, wrong


def test_the_staircase_check_notices_a_wrong_step() -> None:
    statistics = SOURCE / "statistics" / "spectra.py"
    assert not allowed("sundog.statistics.maps.spectra", "sundog.data.dataset", statistics)
    assert not allowed("sundog.verdicts.compare", "sundog.models.flow", SOURCE / "verdicts" / "compare.py")
    assert allowed("sundog.verdicts.compare", "sundog.models.classifier", SOURCE / "verdicts" / "compare.py")


@pytest.mark.parametrize("name", ROOMS)
def test_imports_inside_functions_are_listed(name: str) -> None:
    wrong = [f"{where(path, line)}: {target}" for path in files_of(name) for line, target in inner_imports(path)
             if not is_listed(target, listed(path))]
    assert not wrong, wrong


def is_listed(target: str, names: set[str]) -> bool:
    return "*" in names or any(target == ok or target.startswith(ok + ".") for ok in names)


def arrows(paths: list[Path]) -> dict[str, set[str]]:
    """File -> files it imports, lazily and for typing too; the package's own front door stands above all."""
    return {module_of(path): {name for _, name in imports(path) if name.startswith("sundog.")} - {module_of(path)}
            for path in paths if module_of(path) != "sundog"}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Circles of a graph: strongly connected parts of more than one node (each node reaches every other)."""
    reach = {node: set(targets) for node, targets in graph.items()}
    for middle in graph:
        for node in graph:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    return sorted({" ".join(sorted(b for b in graph if b in reach[a] and a in reach.get(b, ()))) for a in graph
                   if a in reach[a]})


def test_no_circle() -> None:
    assert not [circle for circle in circles(arrows(FILES)) if not circle.startswith(PENDING)]


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b c"]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_the_chain_of_rooms_is_short() -> None:
    """Rooms on the longest way up, the front doors aside."""
    graph = {name: {room(target) for path in files_of(name) for _, target in imports(path)
                    if target.startswith("sundog.")} - {name, "reports"} - ANYTHING
             for name in ROOMS if name not in ANYTHING}

    def chain(name: str) -> int:
        return 1 + max((chain(target) for target in graph[name]), default=0)

    assert max(map(chain, graph)) <= 7, {name: chain(name) for name in graph}


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in FILES} - {SOURCE, SOURCE / "cli"}  # the command line: one file per word
    crowded = {str(folder.relative_to(SOURCE)): len(list(folder.glob("*.py"))) for folder in folders
               if len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) > MOST_FILES}
    assert not crowded


def test_every_library_is_declared() -> None:
    declared = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())["project"]
    wanted = declared["dependencies"] + [line for lines in declared["optional-dependencies"].values() for line in lines]
    known = {re.split(r"[<>=\[ ]", line)[0].lower().replace("-", "_") for line in wanted}
    known |= {IMPORT_NAMES.get(name, name) for name in known} | sys.stdlib_module_names | {"sundog"}
    used = {name.split(".")[0] for path in FILES for _, name in imports(path)}
    assert not used - known


def test_optional_libraries_stand_in_the_extra_that_the_error_names() -> None:
    extras = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    calls = [[argument.value for argument in node.args] for path in FILES for node in ast.walk(tree(path))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional"]
    assert len(calls) > 5
    missing = [(library, extra) for library, extra in calls
               if not any(re.split(r"[<>=\[ ]", line)[0].replace("-", "_") == library for line in extras[extra])]
    assert not missing


def test_no_drawer_for_everything() -> None:
    names = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert not names & FORBIDDEN_NAMES


@pytest.mark.parametrize("name", ROOMS)
def test_sizes(name: str) -> None:
    full = [str(path) for path in files_of(name) if path.read_text().count("\n") > 500]
    assert not full, f"a second noun moved in: split {full}"
    long = [f"{where(path, node.lineno)}: {node.name}, {body_lines(node)} lines" for path in files_of(name)
            for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef) and body_lines(node) > 60]
    assert not long, long


def body_lines(node: ast.FunctionDef) -> int:
    """Lines of a function after its docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return node.end_lineno - first.lineno + 1


@pytest.mark.parametrize("name", ROOMS)
def test_the_library_does_not_print(name: str) -> None:
    calls = [where(path, node.lineno) for path in files_of(name) for node in ast.walk(tree(path))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert not calls, calls


@pytest.mark.parametrize("module", ["sundog", "sundog.cli"])
def test_import_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_import_changes_nothing_in_the_world() -> None:
    # threadpoolctl, which scikit-learn needs, sets KMP_DUPLICATE_LIB_OK and KMP_INIT_AT_FORK: loaded before the look.
    code = ("import os, torch, numpy, sys, threadpoolctl\n"
            "before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), dict(os.environ)\n"
            "numpy_state = numpy.random.get_state()[1].copy()\n"
            "import sundog, importlib, pkgutil\n"
            "for item in pkgutil.walk_packages(sundog.__path__, 'sundog.'):\n"
            "    importlib.import_module(item.name)\n"
            "after = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), dict(os.environ)\n"
            "same = torch.equal(before[0], after[0]) and before[1:] == after[1:]\n"
            "sys.exit(not (same and (numpy_state == numpy.random.get_state()[1]).all()))\n")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_stranger_finds_the_room() -> None:
    """Every file that CONTRIBUTING.md names is there, and its table has rows for what people add."""
    root = SOURCE.parent.parent
    text = (root / "CONTRIBUTING.md").read_text().partition("## I want to add")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(rows) >= 30
    named = [name for row in rows for name in re.findall(r"`([a-z_/]+(?:\.py)?)`", row) if "/" in name or ".py" in name]
    missing = [name for name in named if not any((place / name).exists() for place in (SOURCE, root))]
    assert not missing
