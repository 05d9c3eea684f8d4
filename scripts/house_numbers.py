"""Numbers of the house: lines, files, circles, the longest chain of rooms, functions, places written twice.

    python scripts/house_numbers.py [folder of a checkout]
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

WINDOW = 6  # lines that make two places alike


def modules(source: Path) -> dict[str, Path]:
    """Dotted name -> file."""
    return {".".join(("sundog", *path.relative_to(source).with_suffix("").parts)).removesuffix(".__init__"): path
            for path in sorted(source.rglob("*.py"))}


def arrows(known: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> modules it imports, lazily and for typing too; the front door of the package left out."""
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.ImportFrom) and node.module and not node.level]
        targets = {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module
                   for node in nodes for alias in node.names}
        found[name] = {target for target in targets if target in known} - {name, "sundog"}
    found.pop("sundog", None)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach one another."""
    reach = {node: set(targets) for node, targets in graph.items()}
    for middle in graph:
        for node in graph:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    groups = {frozenset(b for b in graph if b in reach[a] and a in reach[b]) for a in graph if a in reach[a]}
    return [set(group) for group in groups]


def chain(graph: dict[str, set[str]]) -> int:
    """Rooms on the longest way up, front doors aside; what circles back counts once."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        rooms[name.split(".")[1]] |= {target.split(".")[1] for target in targets}
    rooms = {room: targets - {room, "cli", "demos"} for room, targets in rooms.items() if room not in ("cli", "demos")}

    def length(room: str, seen: frozenset[str]) -> int:
        return 1 + max((length(up, seen | {room}) for up in rooms.get(room, ()) if up not in seen), default=0)

    return max(length(room, frozenset({room})) for room in rooms)


def bodies(known: dict[str, Path]) -> list[int]:
    """Lines of every function after its docstring."""
    found = []
    for path in known.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                found.append(node.end_lineno - first.lineno + 1)
    return sorted(found)


def repeats(known: dict[str, Path]) -> int:
    """Pairs of places that share six or more lines to the letter; imports, comments and lone brackets do not count."""
    places = defaultdict(list)
    for name, path in known.items():
        lines = [(i, line.strip()) for i, line in enumerate(path.read_text().splitlines()) if line.strip()]
        lines = [(i, line) for i, line in lines if len(line) > 3 and not line.startswith(("#", "import ", "from "))]
        for k in range(len(lines) - WINDOW + 1):
            places[tuple(line for _, line in lines[k : k + WINDOW])].append((name, k))
    pairs = {(a, b) for found in places.values() if 1 < len(found) <= 8 for a, b in combinations(found, 2)}
    return sum(((a[0], a[1] - 1), (b[0], b[1] - 1)) not in pairs for a, b in pairs)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
    source = root / "src" / "sundog"
    known = modules(source)
    graph, lengths = arrows(known), bodies(known)
    sizes = {name: path.read_text().count("\n") for name, path in known.items()}
    largest = max(sizes, key=sizes.__getitem__)
    crowded = max({path.parent for path in known.values()}, key=lambda folder: len(list(folder.glob("*.py"))))
    rows = {
        "lines": sum(sizes.values()), "files": len(known), "circles": len(circles(graph)),
        "longest chain of rooms": chain(graph), "places written twice": repeats(known), "functions": len(lengths),
        "median function": statistics.median(lengths), "nine in ten functions up to": lengths[int(0.9 * len(lengths))],
        "largest file": f"{sizes[largest]} ({largest})",
        "fullest folder": f"{len(list(crowded.glob('*.py')))} ({crowded.relative_to(source)})",
    }
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
