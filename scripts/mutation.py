"""Mutation testing: plant small faults in the code, one at a time, and count how many the quick tests notice.

    pip install -e '.[dev,test]' -c constraints.txt
    python scripts/mutation.py work --mutants 300          # goes on where it was stopped
    python scripts/mutation.py work --tests all            # then the slow tests, on those the quick ones let pass
    python scripts/mutation.py work --show                 # table and survivors

Sites are drawn at random from the lines of data, train, solve, verdicts and tasks/anomaly that the quick tests run; the
fault at a site is one of cosmic-ray's operators. The tests that run that line, quickest first, decide. Libraries are
loaded once: every mutant is a fork of a process that has not yet imported sundog. A survivor that changes nothing a
user could see (a number in the words of an error, a tolerance) is named with its reason in `equivalent_mutants.toml`;
the table gives the share noticed with and without them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data", "train", "solve", "verdicts", "tasks/anomaly")
LEFT_OUT = ("RemoveDecorator", "_Is_", "_IsNot_", "LShift", "RShift", "Bit", "Is_", "ReplaceBinaryOperator_Mod")
LIBRARIES = ("astropy.io.fits", "h5py", "pandas", "pyarrow", "scipy.stats", "sklearn.ensemble", "torch", "zuko",
             "pytest")
SECONDS, TESTS = 50, 60  # of CPU for one mutant; the quickest tests of a line that are tried
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"


Tests = dict[str, dict[int, list[str]]]  # file -> line -> tests that run it, quickest first


def covered(work: Path, marker: str) -> tuple[Tests, dict[str, float]]:
    """The tests that run each line and the seconds each takes; measured once by running them under coverage."""
    stem = marker.replace(" ", "_")
    database, times = work / f"coverage_{stem}.sqlite", work / f"times_{stem}.json"
    if not times.exists():
        lines = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", marker, "tests", "--cov=sundog", "--cov-context=test",
             "--cov-report=", "--durations=0", "--durations-min=0", "-p", "no:cacheprovider"],
            cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(database)}, capture_output=True, text=True).stdout
        spent: dict[str, float] = {}
        for words in (line.split() for line in lines.splitlines()):
            if len(words) >= 3 and words[0].endswith("s") and words[1] in {"call", "setup"}:
                spent[" ".join(words[2:])] = spent.get(" ".join(words[2:]), 0.0) + float(words[0][:-1])
        times.write_text(json.dumps(spent))
    spent = json.loads(times.read_text())
    from coverage import CoverageData

    data = CoverageData(str(database))
    data.read()
    found = {}
    for file in data.measured_files():
        by_line = data.contexts_by_lineno(file)
        found[file] = {line: sorted({name.rpartition("|")[0] for name in names if name},
                                    key=lambda name: spent.get(name, 0.0)) for line, names in by_line.items()}
    return found, spent


def affordable(tests: list[str], spent: dict[str, float], seconds: float) -> list[str]:
    """The quickest tests that together take at most half the limit: what hits the limit is the fault, not the suite."""
    total, chosen = 0.0, tests[:1]
    for name in tests[1:TESTS]:
        total += spent.get(name, 0.0)
        if total > seconds / 2:
            break
        chosen.append(name)
    return chosen


def sites(tests: Tests) -> list[tuple[str, int, int, list[tuple[str, int]]]]:
    """(file, line, column, operators with their occurrence) of every place where a fault can be planted."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    names = [name for name in plugins.operator_names() if not any(part in name for part in LEFT_OUT)]
    operators = {name: plugins.get_operator(name)() for name in names if "NumberReplacer" in name or
                 not plugins.get_operator(name).arguments()}
    found: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for file in sorted(tests):
        if not any(f"src/sundog/{room}/" in file for room in ROOMS):
            continue
        tree = get_ast(Path(file).read_text())
        nodes = list(ast_nodes(tree))
        for name, operator in operators.items():
            occurrence = 0
            for node in nodes:
                for (row, column), _ in operator.mutation_positions(node):
                    if tests[file].get(row):
                        found.setdefault((file, row, column), []).append((name, occurrence))
                    occurrence += 1
    return [(*place, kinds) for place, kinds in sorted(found.items())]


def child(copy: Path, tests: list[str], seconds: int) -> None:
    """In a fork: run the tests on the mutated copy and leave with 0 when they pass."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    os.chdir(copy)
    sys.path.insert(0, str(copy / "src"))
    os.environ["PYTHONPATH"] = str(copy / "src")
    out = os.open(os.devnull, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    import pytest

    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
    os._exit(0 if code == 0 else 1)


def survives(copy: Path, tests: list[str], seconds: int = SECONDS) -> bool:
    """Whether the tests pass on the copy; a hang and a crash are noticed faults."""
    start, number = time.monotonic(), os.fork()
    if number == 0:
        os.setsid()
        child(copy, tests, seconds)
    while time.monotonic() - start < 4 * seconds:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return False


def ready(work: Path) -> Path:
    """The copy of the tree in which faults are planted; loads the libraries that every fork shares."""
    import torch

    copy = work / "copy"
    if not copy.exists():
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", "*.sqlite"))
    for name in LIBRARIES:
        importlib.import_module(name)
    torch.set_num_threads(1)
    return copy


def passes(copy: Path, row: dict, mutant: str, tests: list[str], seconds: int) -> bool:
    """Whether the tests pass with the fault planted; the copy is mended afterwards."""
    source = (ROOT / row["file"]).read_text()
    (copy / row["file"]).write_text(mutant)
    try:
        return survives(copy, tests, seconds)
    finally:
        (copy / row["file"]).write_text(source)


def planted(row: dict) -> str | None:
    """The file with the fault in it, or None where the operator finds nothing to change."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / row["file"]).read_text()
    try:
        mutant = mutate_code(source, plugins.get_operator(row["operator"])(), row["occurrence"])
    except AttributeError:  # cosmic-ray 8.7 cannot exchange an exception with a dot in its name
        return None
    return None if mutant == source else mutant


def mutate(work: Path, count: int, seed: int) -> None:
    """Plant the faults and note each outcome as one line of ``outcomes.jsonl``."""
    tests, spent = covered(work, "not slow")
    places, outcomes, rng = sites(tests), work / "outcomes.jsonl", random.Random(seed)
    chosen = [(place, rng.choice(place[3])) for place in rng.sample(places, min(count, len(places)))]
    known = {(row["file"], row["line"], row["column"], row["operator"]) for row in read(outcomes)}
    copy = ready(work)
    for (file, line, column, _), (name, occurrence) in chosen:
        row = {"file": str(Path(file).relative_to(ROOT)), "line": line, "column": column, "operator": name,
               "occurrence": occurrence}
        mutant = planted(row)
        if mutant is None or (row["file"], line, column, name) in known:
            continue
        row["was"], row["now"] = (text.splitlines()[line - 1].strip() for text in (Path(file).read_text(), mutant))
        chance = affordable(tests[file][line], spent, SECONDS)
        row |= {"survived": passes(copy, row, mutant, chance, SECONDS), "tests": len(chance)}
        with outcomes.open("a") as out:
            out.write(json.dumps(row) + "\n")


def again(work: Path) -> None:
    """Give the survivors to the slow tests of their lines; ``outcomes.jsonl`` is written anew after each."""
    (tests, spent), outcomes, copy = covered(work, "slow"), work / "outcomes.jsonl", ready(work)
    rows = read(outcomes)
    for row in rows:
        slow = tests.get(str(ROOT / row["file"]), {}).get(row["line"], [])
        mutant = planted(row)
        if row["survived"] and "slow" not in row and slow and mutant:
            chance = affordable(slow, spent, 10 * SECONDS)
            row |= {"survived": passes(copy, row, mutant, chance, 10 * SECONDS), "slow": len(chance)}
            outcomes.write_text("".join(json.dumps(other) + "\n" for other in rows))


def read(path: Path) -> list[dict]:
    """Outcomes so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reasons() -> dict[tuple[str, str, str], str]:
    """(file, line before, line after) of each fault that nothing could notice -> why."""
    listed = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    return {(one["file"], squeezed(one["was"]), squeezed(one["now"])): one["why"] for one in listed}


def squeezed(line: str) -> str:
    """The line without spaces, which the operators scatter."""
    return "".join(line.split())


def show(work: Path) -> None:
    """The share noticed per room, with and without the equivalent ones, and every survivor."""
    rows, why = read(work / "outcomes.jsonl"), reasons()
    for row in rows:
        row["why"] = why.get((row["file"], squeezed(row["was"]), squeezed(row["now"])))
    print("| room | mutants | noticed | equivalent | noticed of the others |\n|---|---|---|---|---|")
    for room in (*ROOMS, ""):
        here = [row for row in rows if f"src/sundog/{room}" in row["file"]]
        caught = sum(not row["survived"] for row in here)
        equal = sum(row["survived"] and row["why"] is not None for row in here)
        print(f"| {room or 'all'} | {len(here)} | {caught} ({100 * caught / max(len(here), 1):.0f} %) | {equal} | "
              f"{100 * caught / max(len(here) - equal, 1):.0f} % |")
    for row in rows:
        if row["survived"]:
            print(f"\n{row['file']}:{row['line']} ({row['tests']} tests)\n  was {row['was']}\n  now {row['now']}")
            print(f"  equivalent: {row['why']}" if row["why"] else "  LEFT")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", choices=("quick", "all"), default="quick", help="all: survivors meet the slow tests")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if not given.show:
        mutate(given.work.resolve(), given.mutants, given.seed)
        if given.tests == "all":
            again(given.work.resolve())
    show(given.work)
