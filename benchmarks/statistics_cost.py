"""What the statistics cost on one core: every entry of the image catalogue, and the distances. Prints a table."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from sundog import statistics as st


def cpu_seconds(call: Callable[[], object]) -> float:
    """The best of two calls, in seconds of CPU time."""
    spent = []
    for _ in range(2):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = st.gaussian_smooth(torch.randn(1000, 80, 80, generator=generator), 2.0)
    x, y = (torch.randn(5000, 10, generator=generator) for _ in range(2))
    frame = st.Frame.of(images)
    rows = {s.name: cpu_seconds(lambda s=s: s.measure(images, frame)) for s in st.catalogue("images")}
    rows["all of the catalogue"] = sum(rows.values())
    rows["features"] = cpu_seconds(lambda: st.features(images, frame))
    rows["Frame.of"] = cpu_seconds(lambda: st.Frame.of(images))
    pairs = (st.wasserstein_1, st.sliced_wasserstein, st.energy_distance, st.mmd_permutation, st.frechet_distance,
             st.precision_recall_density_coverage)
    distances = {f"`{f.__name__}`": cpu_seconds(lambda f=f: f(x, y)) for f in pairs}
    for title, table in (("1000 images of 80 x 80", rows), ("2 x 5000 samples of 10 features", distances)):
        print(f"\n| {title} | CPU s |\n|---|---|")
        print("\n".join(f"| {name} | {seconds:.2f} |" for name, seconds in table.items()))


if __name__ == "__main__":
    main()
