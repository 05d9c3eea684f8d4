"""Public sets: fetched whole and checked or not at all; read rightly; explained when offline."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from sundog.data.public import access as public
from sundog.data.public import sets as public_sets
from sundog.data.public.access import describe, fetch, load_public, names, sample
from sundog.data.public.fetch import RemoteFile, cache_folder, download
from sundog.data.public.sets import PUBLIC, PublicSet, dijet_features, read_idx
from sundog.errors import FileError, OfflineError, OptionError

BODY = bytes(range(256)) * 9000
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


class _Pages(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        pages = {"/whole": BODY, "/cut": BODY[:1_300_000], "/empty": b"",
                 "/right": json.dumps({"files": [{"key": "a.bin", "checksum": f"md5:{MD5}"}]}).encode(),
                 "/wrong": json.dumps({"files": [{"key": "a.bin", "checksum": "md5:" + "0" * 32}]}).encode(),
                 "/odd": b"<html>"}
        if self.path not in pages:
            self.send_error(404)
            return
        body = pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) if self.path in ("/cut", "/empty") else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy_and_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SUNDOG_CACHE", str(tmp_path / "cache"))
    _Pages.asked.clear()


def test_a_whole_file_arrives_once(server: str, tmp_path: Path) -> None:
    remote = RemoteFile("a.bin", f"{server}/whole", SHA)
    assert download(remote, tmp_path / "x", progress=True).read_bytes() == BODY
    assert download(remote, tmp_path / "x").read_bytes() == BODY
    assert _Pages.asked == ["/whole"]
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["a.bin", "a.bin.sha256"]


@pytest.mark.parametrize(("page", "checksum", "why"), [
    ("/whole", "sha256:" + "0" * 64, "was published"),
    ("/whole", "md5:" + "0" * 32, "was published"),
    ("/cut", None, "after 1300000 of 2304000 bytes"),
    ("/empty", None, "after 0 of"),
    ("/nothing", None, "Not Found"),
])
def test_nothing_half_written_is_left(server: str, tmp_path: Path, page: str, checksum: str | None, why: str) -> None:
    with pytest.raises(OfflineError, match=why) as caught:
        download(RemoteFile("a.bin", server + page, checksum), tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []
    error = caught.value
    assert all((error.what, error.got, error.expected, error.do))
    assert server + page in str(error)
    assert str(tmp_path / "x" / "a.bin") in error.do


def test_refused_connection(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OfflineError, match="refused"):
        download(RemoteFile("a.bin", f"http://127.0.0.1:{port}/a"), tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize(("record", "fine"), [("/right", True), ("/wrong", False), ("/odd", True), ("/none", True)])
def test_the_record_of_zenodo_is_believed_when_it_answers(server: str, tmp_path: Path, record: str, fine: bool) -> None:
    remote = RemoteFile("a.bin", f"{server}/whole", checksum_url=server + record)
    if fine:
        assert download(remote, tmp_path).read_bytes() == BODY
    else:
        with pytest.raises(OfflineError, match="was published"):
            download(remote, tmp_path)


def test_a_copy_that_changed_is_refused(server: str, tmp_path: Path) -> None:
    remote = RemoteFile("a.bin", f"{server}/whole")  # no checksum known: the note of the first fetch decides
    path = download(remote, tmp_path)
    path.write_bytes(BODY[:-1])
    with pytest.raises(FileError, match="not the file that was published or fetched"):
        download(remote, tmp_path)
    by_hand = RemoteFile("b.bin", f"{server}/whole", SHA)
    (tmp_path / "b.bin").write_bytes(b"something else")
    with pytest.raises(FileError, match="not the file"):
        download(by_hand, tmp_path)
    (tmp_path / "b.bin").write_bytes(BODY)
    assert download(by_hand, tmp_path).read_bytes() == BODY


def test_an_unwritable_cache_is_no_network_problem(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="SUNDOG_CACHE"):
        download(RemoteFile("a.bin", f"{server}/whole"), tmp_path / "file" / "x")


def test_fetch_uses_the_cache_folder_and_tells_the_other_way(server: str, tmp_path: Path, monkeypatch) -> None:
    one = PUBLIC["digits"]
    file = RemoteFile("a.bin", f"{server}/whole", SHA)
    known = PublicSet(**{**vars(one), "files": (file,), "installed": lambda: None})
    monkeypatch.setitem(PUBLIC, "test", known)
    assert fetch("test") == cache_folder() / "test" == tmp_path / "cache" / "test"
    assert fetch("test", tmp_path / "here") == tmp_path / "here"
    broken = PublicSet(**{**vars(known), "files": (RemoteFile("b.bin", f"{server}/gone"),), "hint": "apt install b"})
    monkeypatch.setitem(PUBLIC, "test", broken)
    with pytest.raises(OfflineError, match=r"apt install b; or download it by hand and put it at .*b\.bin"):
        fetch("test")


def test_registry_states_licence_citation_and_origin() -> None:
    assert set(names()) >= {"lhco", "firstgalaxydata", "mnist", "fashion-mnist", "digits"}
    for name in names():
        text = describe(name)
        assert all(line in text for line in ("licence: ", "cite: ", "classes: "))
        assert all(file.url.startswith(("https://", "http://fashion-mnist")) for file in PUBLIC[name].files)
    assert "10.5281/zenodo.6466204" in describe("lhco")
    assert "non-commercial" in describe("firstgalaxydata")
    assert all(f.checksum for name in ("mnist", "fashion-mnist", "firstgalaxydata") for f in PUBLIC[name].files)


@pytest.mark.parametrize("call", [describe, fetch, load_public])
def test_unknown_names_suggest(call) -> None:
    with pytest.raises(OptionError, match="did you mean fashion-mnist"):
        call("fashionmnist")


# --- reading -------------------------------------------------------------------------------------------------


def test_dijet_features_of_a_decay_at_rest() -> None:
    """A 3.5 TeV particle at rest decays to masses 500 and 100 GeV: m_JJ and the order of the jets are known."""
    big, m1, m2 = 3500.0, 500.0, 100.0
    p = np.sqrt((big**2 - (m1 + m2) ** 2) * (big**2 - (m1 - m2) ** 2)) / (2 * big)
    jets = {"mj1": m1, "pxj1": p, "pyj1": 0, "pzj1": 0, "tau1j1": 2.0, "tau2j1": 0.5,
            "mj2": m2, "pxj2": -p, "pyj2": 0, "pzj2": 0, "tau1j2": 0.0, "tau2j2": 0.0}
    features = dijet_features({name: np.array([value]) for name, value in jets.items()})
    assert np.allclose(features, [[3.5, 0.1, 0.4, 0.0, 0.25]])


def test_lhco_file_becomes_features_without_its_label(tmp_path: Path) -> None:
    import h5py

    stems = ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
    columns = [f"{stem}j{i}" for i in (1, 2) for stem in stems] + ["label"]
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(0, 1000, (50, 3)), rng.random((50, 4)) * 100,
                             rng.normal(0, 1000, (50, 3)), rng.random((50, 4)) * 100, np.arange(50) % 5 == 0])
    with h5py.File(tmp_path / PUBLIC["lhco"].files[0].name, "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": b"frame", "nblocks": 1})
        group["axis0"] = group["block0_items"] = np.array(columns, "S")
        group["axis1"], group["block0_values"] = np.arange(50), table
    data = load_public("lhco", folder=tmp_path)
    assert (tuple(data.values.shape), data.names[0], data.units[0]) == ((50, 5), "m_jj", "TeV")
    assert torch.all(data.values[:, 2] >= 0)
    assert len(load_public("lhco", folder=tmp_path, label=1)) == 10
    assert data.provenance["licence"] == "CC-BY-4.0"
    with pytest.raises(OptionError, match="no such class"):
        load_public("lhco", folder=tmp_path, label=2)


def _idx(path: Path, array: np.ndarray) -> Path:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return path


def test_mnist_files(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28))
    for name in public_sets._IDX:
        part = slice(0, 4) if name.startswith("train") else slice(4, 6)
        _idx(tmp_path / name, images[part] if "images" in name else np.arange(6)[part])
    values, labels = PUBLIC["mnist"].read(tmp_path, None)
    assert (values == images).all()
    assert labels.tolist() == list(range(6))
    assert PUBLIC["mnist"].read(tmp_path, 20)[0].shape == (6, 20, 20)
    with pytest.raises(FileError, match="not the file"):  # right form, wrong checksum
        load_public("mnist", folder=tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: gzip.compress(b"\x00\x00\x08\x01\x00\x00"),
                                    lambda b: b"x", lambda b: gzip.compress(b"\x00\x00\x0d" + gzip.decompress(b)[3:])])
def test_damaged_idx(tmp_path: Path, damage) -> None:
    path = _idx(tmp_path / "a.gz", np.arange(1000).reshape(10, 100))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileError, match="cannot read"):
        read_idx(path)


def test_digits_need_no_network() -> None:
    data = load_public("digits", label_as_context=True)
    assert (tuple(data.values.shape), data.context_names) == ((1797, 8, 8), ("label",))


def _first_archive(tmp_path: Path, wheel: bool) -> Path:
    import h5py

    with h5py.File(tmp_path / "galaxy_data_h5.h5", "w") as file:
        for i in range(12):
            group = file.create_group(f"data_{i}")
            group["Img"], group["Label_literature"] = np.full((300, 300), i, np.uint8), float(i % 4)
    with zipfile.ZipFile(tmp_path / "galaxy_data_h5.zip", "w") as archive:
        archive.write(tmp_path / "galaxy_data_h5.h5", "galaxy_data_h5.h5")
    if not wheel:
        return tmp_path
    (tmp_path / "w").mkdir()
    with zipfile.ZipFile(tmp_path / "w" / PUBLIC["firstgalaxydata"].files[0].name, "w") as archive:
        archive.write(tmp_path / "galaxy_data_h5.zip", "firstgalaxydata/galaxy_data_h5.zip")
    return tmp_path / "w"


@pytest.mark.parametrize("wheel", [True, False], ids=["wheel", "package"])
def test_first_images_come_in_order(tmp_path: Path, wheel: bool) -> None:
    """data_10 must not come before data_2, as the file lists them."""
    values, labels = PUBLIC["firstgalaxydata"].read(_first_archive(tmp_path, wheel), 80)
    assert values.shape == (12, 80, 80)
    assert values[:, 0, 0].tolist() == list(range(12))
    assert labels.tolist() == [i % 4 for i in range(12)]


@pytest.mark.slow
@pytest.mark.skipif(public_sets._package_folder() is None and not os.environ.get("SUNDOG_FIRST"),
                    reason="firstgalaxydata is not installed (pip install --no-deps firstgalaxydata)")
def test_real_first_galaxies() -> None:
    data = load_public("firstgalaxydata", folder=os.environ.get("SUNDOG_FIRST"), label_as_context=True)
    assert tuple(data.values.shape) == (2158, 80, 80)
    assert data.context is not None
    assert data.context[:, 0].long().bincount().tolist() == [495, 924, 391, 348]


def test_the_package_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "firstgalaxydata").mkdir()
    (tmp_path / "firstgalaxydata" / "__init__.py").write_text("raise ImportError('torchvision')")
    monkeypatch.syspath_prepend(tmp_path)
    assert public_sets._package_folder() == tmp_path / "firstgalaxydata"


@pytest.mark.parametrize("name", public.SAMPLES)
def test_samples_of_the_package(name: str) -> None:
    data = sample(name)
    assert data.kind == ("events" if name == "dijets" else "images")
    assert len(data) > 10


def test_unknown_sample() -> None:
    with pytest.raises(OptionError, match="did you mean dijets"):
        sample("dijet")


def test_the_published_checksum_beats_the_note_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"planted")
    (tmp_path / "a.bin.sha256").write_text(hashlib.sha256(b"planted").hexdigest())
    with pytest.raises(FileError, match="not the file that was published"):
        download(RemoteFile("a.bin", "http://127.0.0.1:9/x", SHA), tmp_path)
    (tmp_path / "a.bin").write_bytes(BODY)
    assert download(RemoteFile("a.bin", "http://127.0.0.1:9/x", SHA), tmp_path).read_bytes() == BODY


def test_the_side_asked_for_goes_before_the_usual_one(monkeypatch):
    known, asked = PUBLIC["digits"], []
    monkeypatch.setitem(PUBLIC, "digits", replace(known, size=80, read=lambda folder, size: (
        asked.append(size) or known.read(folder, None))))
    load_public("digits"), load_public("digits", size=5)
    assert asked == [80, 5]
