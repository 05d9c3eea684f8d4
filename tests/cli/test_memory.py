"""No command takes the machine down: what is more than there is free is refused, by estimate or by the limit."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sundog
from sundog import checks, cli
from sundog.errors import OptionError


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 MB are free."""
    for place in (checks, cli):
        monkeypatch.setattr(place, "memory_left", lambda: 3e8)
    monkeypatch.setattr(cli, "_RESERVED", 0)


def test_what_is_free_is_known() -> None:
    assert 1e8 < checks.memory_left() < 1e14


GREEDY = (
    ["simulate", "gaussian-field", "-n", "1", "--set", "size=40000", "--out", "x.npz"],
    ["simulate", "ring", "-n", "100000000", "--out", "x.npz"],
    ["simulate", "filaments", "-n", "3", "--set", "size=6000", "--out", "x.npz"],
    ["radio", "mock", "-n", "3", "--size", "60000", "--out", "x.fits"],
    ["fit", "flow", "a.npz", "--set", "hidden=[9000,9000]", "--out", "run"],
    ["fit", "scattering", "m.npy", "--set", "canvas=[12000,12000]", "--out", "run"],
    ["judge", "wide.npy", "wide.npy", "--kind", "events"],
    ["sky", "simulate", "--nside", "16", "--car", "0.5", "--out", "sky"],
    ["sky", "rescale", "sky", "--ghz", "217", "--car", "-1"],
    ["sky", "simulate", "--nside", "16", "--car", "inf"],
)


@pytest.mark.parametrize("words", GREEDY, ids=lambda words: " ".join(words[:3]))
@pytest.mark.usefixtures("little")
def test_what_is_too_much_is_one_line_and_leaves_the_limit_as_it_was(
        words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("a.npz", x=rng.normal(size=(100, 3)))
    np.save("m.npy", rng.normal(size=(80, 80)))
    np.save("wide.npy", rng.normal(size=(100, 20_000)).astype("f4"))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    *_, said = said.splitlines()
    assert said.startswith("sundog: error: ")
    assert "not enough memory" in said or "do not fill the sphere" in said, said
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert not (tmp_path / "x.npz").exists() and not (tmp_path / "x.fits").exists()


def test_an_archive_is_unpacked_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", large=rng.normal(size=(1000, 500)), small=np.ones((4, 2)))
    sundog.Dataset.from_arrays(rng.normal(size=(1000, 50))).save(tmp_path / "ours.npz")
    monkeypatch.setattr(checks, "memory_left", lambda: 2e5)
    for name, key in (("a.npz", "large"), ("ours.npz", None)):
        with pytest.raises(OptionError, match="not enough memory for the numbers of"):
            sundog.load(tmp_path / name, key=key)
    assert len(sundog.load(tmp_path / "a.npz", key="small")) == 4


@pytest.mark.slow
def test_the_judge_of_two_thousand_columns_takes_two_gigabytes() -> None:
    made = "torch.randn(1000, 2000, generator=torch.Generator().manual_seed({}))"
    code = f"""import resource, sundog, torch
        verdict = sundog.judge({made.format(0)}, {made.format(1)})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
    done = subprocess.run([sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))], check=True,
                          capture_output=True, text=True)
    assert 1024 * int(done.stdout) < 2e9  # it took 23.9
