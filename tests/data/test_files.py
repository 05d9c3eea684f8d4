"""Files: what is saved comes back bit by bit, what others wrote is understood, what is broken is named."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sundog.data.dataset import Dataset
from sundog.data.files import load, save
from sundog.data.formats.arrays import read_npy
from sundog.errors import DataError, FileError, OptionError, ShapeError, SundogError

SHARED = Path(os.environ.get("SUNDOG_DATA", "../shared/data"))
TABLES, ALL = (".csv", ".parquet"), (".npz", ".h5", ".fits", ".csv", ".parquet")
FIELDS = ("names", "units", "context_names", "context_units", "pixel_arcmin", "periodic", "held_out_fraction",
          "provenance")
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


def _same(a: Dataset, b: Dataset) -> bool:
    arrays = [(getattr(a, name), getattr(b, name)) for name in ("values", "context", "weights")]
    equal = [torch.equal(x.view(torch.int32), y.view(torch.int32)) if x is not None and y is not None else x is y
             for x, y in arrays]
    return all(equal) and all(getattr(a, name) == getattr(b, name) for name in FIELDS)


@st.composite
def _datasets(draw: st.DrawFn, kinds: tuple[str, ...] = ("events", "images")) -> Dataset:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, c = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(0, 2))
    shape: tuple[int, ...] = (n, d)
    if draw(st.sampled_from(kinds)) == "images":
        shape = draw(st.sampled_from([(n, 3, 5), (n, d, 4, 2)]))
        d = 1 if len(shape) == 3 else d
    labels = draw(st.lists(WORDS, min_size=d + c, max_size=d + c, unique=True))
    units = draw(st.lists(st.one_of(st.just(""), WORDS), min_size=d + c, max_size=d + c))

    def numbers(*size: int) -> np.ndarray:
        return (rng.standard_normal(size) * 10.0 ** rng.integers(-37, 37, size)).astype(np.float32)

    return Dataset.from_arrays(
        numbers(*shape), numbers(n, c) if c else None, labels[:d], units[:d], context_names=labels[d:],
        context_units=units[d:], weights=abs(numbers(n)) if draw(st.booleans()) else None,
        pixel_arcmin=draw(st.one_of(st.none(), st.floats(1e-3, 1e3))), periodic=draw(st.booleans()),
        held_out_fraction=draw(st.floats(0, 0.9)), provenance=draw(st.dictionaries(WORDS, WORDS, max_size=2)))


@pytest.mark.parametrize("suffix", ALL)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_saved_is_loaded_bit_by_bit(suffix: str, data: st.DataObject) -> None:
    dataset = data.draw(_datasets(("events",) if suffix in TABLES else ("events", "images")))
    with tempfile.TemporaryDirectory() as folder:
        assert _same(load(save(dataset, Path(folder) / f"a{suffix}")), dataset)
        assert [p.name for p in Path(folder).iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", ALL)
def test_what_is_passed_wins_over_the_file(suffix: str, tmp_path: Path) -> None:
    data = Dataset.from_arrays(np.arange(12.0).reshape(4, 3), names=("a", "b", "c"), units=("m", "", "s"))
    path = data.save(tmp_path / f"x{suffix}")
    again = load(path, names=("p", "q", "r"), columns=("r", "p", "q"), context="q", held_out_fraction=0.5)
    assert (again.names, again.units, again.context_names) == (("r", "p"), ("s", "m"), ("q",))
    assert again.values.tolist() == [[2, 0], [5, 3], [8, 6], [11, 9]]
    assert again.held_out_fraction == 0.5
    assert not _same(again, data)  # negative control of the comparison


def test_weights_column_leaves_the_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,w,y\n1,0.5,2\n3,2,4\n")
    data = load(tmp_path / "a.csv", weights="w", context=["x"])
    assert data.weights is not None
    assert data.weights.tolist() == [0.5, 2]
    assert (data.names, data.context_names) == (("y",), ("x",))


@pytest.mark.parametrize(("suffix", "options", "kind", "shape"), [
    ("plain", {}, "events", (30, 5)),
    ("plain", {"kind": "images"}, "images", (1, 30, 5)),
    ("plain", {"pixel_arcmin": 0.5}, "images", (1, 30, 5)),
    ("plain", {"pixel_arcmin": 0.5, "kind": "events"}, "events", (30, 5)),
    ("wide", {}, "images", (1, 40, 70)),
    ("wide", {"names": [f"c{i}" for i in range(70)]}, "events", (40, 70)),
    ("line", {}, "events", (8, 1)),
    ("stack", {}, "images", (3, 6, 7)),
    ("stack", {"names": ("I", "Q", "U")}, "images", (1, 3, 6, 7)),
    ("channels", {"names": ("I", "Q")}, "images", (2, 2, 6, 7)),
])
def test_axes_follow_the_documented_rule(tmp_path: Path, suffix: str, options, kind: str, shape) -> None:
    sizes = {"plain": (30, 5), "wide": (40, 70), "line": (8,), "stack": (3, 6, 7), "channels": (2, 2, 6, 7)}
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=sizes[suffix]))
    data = load(tmp_path / "a.npy", unit="uK", **options)
    assert (data.kind, tuple(data.values.shape), set(data.units)) == (kind, shape, {"uK"})


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<i4", ">i2", "f2", "u1", "?", "f8"])
def test_every_number_type_arrives(tmp_path: Path, dtype: str) -> None:
    x = np.asfortranarray(np.arange(6).reshape(3, 2) % 2).astype(dtype)
    np.save(tmp_path / "a.npy", x)
    assert load(tmp_path / "a.npy").values.tolist() == x.astype(float).tolist()


def test_structured_arrays_give_names(tmp_path: Path) -> None:
    table = np.array([(1.0, 2, "a"), (3.0, 4, "b")], dtype=[("m", "f8"), ("n", "i4"), ("id", "U4")])
    np.save(tmp_path / "a.npy", table)
    assert load(tmp_path / "a.npy", columns=["n", "m"]).values.tolist() == [[2, 1], [4, 3]]
    with pytest.raises(DataError, match=r"not numbers: got id.*columns=\['m', 'n'\]"):
        load(tmp_path / "a.npy")


def test_foreign_npz(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(9, 2))
    np.savez(tmp_path / "one.npz", events=x, label=np.zeros(9), columns=np.array(["m_jj", "tau21"]))
    assert load(tmp_path / "one.npz").names == ("m_jj", "tau21")
    np.savez(tmp_path / "two.npz", qcd=x, signal=x)
    with pytest.raises(FileError, match=r"several arrays: got qcd \(9, 2\), signal \(9, 2\).*key='qcd'"):
        load(tmp_path / "two.npz")
    with pytest.raises(FileError, match=r"no array 'signl'.*did you mean signal"):
        load(tmp_path / "two.npz", key="signl")
    assert len(load(tmp_path / "two.npz", key="signal")) == 9


def test_foreign_hdf5(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        item = file.create_dataset("group/jets", data=np.ones((4, 2)) * [[1], [2], [3], [4]])
        item.attrs["names"], item.attrs["units"] = ["pt", "eta"], ["GeV", ""]
        file["label"] = np.zeros(4)
        file["title"] = "text"
    data = load(tmp_path / "a.h5")
    assert (data.names, data.units) == (("pt", "eta"), ("GeV", ""))
    assert load(tmp_path / "a.h5", key="/label").values.shape == (4, 1)


def _pandas_fixed(path: Path, text: bool = False) -> None:
    """A frame of two blocks, laid out as pandas' fixed format does (PyTables itself is not needed)."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": b"frame", "nblocks": 2, "ndim": 2})
        group["axis0"], group["axis1"] = np.array([b"pxj1", b"n", b"mj1"]), np.arange(3)
        group["block0_items"], group["block0_values"] = np.array([b"pxj1", b"mj1"]), np.arange(6.0).reshape(3, 2)
        group["block1_items"] = np.array([b"n"])
        if text:
            vlen = group.create_dataset("block1_values", (1,), dtype=h5py.vlen_dtype(np.uint8))
            vlen[0] = np.frombuffer(b"\x80\x05pickle", np.uint8)
        else:
            group["block1_values"] = np.array([[7], [8], [9]])


def test_pandas_fixed_tables_need_no_pytables(tmp_path: Path) -> None:
    _pandas_fixed(tmp_path / "a.h5")
    data = load(tmp_path / "a.h5")
    assert data.names == ("pxj1", "n", "mj1")
    assert data.values.tolist() == [[0, 7, 1], [2, 8, 3], [4, 9, 5]]
    _pandas_fixed(tmp_path / "b.h5", text=True)
    with pytest.raises(DataError, match="not numbers: got n"):
        load(tmp_path / "b.h5", key="df")
    assert load(tmp_path / "b.h5", columns=["mj1", "pxj1"]).values.tolist() == [[1, 0], [3, 2], [5, 4]]


def test_foreign_fits_images(tmp_path: Path) -> None:
    from astropy.io import fits

    image = fits.PrimaryHDU(np.arange(12, dtype=">i2").reshape(3, 4))
    image.header.update({"BUNIT": "Jy/beam", "CTYPE1": "RA---SIN", "CDELT1": -5e-4, "CDELT2": 5e-4})
    image.writeto(tmp_path / "a.fits")
    data = load(tmp_path / "a.fits")
    assert (data.kind, tuple(data.values.shape), data.units) == ("images", (1, 3, 4), ("Jy/beam",))
    assert data.pixel_arcmin == 0.03
    rotated = fits.ImageHDU(np.ones((2, 3, 4)), name="SCI")
    rotated.header.update({"CUNIT1": "arcsec", "CD1_1": 1.2, "CD1_2": -1.6, "CD2_1": 1.6, "CD2_2": 1.2})
    fits.HDUList([fits.PrimaryHDU(), rotated]).writeto(tmp_path / "b.fits.gz")
    assert load(tmp_path / "b.fits.gz").pixel_arcmin == pytest.approx(2 / 60)
    fits.HDUList([fits.PrimaryHDU(np.ones((2, 2))), rotated]).writeto(tmp_path / "c.fits")
    with pytest.raises(FileError, match=r"several extensions: got PRIMARY \(2, 2\), SCI \(2, 3, 4\)"):
        load(tmp_path / "c.fits")
    assert len(load(tmp_path / "c.fits", key="SCI")) == len(load(tmp_path / "c.fits", key="1")) == 2
    fits.PrimaryHDU(np.ones((1, 1, 5, 5))).writeto(tmp_path / "d.fits")
    assert load(tmp_path / "d.fits").values.shape == (1, 1, 5, 5)
    assert load(tmp_path / "d.fits").pixel_arcmin is None


def test_foreign_fits_tables(tmp_path: Path) -> None:
    from astropy.io import fits

    columns = [fits.Column("flux", "D", "mJy", array=[1.0, 2.0]), fits.Column("name", "4A", array=["a", "b"]),
               fits.Column("n", "J", array=[3, 4])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    data = load(tmp_path / "t.fits", columns=["n", "flux"])
    assert (data.units, data.values.tolist()) == (("", "mJy"), [[3, 1], [4, 2]])
    with pytest.raises(DataError, match="not numbers: got name"):
        load(tmp_path / "t.fits")


def test_foreign_tables(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.csv").write_text("# made by hand\nm [GeV/c^2] , tau\n1,2\n3,4\n")
    assert load(tmp_path / "a.csv").units == ("GeV/c^2", "")
    assert load(tmp_path / "a.csv").names == ("m", "tau")
    (tmp_path / "b.csv").write_text("1,2.5\n3,4\n")
    assert load(tmp_path / "b.csv").values.tolist() == [[1, 2.5], [3, 4]]
    schema = pa.schema([pa.field("m", pa.float64(), metadata={"unit": "TeV"}), pa.field("k", pa.int64())])
    pq.write_table(pa.table([[1.0, 2.0], [3, 4]], schema=schema), tmp_path / "c.parquet")
    assert load(tmp_path / "c.parquet").units == ("TeV", "")


def test_a_plain_csv_has_no_comment_line(tmp_path: Path) -> None:
    data = Dataset.from_arrays([[1.0, 2], [3, 4]], names=("m_jj", "tau"), units=("TeV", ""))
    assert data.save(tmp_path / "a.csv").read_text() == "m_jj [TeV],tau\n1,2\n3,4\n"


@pytest.mark.parametrize("how", ["folder", "pattern", "list"])
def test_maps_of_a_folder_are_stacked(tmp_path: Path, how: str) -> None:
    for i in range(3):
        np.save(tmp_path / f"map{i}.npy", np.full((4, 5), i))
    (tmp_path / "README.txt").write_text("not data")
    where = {"folder": tmp_path, "pattern": str(tmp_path / "map*.npy"), "list": sorted(tmp_path.glob("*.npy"))}[how]
    data = load(where, pixel_arcmin=2.0)
    assert data.values[:, 0, 0].tolist() == [0, 1, 2]
    np.save(tmp_path / "map3.npy", np.zeros((4, 6)))
    with pytest.raises(DataError, match=r"4 files: the maps differ in size: got 4 x 5 \(3 files\), 4 x 6 \(1 files\)"):
        load(tmp_path, kind="images")


# --- what is broken ------------------------------------------------------------------------------------------


def _whole(folder: Path, suffix: str) -> Path:
    events = Dataset.from_arrays(np.random.default_rng(0).normal(size=(500, 3)))
    if suffix == ".npy":
        np.save(folder / "a.npy", events.values.numpy())
        return folder / "a.npy"
    return events.save(folder / f"a{suffix}")


def _four_parts(error: SundogError) -> bool:
    return all(x not in (None, "") for x in (error.what, error.got, error.expected, error.do))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".fits", ".parquet"])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.9])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = _whole(tmp_path, suffix)
    content = path.read_bytes()
    assert len(load(path)) == 500
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match="cannot read") as caught:
        load(path)
    assert _four_parts(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".fits", ".csv", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe garbage " * 99], ids=["empty", "garbage"])
def test_empty_and_garbage(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(FileError, match=r"cannot read|is empty") as caught:
        load(tmp_path / f"a{suffix}")
    assert _four_parts(caught.value)


@pytest.mark.parametrize("flip", range(0, 100, 7))
def test_a_damaged_npz_is_never_half_read(tmp_path: Path, flip: int) -> None:
    path = _whole(tmp_path, ".npz")
    content = bytearray(path.read_bytes())
    good = load(path)
    content[flip * len(content) // 100] ^= 0xFF
    path.write_bytes(bytes(content))
    try:
        assert torch.equal(load(path).values, good.values)  # the flip hit a time stamp
    except SundogError as error:
        assert _four_parts(error)


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}, None]))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FileError, match=r"holds Python objects.*can run any code"):
            load(tmp_path / name)


def test_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    np.save(tmp_path / "dust_map.npy", np.zeros((2, 2)))
    with pytest.raises(FileError, match=r"did you mean dust_map\.npy\?"):
        load(tmp_path / "dustmap.npy")
    with pytest.raises(FileError, match="no data files"):
        load(tmp_path / "*.fits")
    (tmp_path / "void").mkdir()
    with pytest.raises(FileError, match="no data files"):
        load(tmp_path / "void")


def test_unknown_suffix_and_npy_is_no_place_for_names(tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_bytes(b"x")
    with pytest.raises(FileError, match=r"suffix '\.xls', expected \.npy"):
        load(tmp_path / "a.xls")
    (tmp_path / "a.csv.gz").write_bytes(b"x")
    with pytest.raises(FileError, match="cannot read"):
        load(tmp_path / "a.csv.gz")
    data = Dataset.from_arrays([[1.0], [2.0]])
    with pytest.raises(FileError, match=r"save to a\.npz"):
        save(data, tmp_path / "a.npy")
    with pytest.raises(ShapeError, match="images and series do not fit a table"):
        Dataset.from_arrays(np.zeros((2, 3, 3))).save(tmp_path / "a.csv")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_are_counted_with_their_rows(tmp_path: Path, bad: float) -> None:
    x = np.zeros((10, 2))
    x[4, 1] = x[7, 0] = bad
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(DataError, match=r"a\.npy: values contain NaN or Inf: got 2 of 10 rows.*rows 4, 7"):
        load(tmp_path / "a.npy")


def test_numbers_beyond_float32_are_not_called_inf(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1e300], [1.0]]))
    with pytest.raises(DataError, match="too large for float32: got 1e"):
        load(tmp_path / "a.npy")


def test_missing_cells_and_text_columns_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("m,name,fr\n1,cyg,I\n2,vir,II\n")
    with pytest.raises(DataError, match=r"got name \('cyg' in row 1\), fr \('I' in row 1\).*columns=\['m'\]"):
        load(path)
    assert load(path, columns=["m"]).names == ("m",)
    path.write_text("m,n\n1,\n2,3\n")
    with pytest.raises(DataError, match="NaN or Inf: got 1 of 2 rows"):
        load(path)
    path.write_text("m,n\n1,2\n2,3,4,5\n")
    with pytest.raises(FileError, match="separators"):
        load(path)
    path.write_text("m,m [TeV]\n1,2\n2,3\n")
    with pytest.raises(ShapeError, match="share a name"):
        load(path)


@pytest.mark.parametrize(("options", "error", "match"), [
    ({"columns": ["tau21_j"]}, ShapeError, "did you mean tau21_j1"),
    ({"context": "m_j"}, ShapeError, "did you mean m_jj"),
    ({"weights": "w"}, ShapeError, "no column 'w'"),
    ({"names": ("a",)}, ShapeError, "names do not fit"),
    ({"names": ("a",), "columns": ["a"]}, ShapeError, "names do not fit"),
    ({"units": ("a",)}, ShapeError, "units do not fit"),
    ({"kind": "sky"}, OptionError, "unknown kind"),
])
def test_wrong_options(tmp_path: Path, options, error, match: str) -> None:
    (tmp_path / "a.csv").write_text("m_jj,tau21_j1\n1,2\n3,4\n")
    with pytest.raises(error, match=match) as caught:
        load(tmp_path / "a.csv", **options)
    assert _four_parts(caught.value)


@pytest.mark.parametrize(("shape", "options"), [
    ((2, 2, 2, 2, 2), {}), ((3, 4, 5), {"kind": "events"}), ((9,), {"kind": "images"}), ((0, 3), {}), ((), {}),
    ((3, 2, 4, 5), {"kind": "events"}),
])
def test_wrong_shapes(tmp_path: Path, shape: tuple[int, ...], options) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(shape))
    with pytest.raises(SundogError, match=r"\(n, columns\)" if "events" in options.values() else None) as caught:
        load(tmp_path / "a.npz", **options)
    assert _four_parts(caught.value)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    data = Dataset.from_arrays([[1.0], [2.0]], provenance={"why": object()})
    (tmp_path / "a.npz").write_bytes(b"old")
    for suffix in ALL:
        with pytest.raises(DataError, match="provenance cannot be saved"):
            data.save(tmp_path / f"a{suffix}")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_npy_is_mapped_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 2)))
    assert isinstance(read_npy(tmp_path / "a.npy").values, np.memmap)


# --- real data -----------------------------------------------------------------------------------------------

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data; set SUNDOG_DATA")
FEATURES = ("m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2")


@needs_shared
def test_real_lhco_features() -> None:
    data = load(SHARED / "lhco/lhco_rd_sr_features.npz", key="data", names=FEATURES,
                units=("TeV", "TeV", "TeV", "", ""), context=["m_jj"])
    assert (tuple(data.values.shape), data.context_names, data.context_units) == ((122124, 4), ("m_jj",), ("TeV",))
    assert data.context is not None
    assert 3.3 <= float(data.context.min()) < float(data.context.max()) <= 3.7
    with pytest.raises(FileError, match="extra_qcd"):
        load(SHARED / "lhco/lhco_rd_sr_features.npz")


@needs_shared
def test_real_dijets_name_their_columns() -> None:
    data = load(SHARED / "dijets/lhcolike_dijets.npz", key="signal", context="m_jj")
    assert data.names[0] == "m_j1"
    assert len(data) == 60_000


@needs_shared
def test_real_maps() -> None:
    dust = load([SHARED / f"fields/mhd_dust_I_{i}.npy" for i in (1, 2, 3)], periodic=True)
    assert dust.values.shape == (3, 512, 512)
    radio = load(SHARED / "radio/mirabest_first_las80_f16.npz", unit="mJy/beam", kind="images")
    assert radio.values.shape == (1255, 80, 80)
    sky = load(SHARED / "sky/wmap_band_iqumap_r9_7yr_V_v4_udgraded32.fits")
    assert (tuple(sky.values.shape), sky.provenance["sphere"]["nside"]) == ((1, len(sky.names), 1, 12288), 32)


def test_npz_layout_is_the_documented_one(tmp_path: Path) -> None:
    data = Dataset.from_arrays(np.zeros((2, 3, 3)), units="uK", pixel_arcmin=0.5, provenance={"by": "test"})
    with np.load(data.save(tmp_path / "a.npz")) as archive:
        assert set(archive.files) == {"values", *FIELDS}
        assert json.loads(str(archive["provenance"])) == {"by": "test"}
        assert archive["units"].tolist() == ["uK"]


def test_units_and_unit_of_maps_that_disagree(tmp_path: Path) -> None:
    from astropy.io import fits

    for i, unit in enumerate(("K", "mK")):
        image = fits.PrimaryHDU(np.ones((3, 3)))
        image.header["BUNIT"] = unit
        image.writeto(tmp_path / f"{i}.fits")
    with pytest.raises(ShapeError, match="differ in units: got K, mK"):
        load(tmp_path)


def test_a_long_one_dimensional_array_can_be_a_signal(tmp_path):
    np.save(tmp_path / "line.npy", np.arange(100.0))
    assert load(tmp_path / "line.npy", kind="images").values.shape == (1, 1, 100)
    assert load(tmp_path / "line.npy").values.shape == (100, 1)


def test_maps_of_different_pixels_are_not_one_sample(tmp_path: Path) -> None:
    for i, pixel in enumerate((0.5, 0.5, 1.0)):
        Dataset.from_arrays(torch.ones(1, 8, 8), pixel_arcmin=pixel).save(tmp_path / f"{i}.npz")
    assert load(str(tmp_path / "[01].npz")).pixel_arcmin == 0.5
    with pytest.raises(ShapeError, match=r"the maps differ in pixel_arcmin: got 0\.5, 1\.0"):
        load(str(tmp_path / "*.npz"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_weights_are_read_though_no_column_names_them(tmp_path: Path, suffix: str) -> None:
    frame, path = pd.DataFrame({"x": [1.0, 3.0], "y": [2.0, 4.0], "w": [0.5, 2.0]}), tmp_path / f"a{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data = load(path, columns=["y"], weights="w")
    assert (data.names, data.values.tolist()) == (("y",), [[2], [4]])
    assert data.weights is not None and data.weights.tolist() == [0.5, 2]


@pytest.mark.parametrize("options", [{"weights": "w"}, {"columns": ["a"]}])
def test_maps_have_no_columns(tmp_path: Path, options) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 16, 16)))
    with pytest.raises(SundogError, match="maps have no columns"):
        load(tmp_path / "a.npz", **options)


def test_an_array_called_values_is_anybodys_and_one_entry_of_ours_can_be_read(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "theirs.npz", values=table)
    assert load(tmp_path / "theirs.npz").values.tolist() == table.tolist()
    Dataset.from_arrays(table, context=np.arange(8.0).reshape(4, 2)).save(tmp_path / "ours.npz")
    assert load(tmp_path / "ours.npz").context is not None
    alone = load(tmp_path / "ours.npz", key="context")
    assert alone.values.tolist() == np.arange(8.0).reshape(4, 2).tolist() and alone.context is None
