"""Windows, sidebands, and every unusable input that a search must refuse."""

import numpy as np
import pandas as pd
import pytest
import torch

from sundog import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.tasks.anomaly.regions import SignalRegion, gather, mass_column, sliding_windows

REGION = SignalRegion(3.3, 3.7)


def spectrum(n=20_000, low=3.0, high=4.6, seed=0):
    return np.random.default_rng(seed).uniform(low, high, n)


def test_window_and_sidebands_split_the_spectrum():
    m = spectrum()
    inside, outside, near = REGION.contains(m), REGION.sidebands(m), REGION.sidebands(m, reach=0.2)
    assert bool((inside ^ outside).all())
    assert abs(float(inside.double().mean()) - 0.25) < 4 * (0.25 * 0.75 / len(m)) ** 0.5
    kept = m[near.numpy()]
    assert kept.min() > 3.1 and kept.max() < 3.9 and not ((kept > 3.3) & (kept < 3.7)).any()


def test_windows_slide_without_gaps():
    windows = sliding_windows(3.2, 4.4, 0.4)
    assert [round(w.lo, 6) for w in windows] == [3.2, 3.4, 3.6, 3.8, 4.0]
    assert all(abs(w.width - 0.4) < 1e-9 for w in windows)
    with pytest.raises(OptionError, match="windows do not fit"):
        sliding_windows(3, 4, 2.0)


@pytest.mark.parametrize("lo, hi", [(3.7, 3.3), (3.3, 3.3), (float("nan"), 3.7)])
def test_a_window_must_be_a_window(lo, hi):
    with pytest.raises(OptionError, match="not a window"):
        SignalRegion(lo, hi)


def test_gev_given_for_tev_is_said():
    with pytest.raises(DataError, match=r"1000 times larger.*GeV for TeV.*multiply the masses by 0.001"):
        REGION.check(spectrum() * 1000)
    with pytest.raises(DataError, match=r"1000 times smaller.*multiply the masses by 1000"):
        SignalRegion(3300, 3700, "GeV").check(spectrum())


def test_window_outside_the_spectrum():
    with pytest.raises(DataError, match=r"outside the spectrum: got masses from 3 to 4\.6"):
        SignalRegion(5.0, 5.4).check(spectrum())


def test_thin_sidebands_and_few_events():
    with pytest.raises(SampleSizeError, match="sidebands are too thin: got 0 events below, "):
        REGION.check(spectrum(low=3.35))
    REGION.check(spectrum(low=3.35), sidebands=False)
    with pytest.raises(SampleSizeError, match="too few events for a search: got 999"):
        REGION.check(spectrum(999))
    with pytest.raises(SampleSizeError, match="too few events in the signal region"):
        SignalRegion(3.5, 3.501).check(spectrum())


def test_gather_takes_numpy_pandas_and_datasets():
    x = np.random.default_rng(1).normal(size=(2000, 2))
    m = spectrum(2000)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "m_jj": m})
    by_hand = gather(x, m)
    from_frame = gather(frame[["a", "b"]], frame["m_jj"])
    from_dataset = gather(Dataset.from_arrays(frame).with_context("m_jj"))
    assert from_frame.names == from_dataset.names == ("a", "b")
    for other in (from_frame, from_dataset):
        assert torch.equal(other.values, by_hand.values) and torch.equal(other.context, by_hand.context)
    assert len(by_hand.train) == 2000, "nothing may be held out behind the back of a search"


def noise(**changes):
    x = np.random.default_rng(1).normal(size=(2000, 3))
    for column, value in changes.items():
        x[:, int(column[1:])] = value
    return x


def test_unusable_columns_are_named():
    with pytest.raises(DataError, match="x1 is constant: got 2 everywhere"):
        gather(noise(x1=2.0), spectrum(2000))
    with pytest.raises(DataError, match="x0 and x2 are copies"):
        gather(noise(x2=noise()[:, 0]), spectrum(2000))
    with pytest.raises(DataError, match="x0 and m are copies"):
        gather(noise(x0=spectrum(2000)), spectrum(2000))
    with pytest.raises(DataError, match="NaN or Inf: got 1 of 2000"):
        gather(np.where(np.arange(6000).reshape(2000, 3) == 7, np.nan, noise()), spectrum(2000))
    with pytest.raises(DataError, match="masses contain NaN"):
        gather(noise(), np.where(np.arange(2000) == 5, np.nan, spectrum(2000)))


def test_weights_units_and_missing_masses():
    data = Dataset.from_arrays(noise(), spectrum(2000), weights=np.linspace(0.5, 1.5, 2000))
    with pytest.raises(DataError, match="carry weights"):
        gather(data)
    with pytest.raises(DataError, match=r"weights are negative.*smallest -1"):
        Dataset.from_arrays(noise(), spectrum(2000), weights=np.full(2000, -1.0))
    gev = Dataset.from_arrays(noise(), spectrum(2000), context_units="GeV")
    with pytest.raises(ShapeError, match="another unit than the signal region: got GeV"):
        gather(gev, unit="TeV")
    with pytest.raises(ShapeError, match="without a mass"):
        gather(noise())
    with pytest.raises(ShapeError, match="unusable shape"):
        mass_column(np.ones((4, 2)))


def test_maps_are_no_events():
    maps = np.random.default_rng(2).normal(size=(20, 1, 4, 4))
    with pytest.raises(ShapeError, match="a search needs features"):
        gather(maps, spectrum(20))


@pytest.mark.parametrize("extreme", [-100.0, 100.0])
def test_a_column_that_begins_with_its_extreme_is_not_constant(extreme):
    x = noise()
    x[0, 1] = extreme
    assert len(gather(x, spectrum(2000))) == 2000
