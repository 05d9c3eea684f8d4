"""The judge of an earlier commit on the samples of judge_power: smallest epsilon, as a row beside today's.

Samples are drawn by today's tree, and judged by whatever `sundog` is on the path (p: the least of the rows, times their
number).

    python benchmarks/judge_former.py draw FOLDER
    git worktree add ../former 2a5770a
    PYTHONPATH=../former/src python benchmarks/judge_former.py judge FOLDER
    python benchmarks/judge_former.py table FOLDER
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

N, REPEATS = 2000, 2


def draw(folder: Path) -> None:
    """The columns of judge_peers, one file for each epsilon and repeat."""
    from judge_peers import COLUMNS
    from judge_power import FACTORS, Law, bound

    from sundog.random import numpy_stream

    folder.mkdir(parents=True, exist_ok=True)
    for kind, d, how in COLUMNS:
        law = Law(kind, d)
        start = bound(law, how, N)
        for repeat in range(REPEATS):
            for factor in FACTORS:
                rng, e = numpy_stream(repeat, kind, d, how, N, factor, repeat), start * factor
                x, y = law.sample(N, rng), law.deformed(N, how, e, rng)
                np.savez(folder / f"{kind} {d} {how}, {factor}, {repeat}.npz", x=x, y=y, e=e, seed=repeat)


def judge(folder: Path) -> None:
    """One line for each file."""
    import sundog

    with (folder / "judged.jsonl").open("w") as out:
        for path in sorted(folder.glob("*.npz")):
            held = np.load(path)
            rows = sundog.judge(*(sundog.Dataset.from_arrays(held[side].astype("f4")) for side in "xy"),
                                seed=int(held["seed"])).rows
            p = min(1.0, len(rows) * min(row.p_value for row in rows))
            out.write(json.dumps({"column": path.name.split(",")[0], "e": float(held["e"]), "p": p}) + "\n")


def table(folder: Path) -> None:
    """Epsilon of 95 % power at 1 %, column by column."""
    from judge_power import smallest

    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in map(json.loads, (folder / "judged.jsonl").read_text().splitlines()):
        found[line["column"]][line["e"]].append(line["p"])
    for column, values in found.items():
        print(f"{column}: {smallest(values):.3f}")


if __name__ == "__main__":
    {"draw": draw, "judge": judge, "table": table}[sys.argv[1]](Path(sys.argv[2]))
