"""How much faster than the plain loop is the search with mismatches? The table of docs/series.md comes from here.

    python benchmarks/search.py    CPU seconds, one thread; the naive loop compares one symbol with the whole text
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from sundog.statistics.search import hamming_distances


def naive(text: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """The vectorised plain way: m comparisons of whole rows."""
    places = len(text) - len(pattern) + 1
    found = np.zeros(places, dtype=np.int64)
    for j, symbol in enumerate(pattern):
        found += text[j : j + places] != symbol
    return found


def timed(work: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        spent.append(time.process_time() - start)
    return min(spent), result


def main() -> None:
    torch.set_num_threads(1)
    print("| text | pattern | symbols | naive | ours | ratio | equal |\n|---|---|---|---|---|---|---|")
    for n, m, symbols in ((100_000, 1000, 4), (100_000, 1000, 64), (100_000, 1000, 1000), (200_000, 10_000, 4)):
        generator = np.random.Generator(np.random.SFC64(n + m + symbols))
        text, pattern = generator.integers(0, symbols, n), generator.integers(0, symbols, m)
        slow, expected = timed(lambda: naive(text, pattern), 2)  # noqa: B023
        fast, found = timed(lambda: hamming_distances(text, pattern).numpy(), 5)  # noqa: B023
        print(f"| {n} | {m} | {symbols} | {slow:.2f} s | {fast * 1e3:.0f} ms | {slow / fast:.0f} | "
              f"{np.array_equal(found, expected)} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
