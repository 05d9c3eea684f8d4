"""How long does `sundog.load` take beside the bare libraries? From a file of 10^6 x 10 to float32 rows, best of 5.

    python benchmarks/load_speed.py

Prints CPU seconds of csv, parquet and HDF5 and the ratio to the fastest other library.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.csv as arrow

import sundog


def main() -> None:
    x = np.random.default_rng(0).normal(size=(10**6, 10)).astype("f4")
    frame = pd.DataFrame(x, columns=[f"c{i}" for i in range(10)])

    def best(read: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            read()
            times.append(time.process_time() - start)
        return min(times)

    def from_hdf5(path: Path) -> np.ndarray:
        with h5py.File(path) as file:
            return file["x"][()]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sundog.Dataset.from_arrays(x[:9]).save(folder / "warm.csv")
        sundog.load(folder / "warm.csv")  # imports are not timed
        frame.to_csv(folder / "a.csv", index=False)
        frame.to_parquet(folder / "a.parquet")
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = x
        bare = {"csv": {"pandas": lambda p: pd.read_csv(p).to_numpy("f4"),
                        "pyarrow": lambda p: arrow.read_csv(p).to_pandas().to_numpy("f4")},
                "parquet": {"pandas": lambda p: pd.read_parquet(p).to_numpy("f4")}, "h5": {"h5py": from_hdf5}}
        for kind, others in bare.items():
            path = folder / f"a.{kind}"
            own = best(lambda path=path: sundog.load(path))
            rest = {label: best(lambda path=path, read=read: read(path)) for label, read in others.items()}
            print(f"{kind:8} sundog {own:.2f} s  " + "  ".join(f"{label} {t:.2f} s" for label, t in rest.items())
                  + f"  ratio to the fastest {own / min(rest.values()):.2f}")


if __name__ == "__main__":
    main()
