"""``sundog example``: files of known truth, never over what is there; folders that do not collide."""

from __future__ import annotations

from pathlib import Path

import pytest

import sundog
from sundog.cli import main
from sundog.demos.examples import EXAMPLES, write_examples
from sundog.errors import FileError


def test_list_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(EXAMPLES)


@pytest.mark.parametrize("name", ["runs", "series", "paths", "fakes", "spectrum"])
def test_files_are_there_and_are_the_same_again(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        assert main(["example", name, "--out", str(tmp_path / folder)]) == 0
    assert EXAMPLES[name].then in capsys.readouterr().out
    for file in EXAMPLES[name].files:
        first, second = (sundog.load(tmp_path / folder / file) for folder in ("a", "b"))
        assert first.fingerprint() == second.fingerprint()


def test_the_spectrum_has_its_resonance(tmp_path: Path) -> None:
    write_examples(["spectrum"], tmp_path)
    events = sundog.load(tmp_path / "spectrum.h5")
    assert events.context is not None
    mass, column = events.context[:, 0], {name: events.values[:, j] for j, name in enumerate(events.names)}
    # Its jets weigh 0.1 and 0.5 TeV: with such jets, the window holds more than the mean of its neighbours, by 5 sigma.
    near = ((column["m_j1"] - 0.1).abs() < 0.05) & ((column["delta_m"] - 0.4).abs() < 0.1)
    counts = [int(((mass - centre).abs() < 0.1).logical_and(near).sum()) for centre in (3.2, 3.5, 3.8)]
    expected = (counts[0] * counts[2]) ** 0.5
    assert counts[1] - expected > 5 * expected**0.5


def test_what_is_there_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "phases.npz"
    mine.write_bytes(b"mine")
    assert main(["example", "fakes", "--out", str(tmp_path)]) == 2
    assert "phases.npz" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "real.npz").exists()
    with pytest.raises(FileError, match="--out"):
        write_examples(["fakes"], tmp_path)


def test_unknown_example_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example", "spectrun", "--out", str(tmp_path)]) == 2
    assert "spectrum" in capsys.readouterr().err


def test_two_fits_of_one_folder_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples(["series", "texture"], tmp_path)
    assert main(["fit", "scattering", "map.npy", "-q"]) == 0
    assert main(["fit", "scattering", "series.npy", "--kind", "series", "-q"]) == 0
    assert {path.name for path in tmp_path.glob("run*")} == {"run-scattering-map", "run-scattering-series"}


def test_alone_it_helps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sundog"])
    assert main() == 0
    assert "example" in capsys.readouterr().out


def test_without_uproot_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sundog.demos.examples.find_spec", lambda name: None)
    assert main(["example", "all", "--out", str(tmp_path / "new")]) == 2
    assert not list(tmp_path.glob("new/*"))
