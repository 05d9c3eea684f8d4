"""Files that others wrote: each dialect gives the right numbers, or an error that names what is wrong."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.errors import DataError, FileError, ShapeError, SundogError

X = np.array([[3.5, 0.25, 1200.0], [3.4, 0.5, 7.0], [4.0, 0.75, -2.5]])
NAMES = ("m_jj", "tau21", "pt")
FRAME = pd.DataFrame(X, columns=NAMES)


def _same(data: Dataset, names: tuple[str, ...] = NAMES) -> bool:
    return data.names == names and np.allclose(data.values.numpy(), X) and data.weights is None


def _notes(data: Dataset) -> str:
    return " / ".join(data.provenance.get("notes", ()))


@pytest.mark.parametrize(("text", "note"), [
    ("# m_jj,tau21,pt\n3.5,.25,1200\n3.4,.5,7\n4,.75,-2.5\n", ""),
    ("# made by hand\n# m_jj tau21 pt\n3.5 .25 1200\n3.4   .5\t7\n 4 .75 -2.5\n", ""),
    ("m_jj;tau21;pt\n3,5;0,25;1200\n3,4;0,5;7\n4;0,75;-2,5\n", "decimal commas"),
    ("m_jj;tau21;pt\n3,5;0,25;1.200\n3,4;0,5;7\n4;0,75;-2,5\n", "decimal commas"),
    ("m_jj\ttau21\tpt\n3.5\t.25\t1200\n3.4\t.5\t7\n4\t.75\t-2.5\n", ""),
    ("m_jj|tau21|pt\n3.5|.25|1200\n3.4|.5|7\n4|.75|-2.5\n", ""),
    ('m_jj,tau21,pt\n3.5,.25,"1,200"\n3.4,.5,7\n4,.75,-2.5\n', "commas between thousands"),
    ("m_jj,tau21,pt,\n3.5,.25,1200,\n3.4,.5,7,\n4,.75,-2.5,\n", "left out the empty column 4"),
    ("m_jj,tau21,pt\n3.5,.25,1200,\n3.4,.5,7,\n4,.75,-2.5,\n", "left out the empty column 4"),
    (",m_jj,tau21,pt\n0,3.5,.25,1200\n4,3.4,.5,7\n9,4,.75,-2.5\n", "left out the row numbers"),
    (",m_jj,tau21,pt\na,3.5,.25,1200\nb,3.4,.5,7\nc,4,.75,-2.5\n", "left out the labels of the rows"),
    ("\ufeffm_jj,tau21,pt\r\n3.5,.25,1200\r\n3.4,.5,7\r\n4,.75,-2.5\r\n", ""),
    ("m_jj, tau21 , pt\n3.5, .25 ,1200\n\n# a remark\n3.4,.5,7\n4,.75,-2.5", ""),
    ("m_jj,tau21,pt\n3.5D0,2.5d-1,1.2D+03\n3.4D0,5D-1,7.0D0\n4D0,7.5D-1,-2.5D0\n", "Fortran"),
    ("% m_jj, tau21, pt\n3.5,.25,1200\n3.4,.5,7\n4,.75,-2.5\n", ""),
    ('"m_jj","tau21","pt"\n"3.5","0.25","1200"\n"3.4","0.5","7"\n"4","0.75","-2.5"\n', ""),
])
@pytest.mark.parametrize("suffix", [".csv", ".txt.gz", ".dat"])
def test_dialects_of_text(tmp_path: Path, text: str, note: str, suffix: str) -> None:
    content = text.encode()
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    data = load(tmp_path / f"a{suffix}")
    assert _same(data)
    assert note in _notes(data)


def test_headers_that_are_numbers_and_files_without(tmp_path: Path) -> None:
    plain = ("x0", "x1", "x2")
    pd.DataFrame(X).to_csv(tmp_path / "counted.csv", index=False)
    np.savetxt(tmp_path / "bare.csv", X, delimiter=",")
    (tmp_path / "bare.tsv.bz2").write_bytes(bz2.compress(b"\n".join(b"\t".join(b"%g" % v for v in row) for row in X)))
    assert all(_same(load(tmp_path / name), plain) for name in ("counted.csv", "bare.csv", "bare.tsv.bz2"))
    assert "only counts the columns" in _notes(load(tmp_path / "counted.csv"))
    (tmp_path / "utf16.csv").write_text("m_jj,tau21,pt\n" + "\n".join(",".join(map(str, row)) for row in X), "utf-16")
    assert _same(load(tmp_path / "utf16.csv"))


@pytest.mark.parametrize(("text", "error", "match"), [
    ("a,b\n1,2,3\n4,5,6\n", FileError, "3 cells in row 1, 2 names in the header"),
    ("a,b\n1,2\n4,5,6\n", FileError, "3 cells in row 2"),
    ("a,b\n" + "1,2\n" * 90 + "4,5,6\n", FileError, "Expected 2 columns, got 3"),
    ("a,b\n" + "1,2\n" * 90 + "4\n", FileError, "Expected 2 columns, got 1"),
    ("a,a\n1,2\n", ShapeError, "share a name"),
    ("a,b\nGeV,TeV\n1,2\n", DataError, r"a \('GeV' in row 1\)"),
    ("a,b\n1,2\n1,-\n", DataError, r"b \('-' in row 2\)"),
    ("a,,c\n1,2,3\n", FileError, "no name for column 2"),
    ("# only remarks\n", FileError, "no rows"),
    ("a,b\n", DataError, "no numbers"),
    ("a,b\n2020-01-01,1\n", DataError, "not numbers: got a"),
])
def test_text_that_is_no_table(tmp_path: Path, text: str, error: type, match: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=match):
        load(tmp_path / "a.csv")


def test_arrays_of_one_length_are_columns(tmp_path: Path) -> None:
    import h5py

    columns = {name: FRAME[name].to_numpy() for name in NAMES}
    np.savez(tmp_path / "a.npz", **columns)
    with h5py.File(tmp_path / "a.h5", "w", track_order=True) as file:
        for name, x in columns.items():
            file.create_dataset(f"events/{name}", data=x[:, None])
        file["meta"] = np.zeros(9)
    assert _same(load(tmp_path / "a.npz"))
    data = load(tmp_path / "a.h5", key="events", columns=["tau21", "m_jj"])
    assert (data.names, data.values[:, 0].tolist()) == (("tau21", "m_jj"), X[:, 1].tolist())
    np.savez(tmp_path / "b.npz", X=X, w=[1.0, 2, 3], y=[0, 1, 0], columns=list(NAMES))
    data = load(tmp_path / "b.npz")
    assert data.weights is not None
    assert (data.names, data.weights.tolist()) == (NAMES, [1, 2, 3])
    assert "left out: y (3,)" in _notes(data)
    np.savez(tmp_path / "c.npz", a=np.zeros(4), b=np.zeros(5))
    with pytest.raises(FileError, match="several arrays"):
        load(tmp_path / "c.npz")


def test_pandas_tables_need_no_pytables(tmp_path: Path) -> None:
    import pickle

    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:  # as pandas writes format='table': two blocks, names pickled
        group = file.create_group("df")
        group.attrs["pandas_type"] = b"frame_table"
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, list(NAMES))], 0))
        rows = np.zeros(3, [("index", "i8"), ("values_block_0", "f8", (2,)), ("values_block_1", "f8", (1,))])
        rows["values_block_0"], rows["values_block_1"] = X[:, :2], X[:, 2:]
        table = group.create_dataset("table", data=rows)
        for i, names in enumerate((NAMES[:2], NAMES[2:])):
            table.attrs[f"values_block_{i}_kind"] = np.bytes_(pickle.dumps(list(names), 0))
    assert _same(load(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": b"frame", "nblocks": 1})
        group["axis0"], group["block0_items"] = np.array([b"m"]), np.array([b"m"])
        group.create_dataset("axis1", data=np.zeros(1)).attrs["shape"] = np.bytes_(b"(I0\ntp0\n.")
        group["block0_values"] = np.zeros((1, 1))
    with pytest.raises(DataError, match=r"no numbers: got shape \(0, 1\)"):
        load(tmp_path / "b.h5")


def test_compression_that_is_missing_is_named(tmp_path: Path) -> None:
    import h5py

    for code, word in ((32001, "Blosc"), (32123, "filter")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((3, 3))
            plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
            item = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((3, 3)), plist)
            item.write_direct_chunk((0, 0), X.tobytes())
        with pytest.raises(FileError, match=word):
            load(tmp_path / "a.h5")


def test_parquet_of_pandas_and_folders_of_parts(tmp_path: Path) -> None:
    FRAME[FRAME.pt > 0].to_parquet(tmp_path / "kept.parquet")
    assert load(tmp_path / "kept.parquet").names == NAMES
    FRAME.set_index("pt").to_parquet(tmp_path / "index.pq")
    data = load(tmp_path / "index.pq")
    assert (data.names, "left out pandas' index 'pt'" in _notes(data)) == (NAMES[:2], True)
    assert load(tmp_path / "index.pq", columns=["pt", "m_jj"]).names == ("pt", "m_jj")
    (tmp_path / "parts").mkdir()
    FRAME[:2].to_parquet(tmp_path / "parts/a.parquet")
    FRAME[2:][["pt", "m_jj", "tau21"]].to_parquet(tmp_path / "parts/b.parquet")
    (tmp_path / "parts/README.txt").write_text("made by hand")
    data = load(tmp_path / "parts")
    assert _same(data)
    assert "README.txt" in _notes(data)
    assert "2 tables were joined" in _notes(data)
    with pytest.raises(ShapeError, match="differ in names"):
        load([tmp_path / "parts/a.parquet", tmp_path / "index.pq"])


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".fits", ".csv", ".parquet"])
def test_shards_keep_weights_and_context(tmp_path: Path, suffix: str) -> None:
    whole = Dataset.from_arrays(X, X[:, :1] * 2, NAMES, "TeV", weights=[1.0, 2, 3], context_names=["c"])
    files = [whole[:2].save(tmp_path / f"a{suffix}"), whole[2:].save(tmp_path / f"b{suffix}")]
    for data in (load(files), load(tmp_path), load(str(tmp_path / f"*{suffix}"))):
        assert data.fingerprint() == whole.fingerprint()
        assert (data.names, data.units, data.context_names) == (NAMES, ("TeV",) * 3, ("c",))
    whole[2:].with_context("pt").save(files[1])
    with pytest.raises(ShapeError, match="differ in"):
        load(files)


def test_ours_are_read_by_name(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    from astropy.io import fits

    data = Dataset.from_arrays(X, X[:, :1], NAMES, weights=[1.0, 2, 3], context_names=["c"])
    table = pq.read_table(data.save(tmp_path / "a.parquet"))
    pq.write_table(table.select(["pt", "weight", "c", "tau21", "m_jj"]), tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").fingerprint() == data.fingerprint()
    renamed = table.rename_columns(["a", "tau21", "pt", "c", "weight"]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(renamed, tmp_path / "a.parquet")
    with pytest.raises(FileError, match="sundog wrote m_jj"):
        load(tmp_path / "a.parquet")
    lines = data.save(tmp_path / "a.csv").read_text().splitlines()
    swapped = [",".join(line.split(",")[::-1]) for line in lines[1:]]
    (tmp_path / "a.csv").write_text("\n".join([lines[0], *swapped]))
    assert load(tmp_path / "a.csv").fingerprint() == data.fingerprint()
    with fits.open(data.save(tmp_path / "a.fits")) as units:
        units["VALUES"].columns.change_name("pt", "ptt")
        units.writeto(tmp_path / "b.fits", checksum=True)
    with pytest.raises(FileError, match="sundog wrote m_jj"):
        load(tmp_path / "b.fits")


@pytest.mark.parametrize("suffix", [".h5", ".fits", ".parquet", ".npz"])
def test_ours_have_a_checksum(tmp_path: Path, suffix: str) -> None:
    data = Dataset.from_arrays(np.random.default_rng(0).normal(size=(4000, 3)), weights=np.ones(4000))
    content = bytearray(data.save(tmp_path / f"a{suffix}").read_bytes())
    unlike = 0
    for place in np.linspace(0.01, 0.99, 60):
        broken = bytearray(content)
        broken[int(place * len(content))] ^= 0x10
        (tmp_path / f"b{suffix}").write_bytes(broken)
        try:
            assert load(tmp_path / f"b{suffix}").fingerprint() == data.fingerprint()
        except SundogError:
            unlike += 1
    assert unlike > 30


def test_fits_cut_at_the_border_of_an_extension(tmp_path: Path) -> None:
    data = Dataset.from_arrays(X, X[:, :1], NAMES, weights=[1.0, 2, 3], context_names=["c"])
    content = data.save(tmp_path / "a.fits").read_bytes()
    for blocks in range(1, len(content) // 2880):
        (tmp_path / "b.fits").write_bytes(content[: 2880 * blocks])
        with pytest.raises(FileError, match="cannot read"):
            load(tmp_path / "b.fits")


@pytest.mark.parametrize(("shape", "dtype", "right", "note"), [
    ((60, 24, 24, 3), "u1", (60, 3, 24, 24), "last axis holds the 3 channels"),
    ((24, 30, 3), "u1", (1, 3, 24, 30), "channels in the last axis"),
    ((60, 3, 24, 24), "f4", (60, 3, 24, 24), ""),
    ((100, 30, 4), "f4", (100, 30, 4), "particles with 4 features"),
    ((3, 24, 24), "f4", (3, 24, 24), "pass names="),
    ((200, 100), "f4", (1, 200, 100), "kind='events'"),
])
def test_what_the_axes_were_taken_for_is_said(tmp_path: Path, shape, dtype: str, right, note: str) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape, dtype))
    data = load(tmp_path / "a.npy")
    assert tuple(data.values.shape) == right
    assert note in _notes(data)
    assert ("0 to 255" in _notes(data)) == (dtype == "u1")
    assert all(text in data.describe() for text in data.provenance.get("notes", ()))


def test_pictures(tmp_path: Path) -> None:
    from PIL import Image

    rgb = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    (tmp_path / "a").mkdir()
    for i in range(3):
        Image.fromarray(rgb).save(tmp_path / f"a/{i}.png")
    data = load(tmp_path / "a")
    assert (tuple(data.values.shape), data.names) == ((3, 3, 12, 10), ("R", "G", "B"))
    assert np.array_equal(data.values[1].numpy(), np.moveaxis(rgb, -1, 0))
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "t.png")
    assert "transparency" in _notes(load(tmp_path / "t.png"))
    deep = (np.arange(120, dtype=np.uint16) * 500).reshape(12, 10)
    Image.fromarray(deep).save(tmp_path / "d.png")
    Image.fromarray(deep.astype("f4")).save(tmp_path / "d.tif")
    for name in ("d.png", "d.tif"):
        assert np.array_equal(load(tmp_path / name).values[0].numpy(), deep)
    (tmp_path / "e.png").write_bytes((tmp_path / "d.png").read_bytes()[:90])
    with pytest.raises(FileError, match="picture"):
        load(tmp_path / "e.png")


def test_archives_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10**6, 10**4), "f4", chunks=(1000, 1000), compression="gzip")
    with pytest.raises(FileError, match="unpacks to 37 GiB"):
        load(tmp_path / "a.h5")


def test_pixels_without_a_number_belong_under_a_mask(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(16, 16)).astype("f4")
    good = np.ones((16, 16))
    good[3:5, 2:6] = 0
    x[good == 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "m.npy", good)
    with pytest.raises(DataError, match=r"got 8 of 256 NaN, infinite or UNSEEN.*mask="):
        load(tmp_path / "x.npy", kind="images")
    for mask in (good, tmp_path / "m.npy", "missing"):
        data = load(tmp_path / "x.npy", kind="images", mask=mask)
        assert np.array_equal(data.values[0].numpy(), np.nan_to_num(x))
        assert "8 of 256 pixels hold no number" in _notes(data)
    good[3, 2] = 1
    with pytest.raises(DataError, match="got 1 of 256"):
        load(tmp_path / "x.npy", kind="images", mask=good)
