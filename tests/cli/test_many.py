"""``--seeds``: many pieces of one command, each with the numbers that it has alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sundog
from sundog.cli import main


def test_pieces_are_what_each_seed_gives_alone_and_go_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["simulate", "two-moons", "-n", "50", "--out", str(tmp_path / "moons.npz")]
    assert main([*words, "--seeds", "3:5"]) == 0
    assert "seed_*/moons.npz" in capsys.readouterr().out
    made = [tmp_path / "moons" / f"seed_{seed:04d}" / "moons.npz" for seed in (3, 4, 5)]
    assert made[0].exists() and made[1].exists() and not made[2].exists()
    before = made[0].stat().st_mtime_ns
    assert main([*words, "--seeds", "3:6", "-q"]) == 0
    assert made[0].stat().st_mtime_ns == before and made[2].exists()
    assert main([*words, "--seed", "4", "-q"]) == 0
    alone = sundog.load(tmp_path / "moons.npz").values
    assert alone.equal(sundog.load(made[1]).values) and not alone.equal(sundog.load(made[0]).values)
    assert len(sundog.load(str(tmp_path / "moons" / "*" / "moons.npz"))) == 150
    assert main(["simulate", "two-moons", "-n", "60", "--out", str(tmp_path / "moons.npz"), "--seeds", "3:6"]) == 2
    assert "pieces of other options" in capsys.readouterr().err


def test_samples_and_separations_take_the_words_of_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, file, out = tmp_path / "run", tmp_path / "moons.npz", tmp_path / "fakes"
    assert main(["simulate", "two-moons", "-n", "200", "--out", str(file), "-q"]) == 0
    fit = ["fit", "flow", str(file), "--set", "layers=1", "--set", "hidden=[8]", "--out", str(run), "-q"]
    assert main([*fit, "--steps", "2"]) == 0
    capsys.readouterr()
    words = ["sample", str(run), "-n", "20", "--out", str(out)]
    assert main([*words, "--seeds", "0:3", "--index", "2", "-q"]) == 0
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["seed_0002"]
    assert main([*words, "--seeds", "0:3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["folders"]) == 3
    assert main([*words, "--seeds", "0:3", "--jobs", "shell"]) == 0
    assert "for i in $(seq 0 2)" in (out / "jobs.sh").read_text()
    (run / "touched").touch()
    assert main([*words, "--seeds", "0:4"]) == 2 and "other run" in capsys.readouterr().err  # fitted anew
    separate = ["separate", str(file), "-c", str(file), "--out", str(tmp_path / "many")]
    assert main([*separate, "--seeds", "0:5", "--jobs", "slurm"]) == 0
    assert "--array=0-4" in (tmp_path / "many" / "jobs.sh").read_text()
    for more, said in ((["--workers", "2"], "one seed is one piece"), (["--seeds", "0:5", "--seed", "1"], "exclude"),
                       (["--seeds", "5"], "cannot read --seeds"), (["--seeds", "0:5", "--index", "5"], "no such piece"),
                       (["--seeds", "0:5", "--report", "a.html"], "a page shows one piece")):
        assert main([*separate, *more]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_separations_of_many_seeds(tmp_path: Path) -> None:
    fields = ["simulate", "gaussian-field", "--set", "size=32", "-q"]
    assert main([*fields, "-n", "1", "--out", str(tmp_path / "mix.npz")]) == 0
    assert main([*fields, "-n", "20", "--seed", "3", "--out", str(tmp_path / "noise.npz")]) == 0
    words = ["separate", str(tmp_path / "mix.npz"), "-c", str(tmp_path / "noise.npz"), "--eras", "1",
             "--iterations", "2", "--draws", "10", "-q"]
    assert main([*words, "--seeds", "0:2", "--out", str(tmp_path / "many.npz")]) == 0
    assert main([*words, "--seed", "1", "--out", str(tmp_path / "one.npz")]) == 0
    first, second, alone = (sundog.load(tmp_path / path).values for path in (
        "many/seed_0000/many.npz", "many/seed_0001/many.npz", "one.npz"))
    assert second.equal(alone) and not first.equal(alone)
