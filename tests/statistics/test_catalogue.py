"""The contract with verdicts: every statistic of the catalogue, on every kind and shape of data."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import Frame, Statistic, catalogue, choose, features, gaussian_smooth, power_spectrum

EVENTS, IMAGES, SERIES = (catalogue(kind) for kind in ("events", "images", "series"))
SHAPES = [(6, 2), (1, 3), (5, 1)], [(4, 12, 12), (1, 9, 14), (3, 2, 8, 7), (2, 5, 5)], [(4, 1, 64), (3, 2, 1, 33)]
CASES = [(s, shape) for group, shapes in zip((EVENTS, IMAGES, SERIES), SHAPES) for s in group for shape in shapes]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def label(value: object) -> str:
    return value.name if isinstance(value, Statistic) else "x".join(map(str, value))  # type: ignore[arg-type]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("statistic, shape", CASES, ids=label)
def test_vectors_names_and_axes_agree(statistic: Statistic, shape: tuple[int, ...], periodic: bool) -> None:
    x = noise(*shape)
    frame = Frame.of(x, periodic=periodic, series=statistic.kind == "series")
    v = statistic.measure(x, frame)
    assert v.dtype == torch.float64 and v.shape[0] == shape[0] and torch.isfinite(v).all()
    names = statistic.components(x.shape, frame)
    assert len(names) == len(set(names)) == v.shape[1]
    if statistic.axis is not None:
        assert statistic.axis(x.shape, frame).shape == (v.shape[1],)
    assert statistic.compare in ("mean", "distribution", "power") and statistic.summary and statistic.source
    one_by_one = torch.cat([statistic.measure(row[None], frame) for row in x])
    assert torch.allclose(v, one_by_one, atol=1e-10), "a vector belongs to its sample alone"


@pytest.mark.parametrize("value", [0.0, 5.0, -1e5])
@pytest.mark.parametrize("shape", [(3, 2), (1, 1), (3, 10, 11), (2, 3, 6, 6), (1, 3, 3), (3, 1, 40), (2, 2, 1, 64)])
def test_constant_data_stay_finite(shape: tuple[int, ...], value: float) -> None:
    x = torch.full(shape, value)
    frame = Frame.of(x, series=shape[-2:-1] == (1,) and len(shape) > 2)
    for statistic in catalogue(frame.kind):
        assert torch.isfinite(statistic.measure(x, frame)).all(), statistic.name
    assert torch.isfinite(features(x, frame)).all()
    assert (frame.std > 0).all() and (frame.high > frame.low).all()


def test_odd_images_measured_in_a_usual_frame_stay_finite() -> None:
    frame = Frame.of(noise(50, 16, 16))
    spike = torch.zeros(16, 16)
    spike[3, 4] = 1e9
    odd = torch.stack([torch.zeros(16, 16), torch.full((16, 16), 1e6), spike, -spike])
    f = features(odd, frame)
    assert torch.isfinite(f).all() and f.abs().max() < 300
    for statistic in IMAGES:
        assert torch.isfinite(statistic.measure(odd, frame)).all(), statistic.name


def test_the_frame_takes_its_numbers_from_the_truth() -> None:
    x = noise(20_000, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 7.0, 0.0])
    frame = Frame.of(x, names=("a", "b", "c"))
    assert torch.allclose(frame.mean, x.double().mean(0)) and frame.names == ("a", "b", "c")
    assert (frame.std / torch.tensor([1.0, 5.0, 0.1]) - 1).abs().max() < 4 / math.sqrt(40_000)
    z = torch.stack([(frame.low - frame.mean) / frame.std, (frame.high - frame.mean) / frame.std])
    assert (z.abs() - 3.09).abs().max() < 4 * math.sqrt(0.001 / 20_000) / 0.00337  # density of a Gaussian there
    maps = noise(40, 2, 9, 9)
    assert torch.allclose(Frame.of(maps).mean, maps.double().mean((0, 2, 3)))
    assert Frame.of(maps[:, 0]).mean.shape == (1,) and Frame.of(maps).kind == "images"
    sparse = torch.zeros(100, 9, 9)
    sparse[0, 4, 4] = 2.0  # fewer than 0.1 % of the pixels
    assert float(Frame.of(sparse).high) == 2.0


def test_features_are_scaled_by_the_truth_and_tame_outliers() -> None:
    x = gaussian_smooth(noise(400, 24, 24), 1.5)  # all 400 enter the median
    f = features(x, Frame.of(x))
    assert f.median(0).values.abs().max() < 1e-9
    spread = (f.quantile(0.75, 0) - f.quantile(0.25, 0)) / 1.349
    assert ((spread > 0.75) & (spread < 1.3)).double().mean() > 0.85  # counts of few peaks are coarse
    shifted = features(x + 0.5 * x.std(), Frame.of(x))
    assert float((shifted - f)[:, 0].mean()) > 2  # sigma of the mean brightness
    events = noise(100, 2)
    assert float(features(torch.full((1, 2), 1e12), Frame.of(events)).abs().max()) < 300


def test_correlations_and_radius_mean_what_they_say() -> None:
    x = noise(5000, 3)
    x[:, 2] = 0.8 * x[:, 0] + 0.6 * x[:, 2]
    frame = Frame.of(x, names="abc")
    mean = choose("events", ["correlations"])[0].measure(x, frame).mean(0)
    assert torch.allclose(mean, torch.corrcoef(x.T.double())[[0, 0, 1], [1, 2, 2]], atol=1e-6)
    assert choose("events", "correlations")[0].components(x.shape, frame) == ("a x b", "a x c", "b x c")
    radius = choose("events", "radius")[0].measure(x, frame)
    assert float(radius.square().mean()) == pytest.approx(1.0, abs=1e-6)


def pull(statistic: Statistic, real: torch.Tensor, fake: torch.Tensor, *, periodic: bool = True) -> float:
    """The largest difference of mean vectors in units of its standard error."""
    frame = Frame.of(real, periodic=periodic)
    a, b = statistic.measure(real, frame), statistic.measure(fake, frame)
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return float(((a.mean(0) - b.mean(0)).abs() / error.clamp_min(1e-12))[error > 1e-12].max())


def test_phases_are_seen_by_all_but_the_spectrum() -> None:
    real = torch.exp(gaussian_smooth(noise(150, 32, 32), 1.5, periodic=True) * 4).double()
    wave = torch.fft.rfft2(real)
    phase = torch.fft.rfft2(noise(150, 32, 32, seed=5).double())
    phase = torch.where(wave.real.new_zeros(wave.shape) == 0, phase / phase.abs(), phase)
    phase[:, 0, 0] = 1.0
    fake = torch.fft.irfft2(wave * phase, s=(32, 32))
    assert pull(choose("images", "power spectrum")[0], real, fake) < 0.5
    for name in ("pixel histogram", "moments", "Minkowski functionals", "structure functions", "peaks", "band moments"):
        assert pull(choose("images", name)[0], real, fake) > 8, name
        assert pull(choose("images", name)[0], real[:75], real[75:]) < 5, name


def test_channels_are_measured_apart_and_across() -> None:
    a, b = noise(80, 16, 16), noise(80, 16, 16, seed=1)
    both = torch.stack([a, a + b], 1)
    frame = Frame.of(both, periodic=True, names=("kappa", "tsz"))
    spectrum, cross = choose("images", ["power spectrum", "cross spectra"])
    v = spectrum.measure(both, frame)
    assert torch.allclose(v[:, : v.shape[1] // 2], spectrum.measure(a, Frame.of(a, periodic=True)))
    assert spectrum.components(both.shape, frame)[-1].endswith("(tsz)")
    r = cross.measure(both, frame).mean(0)
    modes = power_spectrum(a, bins=12).modes
    # var of Re(ab*) over the modes: (P_ab^2 + P_a P_b) / modes
    assert ((r - 1 / math.sqrt(2)).abs() < 4 * (1.5 / (80 * modes)).sqrt()).all()
    assert ((r - 0.5).abs() > 4 * (1.5 / (80 * modes)).sqrt()).any()
    assert cross.components(both.shape, frame)[0].startswith("kappa x tsz")
    assert cross.measure(a, Frame.of(a)).shape == (80, 0)


@pytest.mark.parametrize("name", ["moments", "power spectrum", "structure functions", "band moments"])
def test_smooth_statistics_carry_gradients_even_on_empty_images(name: str) -> None:
    x = noise(3, 8, 8).double()
    x[0] = 0.0
    frame = Frame.of(noise(20, 8, 8))
    x.requires_grad_()
    choose("images", name)[0].measure(x, frame).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad[1:].abs().max() > 0


def test_errors_name_the_choices() -> None:
    assert choose("events", "all") == EVENTS
    assert [s.name for s in choose("images", ["shapes", "moments"])] == ["shapes", "moments"]
    with pytest.raises(OptionError, match=r"bispectrum.*power spectrum"):
        choose("images", ["bispectrum"])
    for call in (lambda: catalogue("spheres"), lambda: choose("events", [])):
        with pytest.raises(OptionError):
            call()
    with pytest.raises(ShapeError):
        Frame.of(torch.zeros(5))
    with pytest.raises(ShapeError, match="names"):
        Frame.of(noise(5, 2), names=("only one",))
    for sample, truth in (((5, 3), (5, 2)), ((5, 9, 9), (5, 2)), ((5, 9, 9), (5, 2, 9, 9)), ((5, 9, 9), (5, 30, 30))):
        with pytest.raises(ShapeError, match="frame"):
            features(noise(*sample), Frame.of(noise(*truth)))
    for statistic in (*EVENTS, *IMAGES):
        x = noise(4, 2) if statistic.kind == "events" else noise(4, 8, 8)
        with pytest.raises(DataError, match="NaN"):
            statistic.measure(x * math.nan, Frame.of(x))


@pytest.mark.slow  # real data
def test_the_surrogate_of_a_real_dust_map_keeps_the_spectrum_alone() -> None:
    folder = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields"
    if not (folder / "mhd_dust_I_1.npy").exists():
        pytest.skip(f"no MHD dust maps in {folder}")
    maps = torch.stack([torch.as_tensor(np.load(folder / f"mhd_dust_I_{i}.npy")) for i in (1, 2, 3)]).double()
    maps = (maps - maps.mean((1, 2), keepdim=True)) / maps.std((1, 2), keepdim=True)
    phase = torch.sgn(torch.fft.rfft2(noise(*maps.shape, seed=3).double()))
    phase[:, 0, 0] = 1.0
    surrogate = torch.fft.irfft2(torch.fft.rfft2(maps) * phase, s=maps.shape[-2:])
    real, fake = (m.unfold(1, 64, 64).unfold(2, 64, 64).reshape(-1, 64, 64) for m in (maps, surrogate))
    assert pull(choose("images", "power spectrum")[0], real, fake, periodic=False) < 4.5
    for name in ("pixel histogram", "moments", "Minkowski functionals", "band moments"):
        assert pull(choose("images", name)[0], real, fake, periodic=False) > 6, name


@pytest.mark.slow  # a fresh interpreter imports torch
def test_importing_stays_light() -> None:
    heavy = ("matplotlib", "sklearn", "pandas", "astropy")
    code = f"import sys, sundog.statistics; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
