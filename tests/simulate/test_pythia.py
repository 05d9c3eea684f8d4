"""Collisions: reproducible piece by piece, resumable, and like the sample they should be like."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

import sundog.simulate.pythia as module
from sundog.errors import OptionError

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")
from sundog.simulate.pythia import Resonance, collisions, detected, dijet_truth, pythia_dijets, pythia_signals

DIJETS = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "dijets" / "lhcolike_dijets.npz"


def test_the_detector_keeps_energy_and_loses_what_it_must():
    generator = np.random.default_rng(0)
    n = 20_000
    p = np.tile([30.0, 0.0, 10.0, 1000**0.5], (n, 1))
    for identity, charged, width in ((22, False, 0.011), (211, True, 0.0105), (2112, False, 0.19)):
        seen = detected(p, np.full(n, identity), np.full(n, charged), np.arange(n), generator)
        assert seen.shape == (n, 1, 3) and abs(seen[..., 0].mean() / 30 - 1) < 4 * width / n**0.5 + 2e-3
        assert width / 1.5 < seen[..., 0].std() / 30 < 1.5 * width + 0.03
    away = np.array([[0.1, 0.0, 500.0, 500.0], [30.0, 0, 0, 30.0], [30.0, 0, 0, 30.0]])
    seen = detected(away, np.array([22, 12, 22]), np.zeros(3, bool), np.zeros(3, int), generator)
    assert (seen[..., 0] > 0).sum() == 1, "neither the forward photon nor the neutrino"


def test_wrong_requests():
    with pytest.raises(OptionError, match="unknown process"):
        next(collisions("top", 1))
    with pytest.raises(OptionError, match="m_jj_min out of range"):
        pythia_dijets(10, 0, 0, m_jj_min=1.0)
    for wrong in ({"heavy": 0.1, "light": 0.2}, {"heavy": 2.0}, {"prongs": 3, "heavy": 0.1}):
        with pytest.raises(OptionError, match="no such decay"):
            Resonance(**wrong)
    with pytest.raises(OptionError, match="number of prongs"):
        Resonance(prongs=4)


@pytest.mark.slow
def test_pieces_resume_to_the_same_events(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 40)
    told = []
    whole = pythia_dijets(80, 20, 5, folder=tmp_path / "a", done=lambda *pair: told.append(pair))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    for piece in sorted((tmp_path / "a").iterdir())[1:]:  # all but the first are lost
        shutil.rmtree(piece)
    again = pythia_dijets(80, 20, 5, folder=tmp_path / "a")
    assert torch.equal(whole.values, again.values) and torch.equal(whole.context, again.context)
    assert not torch.equal(whole.values, pythia_dijets(80, 20, 6).values)
    assert (whole.context > 3).all() and whole.names == ("m_j1", "delta_m", "tau21_j1", "tau21_j2")
    heavy = whole.values[dijet_truth(80, 20, 5)].sum(1)
    assert 0.3 < float(whole.values[dijet_truth(80, 20, 5)][:, :2].sum(1).median()) < 0.55 and len(heavy) == 20


@pytest.mark.slow
@pytest.mark.skipif(not DIJETS.exists(), reason="needs the LHCO-like sample in SUNDOG_DATA")
def test_like_the_shared_sample():
    events = pythia_dijets(500, 300, 1, angle=True)
    truth = dijet_truth(500, 300, 1).numpy()
    table = np.column_stack([events.context.numpy(), events.values.numpy()])
    with np.load(DIJETS) as file:
        known = {False: file["qcd"][:100_000], True: file["signal"][file["signal"][:, 0] > 3]}
    for kind, sample in known.items():
        for j in range(6):  # 4 sigma of the smaller sample, and what another detector may change (0.12)
            assert ks_2samp(table[truth == kind, j], sample[:, j]).statistic < 0.12 + 4 * 0.5 / 300**0.5
        assert ks_2samp(table[truth == kind, 2], known[not kind][:, 2]).statistic > 0.4, "negative control"


@pytest.mark.slow
def test_the_word_on_two_workers(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    import sundog
    from sundog.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["simulate", "dijets", "-n", "60", "--engine", "pythia", "--set", "n_signal=20", "--seed", "3", "-q"]
    assert main([*words, "--out", "alone.npz"]) == 0
    assert main([*words, "--out", "two.npz", "--workers", "2"]) == 0
    alone, two = sundog.load("alone.npz"), sundog.load("two.npz")
    assert torch.equal(alone.values, two.values) and len(alone) == 80 and not list(tmp_path.glob("*.parts"))
    assert main(["simulate", "ring", "--engine", "pythia"]) == 2
    assert main([*words, "--set", "pile_up=3"]) == 2


@pytest.mark.slow
def test_a_family_of_signals_has_the_masses_and_prongs_asked_for():
    asked = [Resonance(heavy=0.35, light=0.2), Resonance(mass=4.2, heavy=0.4, light=0.4, prongs=3)]
    found = pythia_signals(asked, 150, 3)
    assert found.context_names == ("m_jj", "heavy", "light", "prongs") and len(found) == 300
    assert found.context[:, 1:].unique(dim=0).numpy() == pytest.approx(np.array([[0.35, 0.2, 2], [0.4, 0.4, 3]]))
    for part, r in zip((found[:150], found[150:]), asked):
        light, apart = part.values[:, 0].median(), part.values[:, 1].median()
        blurred = 0.08 if r.heavy > r.light else 0.12  # equal ones: the heavier comes first
        assert abs(light - r.light) < 0.05 and abs(apart - (r.heavy - r.light)) < blurred
        assert abs(part.context[:, 0].median() - r.mass) < 0.25
    two, three = (part.values[:, 2:].mean() for part in (found[:150], found[150:]))
    assert two < three, "three prongs are not two"
    assert torch.equal(pythia_signals(asked[:1], 150, 3).values, found[:150].values), "an order of its own"
