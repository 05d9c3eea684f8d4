"""How much do columns of noise cost trees, and networks? A table of docs/anomaly_methods.md.

    python benchmarks/anomaly_noise.py run     one JSON line per result; a second start goes on
    python benchmarks/anomaly_noise.py show

LHC-Olympics-like events (--data or SUNDOG_DATA): 30,000 QCD and 300 signal events inside 3.3 to 3.7 TeV against 30,000
other QCD events (idealised), or against as many beside the window (CWoLa); 4 features, 5 with the distance of the jets,
6 with the momentum of the leading one, 10 and 20 with columns of normal noise beside 5. Tested on 80,000 QCD and 20,000
signal events. 0 signal events is the control without signal, ``supervised`` that with nothing but signal. Where
LightGBM is installed, its trees too, with 4 and 20 columns. Also: --trials N, --kinds trees network LightGBM,
--columns N ...
"""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from sundog.models.classifier import Classifier, TreeEnsemble
from sundog.random import numpy_stream
from sundog.tasks.anomaly import SignalRegion, sic_curve
from sundog.train.classifier import NetworkClassifier

REGION, N, SIGNAL, TESTED = SignalRegion(3.3, 3.7), 30_000, 300, (80_000, 20_000)
COLUMNS = {4: 4, 5: 5, 6: 6, 10: 5, 20: 5}  # columns -> features among them; the others are noise


class LightTrees(Classifier):
    """``TreeEnsemble`` by LightGBM: as many trees, leaves, levels and members, stopped early by the same rule."""

    def __init__(self, members: int, seed: int) -> None:
        self.members, self.seed, self.trees = members, seed, list[Any]()

    def fit(self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None = None) -> LightTrees:
        """The ensemble itself; half of the rows decide when to stop."""
        import lightgbm

        assert weights is not None  # of the call below
        for i in range(self.members):
            order = numpy_stream(self.seed + i, "validation").permutation(len(x))
            kept, held = order[: len(x) // 2], order[len(x) // 2 :]
            trees = lightgbm.LGBMClassifier(n_estimators=200, learning_rate=0.1, num_leaves=31, min_child_samples=20,
                                            max_bin=255, n_jobs=1, random_state=self.seed + i, verbose=-1)
            self.trees.append(trees.fit(x[kept].numpy(), y[kept].numpy(), weights[kept].numpy(),
                                        eval_set=[(x[held].numpy(), y[held].numpy())],
                                        eval_sample_weight=[weights[held].numpy()],
                                        callbacks=[lightgbm.early_stopping(10, verbose=False)]))
        return self

    def predict_log_odds(self, x: torch.Tensor) -> torch.Tensor:
        """Mean log-odds of the members."""
        return torch.from_numpy(np.mean([t.predict(x.numpy(), raw_score=True) for t in self.trees], axis=0))


KINDS = {"trees": lambda seed: TreeEnsemble(5, seed, validation=0.5),
         "network": lambda seed: NetworkClassifier(3, seed, epochs=10, validation=0.5),
         "LightGBM": lambda seed: LightTrees(5, seed)}
ROWS = [("supervised", "trees", SIGNAL), ("idealised", "trees", SIGNAL), ("idealised", "network", SIGNAL),
        ("CWoLa", "trees", SIGNAL), ("idealised", "trees", 0), ("idealised", "network", 0),
        ("supervised", "LightGBM", SIGNAL), ("idealised", "LightGBM", SIGNAL)]


def inside(rows: np.ndarray) -> np.ndarray:
    return (rows[:, 0] > REGION.lo) & (rows[:, 0] < REGION.hi)


def measured(qcd: np.ndarray, signal: np.ndarray, columns: int, how: str, kind: str, injected: int, trial: int
             ) -> dict[str, Any]:
    start, g = time.process_time(), numpy_stream(trial, "columns of noise")
    qcd, signal = g.permutation(qcd), g.permutation(signal)
    window, real = qcd[inside(qcd)], signal[inside(signal)]
    beside = qcd[~inside(qcd) & (np.abs(qcd[:, 0] - 3.5) < 0.4)]
    other = beside[:N] if how == "CWoLa" else window[2 * N : 3 * N]
    data = real[TESTED[1] : TESTED[1] + 5000] if how == "supervised" else \
        np.concatenate([window[:N], real[TESTED[1] : TESTED[1] + injected]])
    parts = [data, other, window[3 * N : 3 * N + TESTED[0]], real[: TESTED[1]]]
    k = COLUMNS[columns]
    x = [torch.from_numpy(np.column_stack([p[:, 1 : k + 1], g.normal(size=(len(p), columns - k))])) for p in parts]
    y = (torch.arange(len(data) + len(other)) < len(data)).double()
    classifier: Classifier = KINDS[kind](100 * trial)
    classifier.fit(torch.cat(x[:2]), y, torch.where(y == 1, 0.5 / len(data), 0.5 / len(other)) * len(y))
    score = classifier.predict_log_odds(torch.cat(x[2:]))
    curve = sic_curve(np.repeat([0, 1], TESTED), score)
    return {"auc": roc_auc_score(np.repeat([0, 1], TESTED), score), "sic": curve.at(1e-3),
            "at 1e-2": curve.at(1e-2), "max": curve.max_sic,
            "cpu": round(time.process_time() - start, 1)}


KEY = ("columns", "how", "kind", "injected", "trial")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[dict[str, Any]]) -> None:
    """Median over the trials and 16 to 84 %."""
    print("| columns | of noise | method | classifier | signal | trials | SIC at 1e-2 | at 1e-3 | max SIC | CPU s |")
    print("|---" * 10 + "|")
    for columns, real in COLUMNS.items():
        for how, kind, injected in ROWS:
            some = [r for r in rows if tuple(r[k] for k in KEY[:4]) == (columns, how, kind, injected)]
            if some:
                quantiles = [np.quantile([r[name] for r in some], [0.5, 0.16, 0.84])
                             for name in ("at 1e-2", "sic", "max")]
                cells = [str(columns), str(columns - real), how, kind, "all" if how == "supervised" else str(injected),
                         str(len(some)), *(f"{m:.1f} ({low:.1f} to {high:.1f})" for m, low, high in quantiles),
                         f"{np.median([r['cpu'] for r in some]):.0f}"]
                print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly-noise.jsonl"))
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--columns", type=int, nargs="+", default=list(COLUMNS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "show":
        show(rows_of(given.results))
        return
    with np.load(given.data / "dijets" / "lhcolike_dijets.npz") as file:
        qcd, signal = file["qcd"][:, :7].astype(float), file["signal"][:, :7].astype(float)
    done = {tuple(row[k] for k in KEY) for row in rows_of(given.results)}
    given.results.parent.mkdir(parents=True, exist_ok=True)
    for trial in range(given.trials):
        for columns in given.columns:
            for how, kind, injected in ROWS:
                key = (columns, how, kind, injected, trial)
                absent = kind == "LightGBM" and (columns not in (4, 20) or find_spec("lightgbm") is None)
                if key not in done and not absent and kind in given.kinds:
                    row = dict(zip(KEY, key)) | measured(qcd, signal, *key)
                    print(json.dumps(row), flush=True)
                    with given.results.open("a") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
