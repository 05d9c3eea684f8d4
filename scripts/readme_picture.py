"""Draw the picture of README from what `sundog demo` left.

Run: python scripts/readme_picture.py demo docs/images/demo.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import sundog
from sundog.data.public.access import sample

INK, REAL, FAKE = "#333333", "#222222", "#e07a1f"


def main(folder: Path, picture: Path) -> None:
    """Two marginals, real beside fake with Poisson errors, and the pull of every statistic."""
    real, fake = sample("dijets").held_out, sundog.load(folder / "fakes.npz")
    rows = json.loads((folder / "verdict.json").read_text())["rows"]
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", width_ratios=[1, 1, 1.1])
    for panel, name in zip(panels, ("m_j1", "tau21_j1")):
        marginal(panel, real, fake, name)
    panels[0].legend(frameon=False)
    pulls = [row for row in rows if row["name"] not in ("copies", "repeats")][::-1]
    panels[2].barh([row["name"] for row in pulls], [row["pull"] for row in pulls], color=FAKE, height=0.5)
    panels[2].axvspan(-2, 2, color="#dddddd", zorder=0)
    panels[2].set_xlabel("sigma from real against real (grey: 2)")
    panels[2].tick_params(labelsize=8)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def marginal(panel: plt.Axes, real: sundog.Dataset, fake: sundog.Dataset, name: str) -> None:
    column = real.names.index(name)
    x, y = real.values[:, column].numpy(), fake.values[:, column].numpy()
    edges = np.linspace(*np.quantile(x, [0.002, 0.998]), 31)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.histogram(x, edges)[0]
    panel.errorbar(middle, counts, np.sqrt(counts), fmt=".", color=REAL, markersize=4, lw=1, label="real, held out")
    panel.stairs(np.histogram(y, edges)[0] * len(x) / len(y), edges, color=FAKE, linewidth=1.5, label="fake")
    unit = real.units[column]
    panel.set(xlabel=name + (f" [{unit}]" if unit else ""), ylabel="events per bin")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
