"""What happens to the files that people have? Each input gives the right value, a clear error, or a wrong answer.

    python benchmarks/doors.py            the table of docs/files.md
    python benchmarks/doors.py --each     one line per input

A value is right when names and numbers are those that were written, and what was dropped or changed is noted. An
error is clear when it is a SundogError that says the words expected. All else, tracebacks included, is wrong.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import itertools
import pickle
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from doors_data import FRAME, MAP, NAMES, Case, X, half
from doors_maps import images, skies

import sundog
from sundog.errors import SundogError


def table(data: Any, names: tuple[str, ...] = NAMES, note: str = "", x: np.ndarray = X) -> bool:
    """Whether a Dataset holds the table, under these names, with that note."""
    return data.names == names and data.values.shape == x.shape and np.allclose(data.values.numpy(), x, atol=1e-5) \
        and note in " ".join(data.provenance.get("notes", ()))


def written(name: str, content: str | bytes) -> Callable[[Path], Any]:
    """Writes the content under that name, packed as its suffix says, and loads it."""
    def make(folder: Path) -> Any:
        raw = content.encode() if isinstance(content, str) else content
        packed = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, lambda raw: raw)(raw)
        (folder / name).write_bytes(packed)
        return sundog.load(folder / name)
    return make


def text(separator: str = ",", decimal: str = ".", header: str | None = None, end: str = "\n", prefix: str = "",
         tail: str = "", quote: str = "") -> str:
    """The table as text of a dialect."""
    rows = [separator.join(quote + f"{v:.4f}".replace(".", decimal) + quote for v in row) + tail for row in X]
    head = separator.join(NAMES) if header is None else header
    lines = ([head + tail] if head else []) + rows
    return prefix + end.join(lines) + end


def texts() -> Iterator[Case]:
    """Text tables: every dialect under every suffix, and what is no table."""
    group = "text tables"
    for (label, content), suffix in itertools.product({
            "commas": text(), "semicolons": text(";"), "tabs": text("\t"), "bars": text("|"),
            "decimal commas": text(";", ","), "Windows line ends": text(end="\r\n"), "quotes": text(quote='"'),
            "a byte-order mark": text(prefix="\ufeff"), "# header": text(header="# m_jj,tau21,pt"),
            "white space": text("   ", header="# m_jj tau21 pt"), "a separator at each end": text(tail=","),
            "remarks above": text(prefix="# made by hand\n\n"), "blanks around": text(" , ")}.items(),
            (".csv", ".txt", ".dat", ".tsv.gz", ".csv.bz2")):
        yield group, f"{label} ({suffix})", written(f"a{suffix}", content), table
    plain = ("x0", "x1", "x2")
    yield group, "header 0,1,2", written("a.csv", text(header="0,1,2")), lambda d: table(d, plain, "only counts")
    yield group, "no header", written("a.csv", text(header="")), lambda d: table(d, plain, "no header")
    yield group, "pandas' index", written("a.csv", FRAME.to_csv()), lambda d: table(d, note="row numbers")
    yield group, "a filtered index", written("a.csv", FRAME.iloc[::2].to_csv()), \
        lambda d: table(d, note="row numbers", x=X[::2])
    yield group, "UTF-16", written("a.csv", text().encode("utf-16")), table
    big = FRAME.assign(pt=np.arange(40) * 12345.0)
    thousands = "m_jj,tau21,pt\n" + "".join(f'{a},{b},"{c:,.0f}"\n' for a, b, c in big.to_numpy())
    yield group, "thousands", written("a.csv", thousands), \
        lambda d: table(d, note="thousands", x=big.to_numpy())
    european = "m_jj;tau21;pt\n" + "".join(f"{a};{b};{c:_.1f}\n".replace(".", ",").replace("_", ".")
                                           for a, b, c in big.to_numpy())
    yield group, "1.234,5", written("a.csv", european), lambda d: table(d, note="decimal commas", x=big.to_numpy())
    yield group, "Fortran exponents", written("a.csv", "a,b\n1.5D0,2D+00\n"), \
        lambda d: table(d, ("a", "b"), "Fortran", np.array([[1.5, 2.0]]))
    yield group, "units in the header", written("a.csv", "m [TeV],k\n1,2\n3,4\n"), lambda d: d.units == ("TeV", "")
    yield group, "an id far down", written("a.csv", "a,b\n" + "1,2\n" * 5000 + "123456789,2\n"), \
        lambda d: float(d.values[-1, 0]) == 123456789
    yield group, "a column for weights", lambda p: (written("a.csv", text())(p), sundog.load(
        p / "a.csv", weights="pt"))[1], lambda d: np.allclose(d.weights, X[:, 2]) and d.names == NAMES[:2]
    yield group, "columns and units by name", lambda p: (written("a.csv", text())(p), sundog.load(
        p / "a.csv", columns=["pt", "m_jj"], units={"m_jj": "TeV"}))[1], \
        lambda d: table(d, ("pt", "m_jj"), x=X[:, [2, 0]]) and d.units == ("", "TeV")
    yield group, "a misspelt column", lambda p: (written("a.csv", text())(p), sundog.load(
        p / "a.csv", columns=["ptt"]))[1], "did you mean pt"
    yield group, "integers, then decimals", written("a.csv", "a,b\n" + "1,2\n" * 5000 + "1.5,2\n"), \
        lambda d: float(d.values[-1, 0]) == 1.5
    yield group, "true and false", written("a.csv", "a,b\n1,true\n2,false\n"), \
        lambda d: d.values[:, 1].tolist() == [1, 0]
    for label, content, words in (
            ("rows longer than the header", "a,b\n1,2,3\n4,5,6\n", "names in the header"),
            ("one long row", "a,b\n1,2\n1,2,3\n", "names in the header"),
            ("a short row far down", "a,b\n" + "1,2\n" * 99 + "1\n", "Expected 2 columns"),
            ("two columns of one name", "a,a\n1,2\n", "share a name"),
            ("a line of units", "a,b\nGeV,TeV\n1,2\n", "'GeV' in row 1"),
            ("text in a column", "a,b\n1,x\n2,y\n", "columns=\\['a'\\]"),
            ("one bad cell", "a,b\n" + "1,2\n" * 50 + "1,-\n", "'-' in row 51"),
            ("empty cells", "a,b\n1,\n2,3\n", "1 of 2 rows"), ("infinities", "a,b\n1,inf\n2,3\n", "1 of 2 rows"),
            ("dates", "a,b\n2020-01-01,2\n", "not numbers"), ("no rows", "a,b\n", "no numbers"),
            ("remarks only", "# nothing\n", "no rows"), ("nothing", "", "empty"),
            ("bytes", b"\x00\xff\xfe\x00" * 99, "cannot read"), ("Latin-1", "µ,b\n1,2\n".encode("latin-1"), "UTF-8"),
            ("a column without a name", "a,,c\n1,2,3\n", "no name for column 2")):
        yield group, label, written("a.csv", content), words
    yield group, "half a .gz", lambda p: written("a.csv", text())(half(p, "a.csv.gz", gzip.compress(text().encode()))) \
        and sundog.load(p / "a.csv.gz"), "cannot read"


def arrays() -> Iterator[Case]:
    """npy, npz, HDF5, Parquet, ROOT."""
    columns = {name: FRAME[name].to_numpy() for name in NAMES}

    def npz(**held: Any) -> Callable[[Path], Any]:
        return lambda p: (np.savez(p / "a.npz", **held), sundog.load(p / "a.npz"))[1]

    def npy(x: np.ndarray, **how: Any) -> Callable[[Path], Any]:
        return lambda p: (np.save(p / "a.npy", x), sundog.load(p / "a.npy", **how))[1]

    group = "npy and npz"
    yield group, "one array per column", npz(**columns), lambda d: table(d, note="one table")
    yield group, "columns (n, 1)", npz(**{k: v[:, None] for k, v in columns.items()}), table
    yield group, "an array, names, weights", npz(X=X, columns=list(NAMES), w=np.arange(40.0)), \
        lambda d: table(d) and d.weights[3] == 3
    yield group, "an array and labels", npz(X=X, y=np.zeros(40)), \
        lambda d: "left out: y" in " ".join(d.provenance["notes"])
    yield group, "several arrays", npz(a=X, b=X), "key='a'"
    yield group, "lengths that differ", npz(a=X[:, 0], b=X[:9, 0]), "several arrays"
    yield group, "objects", npz(a=np.array([{}, 1], dtype=object)), "Python objects"
    yield group, "a structured array", npy(np.rec.fromarrays(list(columns.values()), names=list(NAMES))), table
    yield group, "complex numbers", npy(X * 1j), "no array of numbers|not real"
    for kind in (">f4", "f2", "<i8", ">i2", "u1", "?"):
        small = (np.arange(6).reshape(3, 2) % 2).astype(kind)
        yield group, f"type {kind}", npy(small), lambda d, small=small: (d.values.numpy() == small.astype(float)).all()
    for label, shape, right, note in (
            ("channels last", (9, 24, 30, 3), (9, 3, 24, 30), "last axis"),
            ("n maps", (9, 24, 30), (9, 24, 30), "9 maps"), ("channels first", (9, 3, 24, 30), (9, 3, 24, 30), ""),
            ("particles", (99, 30, 4), (99, 30, 4), "particles"),
            ("a wide array", (99, 80), (1, 99, 80), "kind='events'"), ("a line", (99,), (99, 1), ""),
            ("one map of three channels", (3, 24, 30), (3, 24, 30), "names=")):
        yield group, f"layout: {label}", npy(np.ones(shape)), lambda d, right=right, note=note: \
            tuple(d.values.shape) == right and note in " ".join(d.provenance.get("notes", ()))
    yield group, "0 to 255", npy(np.ones((9, 24, 30), "u1")), lambda d: "255" in " ".join(d.provenance["notes"])
    yield group, "no rows", npy(np.ones((0, 3))), "no numbers"
    yield group, "half a file", lambda p: (npy(X)(p), half(p, "a.npy", (p / "a.npy").read_bytes()),
                                           sundog.load(p / "a.npy")), "cannot read"
    yield group, "gaps without a mask", npy(np.where(MAP > 1, np.nan, MAP), kind="images"), "mask="
    yield group, "gaps with a mask", npy(np.where(MAP > 1, np.nan, MAP), kind="images", mask=MAP <= 1), \
        lambda d: bool(np.array_equal(d.values[0].numpy(), np.where(MAP > 1, 0, MAP)))
    yield from _hdf5(columns)
    yield from _parquet()
    yield from _root(columns)


def _hdf5(columns: dict[str, np.ndarray]) -> Iterator[Case]:
    def h5(fill: Callable[[Any], Any], **how: Any) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            with h5py.File(folder / "a.h5", "w", track_order=True) as file:
                fill(file)
            return sundog.load(folder / "a.h5", **how)
        return make

    def frame(file: Any, rows: int = 40) -> None:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": b"frame", "nblocks": 1})
        group["axis0"] = group["block0_items"] = np.array([name.encode() for name in NAMES])
        axis = group.create_dataset("axis1", data=np.zeros(max(rows, 1)))
        group["block0_values"] = X[:rows] if rows else np.zeros((1, 1))
        if not rows:
            axis.attrs["shape"] = np.bytes_(b"(I0\ntp0\n.")

    def filtered(file: Any, code: int) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(X.shape)
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
        item = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple(X.shape), plist)
        item.write_direct_chunk((0, 0), X.tobytes())

    group = "HDF5"
    named = np.array(NAMES, dtype=h5py.string_dtype())
    yield group, "one dataset per column", h5(
        lambda f: [f.create_dataset(f"e/{k}", data=v) for k, v in columns.items()]), \
        lambda d: sorted(d.names) == sorted(NAMES) and np.allclose(np.stack([d[n] for n in NAMES], 1), X, atol=1e-5)
    yield group, "names as a text dataset", h5(lambda f: (f.create_dataset("X", data=X),
                                                          f.create_dataset("columns", data=named))), table
    yield group, "names as an attribute", h5(
        lambda f: f.create_dataset("X", data=X).attrs.update(names=list(NAMES))), table
    yield group, "weights beside", h5(
        lambda f: (f.create_dataset("X", data=X), f.create_dataset("w", data=X[:, 0]))), \
        lambda d: d.weights is not None and "holds the weights" in " ".join(d.provenance["notes"])
    yield group, "pandas, fixed", h5(frame), table
    yield group, "pandas, a table", lambda p: _pandas_table(p / "a.h5") and sundog.load(p / "a.h5"), table
    yield group, "pandas, no rows", h5(lambda f: frame(f, 0)), "no numbers"

    two = {"a": X, "b": X}
    yield group, "several datasets", h5(lambda f: f.update(two)), "key='a'"
    yield group, "one of several", h5(lambda f: f.update(two), key="b"), lambda d: table(d, ("x0", "x1", "x2"))
    for how in ({"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True, "compression": 9},
                {"fletcher32": True}):
        yield group, f"filter {how}", h5(lambda f, how=how: f.create_dataset("x", data=X, **how)), \
            lambda d: table(d, ("x0", "x1", "x2"))
    for code, word in ((32001, "Blosc"), (32123, "filter 32123")):
        yield group, f"filter {word} absent or damaged", h5(lambda f, code=code: filtered(f, code)), word
    yield group, "a bomb", h5(lambda f: f.create_dataset("x", (10**6, 10**4), "f4", chunks=(99, 999),
                                                         compression="gzip")), "unpacks to"
    yield group, "only text", h5(lambda f: f.create_dataset("columns", data=named)), "no dataset of numbers"


def _pandas_table(path: Path) -> Path:
    """As PyTables stores a frame in the format "table": one compound data set, names pickled in its attributes."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = b"frame_table"
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, list(NAMES))], 0))
        kind = [("index", "i8"), ("values_block_0", "f8", (3,))]
        item = group.create_dataset("table", data=np.array([(i, tuple(x)) for i, x in enumerate(X)], dtype=kind))
        item.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(list(NAMES), 0))
    return path


def _parquet() -> Iterator[Case]:
    def parquet(frame: pd.DataFrame, name: str = "a.parquet", **how: Any) -> Callable[[Path], Any]:
        return lambda p: (frame.to_parquet(p / name), sundog.load(p / name, **how))[1]

    def parts(p: Path) -> Any:
        FRAME[:9].to_parquet(p / "a.parquet")
        FRAME[9:][["pt", "m_jj", "tau21"]].to_parquet(p / "b.parquet")
        return sundog.load(p)

    group = "Parquet and ROOT"
    yield group, "plain", parquet(FRAME), table
    yield group, ".pq", parquet(FRAME, "a.pq"), table
    yield group, "a filtered frame", parquet(FRAME[FRAME.pt > 500]), lambda d: table(d, x=X[X[:, 2] > 500])
    yield group, "a named index", parquet(FRAME.set_index("pt")), \
        lambda d: table(d, NAMES[:2], "left out pandas' index", X[:, :2])
    yield group, "an index that is asked for", parquet(FRAME.set_index("pt"), columns=list(NAMES)), table
    yield group, "text", parquet(FRAME.assign(name="a")), "columns="
    yield group, "text left out", parquet(FRAME.assign(name="a"), columns=list(NAMES)), table
    yield group, "nullable integers", parquet(FRAME.assign(pt=pd.array(np.arange(40), "Int64"))), \
        lambda d: d.values[5, 2] == 5
    yield group, "empty cells", parquet(FRAME.assign(pt=pd.array([None] + [1] * 39, "Int64"))), "1 of 40 rows"
    yield group, "parts in a folder, columns in another order", parts, table
    yield group, "half a file", lambda p: (FRAME.to_parquet(p / "a.pq"), half(p, "a.pq", (p / "a.pq").read_bytes()),
                                           sundog.load(p / "a.pq")), "cannot read"


def _root(columns: dict[str, np.ndarray]) -> Iterator[Case]:
    import awkward as ak
    import uproot

    def root(fill: Callable[[Any], Any], **how: Any) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            with uproot.recreate(folder / "a.root") as file:
                fill(file)
            return sundog.load(folder / "a.root", **how)
        return make

    def tree(file: Any, rows: int = 40) -> None:
        file.mktree("Events", dict.fromkeys(columns, "f8"))
        file["Events"].extend({k: v[:rows] for k, v in columns.items()})

    jagged = {**columns, "Jet_pt": ak.unflatten(np.arange(80.0), [1, 3] * 20)}
    group = "Parquet and ROOT"
    yield group, "a tree, columns in its order", root(tree), table
    yield group, "two cycles", root(lambda f: (tree(f, 9), tree(f))), lambda d: table(d, note="latest of 2 cycles")
    yield group, "an RNTuple", root(lambda f: f.mkrntuple("n", columns)), lambda d: len(d) == 40
    yield group, "a jagged branch", root(lambda f: f.__setitem__("E", jagged)), r"Jet_pt \(several numbers per event\)"
    yield group, "a jagged branch left out", root(lambda f: f.__setitem__("E", jagged), columns=list(NAMES)), table
    yield group, "two trees", root(lambda f: (tree(f), f.__setitem__("Runs", {"run": np.array([1])}))), "key='Events'"


def ours() -> Iterator[Case]:
    """What sundog wrote: whole, cut, with a flipped bit, in another order of columns, in shards."""
    data = sundog.Dataset.from_arrays(X, X[:, :1], NAMES, "TeV", weights=np.arange(40.0), context_names=["c"])
    group = "files of sundog"

    def same(found: Any) -> bool:
        return found.fingerprint() == data.fingerprint()

    def damaged(suffix: str, place: float, flip: bool) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            path = data.save(folder / f"a{suffix}")
            raw = bytearray(path.read_bytes())
            raw[int(place * len(raw))] ^= 0x10
            path.write_bytes(raw if flip else raw[: int(place * len(raw))])
            return sundog.load(path)
        return make

    for suffix in (".npz", ".h5", ".fits", ".csv", ".parquet"):
        yield group, f"saved and loaded {suffix}", lambda p, s=suffix: sundog.load(data.save(p / f"a{s}")), same
        yield group, f"shards {suffix}", lambda p, s=suffix: sundog.load([
            data[:9].save(p / f"a{s}"), data[9:].save(p / f"b{s}")]), same
        if suffix != ".csv":
            for place in (0.15, 0.4, 0.6, 0.85):
                yield group, f"a flipped bit {suffix} {place}", damaged(suffix, place, True), (same, "cannot read")
            yield group, f"cut {suffix}", damaged(suffix, 0.5, False), "cannot read"


def verdict(case: Case) -> tuple[str, str]:
    """"right value", "clear error" or "wrong", and what was seen."""
    _, _, make, expected = case
    check, words = expected if isinstance(expected, tuple) else (expected, expected)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            seen = make(Path(folder))
        except SundogError as error:
            clear = isinstance(words, str) and re.search(words, str(error)) is not None
            return "clear error" if clear else "wrong", str(error)
        except Exception as error:
            return "wrong", f"{type(error).__name__}: {error}"
        return "right value" if callable(check) and check(seen) else "wrong", str(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    for case in itertools.chain(texts(), arrays(), images(), skies(), ours()):
        found, seen = verdict(case)
        counts.setdefault(case[0], Counter())[found] += 1
        if given.each or found == "wrong":
            print(f"{found:12} {case[0]}: {case[1]}" + (f" -> {seen[:200]}" if found == "wrong" else ""))
    kinds = ("right value", "clear error", "wrong")
    print("| inputs | number | " + " | ".join(kinds) + " |\n|---|---|---|---|---|")
    total = sum(counts.values(), Counter())
    for group, count in [*counts.items(), ("all", total)]:
        print(f"| {group} | {sum(count.values())} | " + " | ".join(str(count[kind]) for kind in kinds) + " |")


if __name__ == "__main__":
    main()
