"""``sundog separate`` on files: maps, page and JSON; wrong input is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog.cli import main
from sundog.data.dataset import Dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(32, 32, generator=g).cumsum(0) / 3
    noise = 0.5 * torch.randn(21, 32, 32, generator=g)

    def written(x: torch.Tensor, name: str) -> None:
        Dataset.from_arrays(x, units="uK", pixel_arcmin=2.0, periodic=True).save(tmp_path / name)

    written((truth + noise[0])[None], "mixture.npz")
    written(truth[None], "truth.npz")
    written(noise[1:], "noise.npz")
    (tmp_path / "draws").mkdir()
    for i, x in enumerate(noise[1:]):
        written(x[None], f"draws/{i:02d}.npz")
    return tmp_path


QUICK = ["--eras", "1", "--iterations", "3", "--draws", "12", "--quiet"]


def test_maps_and_page_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(path) for path in (folder / "draws").iterdir())
    out, page = folder / "out.npz", folder / "out.html"
    words = ["separate", str(folder / "mixture.npz"), "--contamination", *files, "--out", str(out)]
    words += ["--report", str(page)]
    assert main([*words, "--truth", str(folder / "truth.npz"), "--repeats", "1", "--json", *QUICK]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["losses"]["Match"] > 0
    found = sundog.load(out)
    assert found.names == ("signal", "residual", "repeat1")
    assert found.units == ("uK",) * 3
    mixture = sundog.load(folder / "mixture.npz").values.reshape(32, 32)
    assert torch.allclose(found.values[0, :2].sum(0), mixture, atol=1e-4)
    html = page.read_text()
    assert "http" not in html.replace("http://www.w3.org", "")
    assert html.count("data:image/png") == 3
    start = html.index('id="separation">') + len('id="separation">')
    payload = json.loads(html[start : html.index("</script>", start)])
    assert len(payload["rows"]) > 5


def test_patches_come_back_as_rows(folder: Path) -> None:
    mixtures = sundog.load(folder / "noise.npz").values[:3] + sundog.load(folder / "truth.npz").values
    Dataset.from_arrays(mixtures, units="uK", periodic=True).save(folder / "patches.npz")
    out = folder / "out.npz"
    words = ["separate", str(folder / "patches.npz"), "-c", str(folder / "noise.npz"), "--patches", "--out", str(out)]
    assert main([*words, "--report", str(folder / "out.html"), *QUICK]) == 0
    found = sundog.load(out)
    assert found.names == ("signal", "residual") and found.units == ("uK",) * 2
    assert torch.allclose(found.values.sum(1), mixtures.reshape(3, 32, 32), atol=1e-4)
    assert "map 3 of 3" in (folder / "out.html").read_text()


@pytest.mark.slow
def test_named_contaminations_and_losses(folder: Path) -> None:
    noise, out = folder / "noise.npz", folder / "out.npz"
    words = ["separate", str(folder / "mixture.npz"), "-c", f"one={noise}", "-c", f"two={noise}", "--out", str(out)]
    assert main([*words, "--loss", "match", "--loss", "independence", *QUICK]) == 0
    assert sundog.load(out).names == ("signal", "residual", "one", "two")
    observed = ["separate", str(folder / "mixture.npz"), "--observed", str(folder / "truth.npz"), "--out", str(out)]
    assert main([*observed, "--ancillary", str(folder / "truth.npz"), *QUICK]) == 0


def test_wrong_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixture, noise = str(folder / "mixture.npz"), str(folder / "noise.npz")
    np.save(folder / "small.npy", np.zeros((12, 16, 16), dtype=np.float32))
    for words, told in (
        (["separate", mixture], "no contamination"),
        (["separate", mixture, "-c", noise, "--loss", "other"], "unknown loss"),
        (["separate", mixture, "-c", str(folder / "small.npy")], "differ"),
        (["separate", mixture, "-c", str(folder / "absent.npz")], "absent.npz"),
        (["separate", mixture, "-c", noise, "--method", "other"], "unknown method"),
    ):
        assert main([*words, *QUICK]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


def test_a_small_array_is_a_map_and_a_table_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mixture", "noise"):
        np.save(folder / f"{name}.npy", sundog.load(folder / f"{name}.npz").values.squeeze().numpy())
    words = ["separate", str(folder / "mixture.npy"), "-c", str(folder / "noise.npy"), "--out", str(folder / "o.npz")]
    assert main([*words, *QUICK]) == 0
    assert sundog.load(folder / "o.npz").values.shape == (1, 2, 32, 32)
    (folder / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert main(["separate", str(folder / "t.csv"), *words[2:]]) == 2
    assert "a table is no map" in capsys.readouterr().err
