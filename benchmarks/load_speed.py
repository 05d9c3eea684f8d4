"""How long does `sundog.load` take beside the bare libraries, and how much memory? Files of 10^6 x 10, float32 rows.

    python benchmarks/load_speed.py

Prints CPU seconds of csv, parquet, HDF5, npz and npy, the least of 7, the ratio to the fastest other library, and
the peak of the memory above what was held before, over the 40 MB of the rows (Linux).
"""

from __future__ import annotations

import gc
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow
import torch

import sundog


def seconds(read: Callable[[], Any]) -> float:
    start = time.process_time()
    read()
    return time.process_time() - start


def memory(read: Callable[[], Any]) -> float:
    """Most megabytes that this process held while reading, above those before."""
    def held(kind: str) -> float:
        return int(re.findall(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024e-6

    gc.collect()
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = held("VmRSS")
    rows = read()
    peak = held("VmHWM") - before
    del rows
    return peak


def from_hdf5(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["x"][()]


def looked_through(path: Path) -> np.ndarray:
    """As `from_hdf5`, with the one pass over the numbers that finds NaN and infinities."""
    x = from_hdf5(path)
    torch.from_numpy(x).aminmax()
    return x


def exact_numbers(path: Path) -> None:
    """pyarrow alone, text to float64 block by block, nothing kept: the floor of csv."""
    kinds = arrow.ConvertOptions(column_types={f"c{i}": pa.float64() for i in range(10)}, null_values=[""])
    with arrow.open_csv(path, arrow.ReadOptions(block_size=1 << 17), convert_options=kinds) as blocks:
        for _ in blocks:
            pass


def main() -> None:
    x = np.random.default_rng(0).normal(size=(10**6, 10)).astype("f4")
    frame = pd.DataFrame(x, columns=[f"c{i}" for i in range(10)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.to_csv(folder / "a.csv", index=False)
        frame.to_parquet(folder / "a.parquet")
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = x
        np.savez(folder / "a.npz", x=x)
        np.save(folder / "a.npy", x)
        bare = {"csv": {"pandas": lambda p: pd.read_csv(p).to_numpy("f4"),
                        "pyarrow": lambda p: arrow.read_csv(p).to_pandas().to_numpy("f4"),
                        "(pyarrow, nothing kept)": exact_numbers},
                "parquet": {"pandas": lambda p: pd.read_parquet(p).to_numpy("f4")}, "h5": {
                    "h5py": from_hdf5, "(h5py, numbers looked through)": looked_through},
                "npz": {"numpy": lambda p: np.load(p)["x"]}, "npy": {"numpy": np.load}}
        for kind, others in bare.items():
            path = folder / f"a.{kind}"
            jobs = {"sundog": sundog.load, **others}
            spent = {label: min(seconds(lambda read=read, path=path: read(path)) for _ in range(7))
                     for label, read in jobs.items()}
            peaks = {label: memory(lambda read=read, path=path: read(path)) / 40 for label, read in jobs.items()}
            fastest = min(spent[label] for label in others if label[0] != "(")
            print(f"{kind:8}" + "  ".join(f"{label} {spent[label]:.4f} s {peaks[label]:.2f} x" for label in jobs)
                  + f"  ratio to the fastest {spent['sundog'] / fastest:.2f}")


if __name__ == "__main__":
    main()
