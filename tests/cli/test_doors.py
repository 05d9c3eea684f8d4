"""Files as people have them, on the command line: options that choose, notes that say, advice in options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

import sundog
from sundog.cli import main
from sundog.cli.options import as_options

RNG = np.random.default_rng(0)


def test_columns_weights_units_and_what_was_left_out(tmp_path, capsys):
    frame = pd.DataFrame({"m_jj": [3.5, 3.4, 4.0], "tau": [0.1, 0.2, 0.3], "name": list("abc"), "w": [1.0, 2, 3]})
    frame.to_csv(tmp_path / "a.csv")
    assert main(["info", str(tmp_path / "a.csv")]) == 2
    assert "leave them out with --columns m_jj,tau,w" in capsys.readouterr().err
    words = ["--columns", "tau,m_jj", "--weights", "w", "--unit", "m_jj=TeV", "--json"]
    assert main(["info", str(tmp_path / "a.csv"), *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["names"], facts["units"], facts["weighted"]) == (["tau", "m_jj"], ["", "TeV"], True)
    frame.drop(columns="name").to_csv(tmp_path / "b.csv")
    assert main(["info", str(tmp_path / "b.csv")]) == 0
    assert "left out the row numbers" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    ("scan FILE --mass nope --window 3 4", "sundog info FILE lists them"),
    ("emulate FILE", "name each input: -c NAME"), ("bias FILE FILE -a nope", "in Python also pass"),
    ("anomaly choose FILE --mass a --window 1 2 --set interpolations=nope", "unknown interpolation: got 'nope'"),
    ("anomaly choose FILE --mass a --window 1 2 --set share=2", "pass --window 3.3 3.7, --tests 3")])
def test_advice_speaks_the_words_of_the_command(words, said, tmp_path, capsys):
    frame = pd.DataFrame(RNG.uniform(0.5, 2.5, (60, 2)), columns=["a", "b"])
    frame.to_csv(tmp_path / "FILE", index=False)
    path = (tmp_path / "FILE").rename(tmp_path / "f.csv")
    assert main(words.replace("FILE", str(path)).split()) == 2
    assert said in capsys.readouterr().err


def test_words_of_python_become_options():
    known = {"set", "steps", "seconds", "columns", "mask", "key"}
    for python, word in (("pass hidden=(128, 128)", "pass --set hidden=[128,128]"),
                         ("pass method='gan'", "pass --set method=gan"),
                         ("pass Plan(steps=...) or Plan(seconds=...)", "pass --steps ... or --seconds ..."),
                         ("choose with key='a b'", "choose with --key a b"), ("pass mask= a map", "pass --mask a map"),
                         ("mask=True leaves them out", "--mask leaves them out"),
                         ("call f(x, low=0.0, high=1.0)", "call f(x, low=0.0, high=1.0)")):
        assert as_options(python, known).split() == word.split()


def test_a_tree_among_several_and_its_jagged_branch(tmp_path, capsys):
    uproot, awkward = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    k = RNG.poisson(3, 30)
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"m_jj": RNG.uniform(3, 5, 30), "pt": RNG.exponential(1, 30),
                          "Jet_pt": awkward.unflatten(RNG.exponential(1, k.sum()), k)}
        file["Runs"] = {"run": np.array([1])}
    assert main(["info", str(tmp_path / "a.root")]) == 2
    assert "choose with --key Events" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "a.root"), "--key", "Events"]) == 2
    assert "Jet_pt (several numbers per event)" in (said := capsys.readouterr().err)
    assert main(["info", str(tmp_path / "a.root"), *said[said.index("--columns"):].split()[:2], "--key", "Events"]) == 0


def test_a_misspelt_feature_is_an_error(tmp_path, capsys):
    pd.DataFrame({"m_jj": RNG.uniform(3, 5, 60), "tau": RNG.uniform(size=60), "pt": RNG.uniform(size=60)}).to_csv(
        tmp_path / "a.csv", index=False)
    words = ["anomaly", "search", str(tmp_path / "a.csv"), "--mass", "m_jj", "--window", "3.3", "3.7", "-f", "ptt"]
    assert main(words) == 2
    assert "no feature 'ptt'" in capsys.readouterr().err


@pytest.fixture
def masked(tmp_path):
    x = np.cumsum(RNG.normal(size=(64, 64)), 0).astype("f4")
    good = np.ones((64, 64), "f4")
    good[20:30, 20:40] = 0
    x[good == 0] = np.nan
    image = fits.PrimaryHDU(x)
    image.header.update({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 120.0, "CRVAL2": 30.0, "CRPIX1": 32.5,
                         "CRPIX2": 32.5, "CDELT1": -1 / 60, "CDELT2": 1 / 60})
    image.writeto(tmp_path / "x.fits")
    np.save(tmp_path / "m.npy", good)
    np.save(tmp_path / "n.npy", RNG.normal(size=(12, 64, 64)).astype("f4"))
    return tmp_path


def test_maps_with_gaps_and_their_mask(masked, capsys):
    assert main(["separate", f"{masked}/x.fits", "-c", f"{masked}/n.npy"]) == 2
    assert "got 200 of 4096 NaN" in (said := capsys.readouterr().err) and "--mask" in said
    quick = ["--eras", "1", "--iterations", "2", "--draws", "10", "-q"]
    assert main(["separate", f"{masked}/x.fits", "-c", f"{masked}/n.npy", "--mask", f"{masked}/m.npy", *quick, "-o",
                 f"{masked}/s.fits"]) == 0
    header = fits.getheader(masked / "s.fits")
    assert (header["CTYPE1"], header["CRVAL1"]) == ("GLON-TAN", 120.0)
    assert main(["fit", "scattering", f"{masked}/x.fits", "--set", f"mask={masked}/m.npy", "--set", "inpaint=true",
                 "--set", "iterations=2", "-q", "-o", f"{masked}/run"]) == 0


def test_a_healpix_file_as_it_is(tmp_path, capsys):
    pytest.importorskip("ducc0")
    from sundog.data.sky.healpix import HealpixMap, write_healpix

    path = write_healpix(tmp_path / "sky.fits", HealpixMap(RNG.normal(size=3072).astype("f4"), "uK", "galactic"))
    assert main(["info", str(path)]) == 0
    assert "HEALPix map of the whole sphere, NSIDE 16" in capsys.readouterr().out
    assert main(["fit", "scattering", str(path), "--set", "iterations=2", "-q", "-o", str(tmp_path / "run")]) == 0
    assert main(["separate", str(path), "-c", str(path)]) == 2
    assert "HEALPix" in capsys.readouterr().err


def test_options_of_reading_hold_for_every_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(400, 2)), rng.random(400)
    np.savez("two.npz", a=x, b=rng.normal(size=(300, 3)))
    pd.DataFrame({"p": x[:, 0], "q": x[:, 1], "w": w}).to_csv("real.csv", index=False)
    pd.DataFrame({"p": x[:200, 1], "q": x[:200, 0], "w": w[:200]}).to_csv("fake.csv", index=False)
    pd.DataFrame({"p": x[:200, 1], "q": x[:200, 0]}).to_csv("bare.csv", index=False)
    assert main(["design", "two.npz", "--key", "b", "-n", "12", "--unit", "K", "-o", "runs.csv"]) == 0
    assert sundog.load("runs.csv").units == ("K", "K", "K")
    assert main(["emulate", "two.npz", "--key", "b", "-c", "x0", "--unit", "m", "--family", "pod"]) == 0
    judged = ["judge", "real.csv", "fake.csv", "--weights", "w", "-s", "deciding", "-q", "--json", "v.json"]
    assert main(judged) == 0
    assert "weighted: effective rows" in Path("v.json").read_text() and "w.csv" not in capsys.readouterr().err
    assert main(["judge", "real.csv", "bare.csv", *judged[3:]]) == 0
    assert "nothing called w is here; --weights is for the truth only" in capsys.readouterr().err
    assert main(["judge", "two.npz", "two.npz", "--key", "a", "-s", "deciding", "-q"]) == 0
    assert main(["judge", "real.csv", "fake.csv", "--weights", "v"]) == 2
    assert "no column 'v'" in capsys.readouterr().err


def test_what_is_said_of_weights_and_keys_is_so(tmp_path, capsys):
    pd.DataFrame(RNG.uniform(1, 2, (30, 3)), columns=["a", "b", "w"]).to_csv(tmp_path / "a.csv", index=False)
    assert main(["info", str(tmp_path / "a.csv")]) == 0
    assert "column 'w' is read as a feature; --weights w takes it" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "a.csv"), "--weights", "w", "--key", "x"]) == 0
    said = capsys.readouterr().out
    assert "read as a feature" not in said and "--key x chooses nothing here" in said
    assert main(["sky", "project", str(tmp_path / "a.csv"), "--out", str(tmp_path / "p.npz")]) == 2
    assert "not a map of the sphere" in capsys.readouterr().err
