"""Masks through the statistics of maps and the judge: what is hidden is not seen, what is seen has the same law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import sundog
from sundog.errors import DataError, OptionError, ShapeError
from sundog.simulate.fields import gaussian_field, lognormal_field
from sundog.statistics import (
    WaveletScattering,
    bispectrum,
    minkowski_functionals,
    power_spectrum,
    structure_functions,
)
from sundog.statistics.catalogue.frame import Frame
from sundog.statistics.catalogue.table import catalogue

SIDE = 32


def holes(side: int, *discs: tuple[int, int, int]) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = torch.ones(side, side)
    for cy, cx, r in discs:
        mask[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = 0
    return mask


MASK = holes(SIDE, (8, 9, 4), (24, 20, 5), (14, 28, 2))


@pytest.mark.parametrize("name", [s.name for s in catalogue("images") if s.name not in ("shapes", "cross spectra")])
def test_what_is_seen_has_the_same_law(name: str) -> None:
    maps = gaussian_field(300, SIDE, lambda k: (k + 0.1) ** -1.5, seed=1).values
    whole = Frame.of(maps, periodic=True)
    statistic = next(s for s in catalogue("images") if s.name == name)

    def shift(masked: torch.Tensor) -> torch.Tensor:
        """Of the mean over maps, in standard errors of a difference of two samples."""
        a, b = statistic.measure(maps, whole), statistic.measure(masked, replace(whole, masked=True))
        moving = a.std(0) > 1e-6 * a.std(0).max()  # the mean of a map whose mean was taken out does not
        return ((b - a).mean(0) * len(a) ** 0.5 / torch.hypot(a.std(0), b.std(0)))[moving]

    found = shift(torch.where(MASK > 0, maps, torch.nan))
    # under a window the lowest ring loses the mean that is taken out
    assert found[1:].abs().max() < 4 if name == "power spectrum" else found.abs().max() < 4
    assert shift(torch.where(MASK > 0, maps, 3 * maps.std())).abs().max() > 6  # the control: holes that are measured


def test_functions_of_maps_see_nothing_under_a_mask() -> None:
    x = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
    mask = holes(24, (10, 10, 3))
    wild = torch.where(mask > 0, x, torch.nan)
    for periodic in (True, False):
        for of in (lambda y, m, p=periodic: power_spectrum(y, periodic=p, mask=m).power,
                   lambda y, m, p=periodic: bispectrum(y, bins=3, periodic=p, mask=m).power,
                   lambda y, m, p=periodic: minkowski_functionals(y, [0.0], sigma_pixel=1.0, periodic=p, mask=m).v2,
                   lambda y, m, p=periodic: structure_functions(y, [1, 4], periodic=p, mask=m).value):
            assert torch.equal(of(wild, mask), of(x, mask)) and not torch.equal(of(x, mask), of(x, torch.ones(24, 24)))
            assert torch.allclose(of(x, torch.ones(24, 24)), of(x, None), rtol=0.2, atol=0.1)
    with pytest.raises(DataError, match="hides every pixel"):
        power_spectrum(x, mask=torch.zeros(24, 24))
    with pytest.raises(ShapeError, match="another size"):
        power_spectrum(x, mask=torch.ones(20, 24))


def test_third_order_and_wavelets_of_masked_maps_have_the_law_of_whole_ones() -> None:
    x = lognormal_field(200, SIDE, lambda k: (k + 0.1) ** -1.0, seed=2, std=0.3).values
    wild = torch.where(MASK > 0, x, torch.nan)
    for boundary in ("periodic", "edge-mask"):
        def wavelets(mask: torch.Tensor | None, b: str = boundary) -> WaveletScattering:
            return WaveletScattering((SIDE, SIDE), J=2, boundary=b, mask=mask)

        both = wavelets(MASK)(wild).vector, wavelets(None)(x).vector
        pull = (both[0] - both[1]).mean(0) * len(x) ** 0.5 / torch.hypot(both[0].std(0), both[1].std(0))
        assert pull.abs().max() < 4 and torch.equal(both[0], wavelets(MASK)(x).vector)
        filled = wavelets(None)(torch.where(MASK > 0, x, 5.0)).vector
        assert ((filled - both[1]).mean(0) * len(x) ** 0.5 / both[1].std(0)).abs().max() > 8
        b, c = (bispectrum(y, bins=2, periodic=boundary == "periodic", mask=m).value.double()
                for y, m in ((wild, MASK), (x, None)))
        assert ((b - c).mean(0) * len(x) ** 0.5 / torch.hypot(b.std(0), c.std(0)))[1:].abs().max() < 4


@pytest.fixture(scope="module")
def maps() -> sundog.Dataset:
    return lognormal_field(120, SIDE, lambda k: (k + 0.1) ** -2.0, seed=3)


def changed(data: sundog.Dataset, where: torch.Tensor, by: float) -> sundog.Dataset:
    return replace(data, values=torch.where(where, data.values + by * data.values.std(), data.values))


def judged(real: sundog.Dataset, fake: sundog.Dataset, mask: torch.Tensor | None) -> sundog.Verdict:
    return sundog.judge(real, fake, mask=mask, splits=8, statistics=["pixel histogram"])


def test_a_fault_under_the_mask_is_not_seen_and_one_beside_it_is(maps: sundog.Dataset) -> None:
    real, fake = maps[:60], maps[60:]
    honest = judged(real, fake, MASK)
    assert honest.passed and any(f"hides {(MASK == 0).float().mean():.1%}" in note for note in honest.notes)
    faulty = changed(fake, MASK == 0, 30.0)
    assert judged(real, faulty, MASK).p_value == honest.p_value
    assert not judged(real, faulty, None).passed  # the control
    assert not judged(real, changed(fake, MASK.flip(0) * MASK == MASK, 0.7), MASK).passed
    assert torch.equal(judged(real, faulty, MASK).evidence.fake, honest.evidence.fake)  # nor does the page show it


def test_each_map_has_its_own_mask_and_draws_have_those_of_their_context(maps: sundog.Dataset) -> None:
    g = torch.Generator().manual_seed(0)
    masks = torch.stack([holes(SIDE, (*torch.randint(6, 26, (2,), generator=g).tolist(), 5)) for _ in range(30)])
    real, fake = maps[:30], maps[30:]
    honest = judged(real, fake, masks)
    faulty = changed(fake, masks.repeat(3, 1, 1) == 0, 30.0)
    assert honest.passed and judged(real, faulty, masks).p_value == honest.p_value
    assert not judged(real, changed(fake, masks.repeat(3, 1, 1) == 0, 30.0), masks.roll(1, 0)).passed
    learned = sundog.judge(real, faulty, train=maps[60:], mask=masks, splits=8, statistics="deciding")
    assert "copies" in {row.name for row in learned.rows}


@pytest.mark.parametrize(("mask", "error", "said"), [
    (torch.ones(20, 20), ShapeError, "cut the mask"), (torch.zeros(SIDE, SIDE), DataError, "hides a whole map"),
    (torch.ones(7, SIDE, SIDE), ShapeError, "one for each of the 60"),
])
def test_masks_that_do_not_fit_are_told(maps: sundog.Dataset, mask: torch.Tensor, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        judged(maps[:60], maps[60:], mask)
    with pytest.raises(OptionError, match="only maps have a mask"):
        sundog.judge(np.random.default_rng(0).normal(size=(60, 2)), np.zeros((60, 2)), mask=mask)


@pytest.mark.slow
def test_false_alarms_under_masks_of_each_map() -> None:
    data = gaussian_field(60 * 50, 16, lambda k: (k + 0.1) ** -2.0, seed=5)
    g = torch.Generator().manual_seed(1)
    p = []
    for part in torch.arange(len(data)).split(60):
        masks = (torch.rand(30, 16, 16, generator=g) > 0.15).float()
        p.append(sundog.judge(data[part[:30]], data[part[30:]], mask=masks, splits=4, statistics="deciding").p_value)
    assert kstest(p, "uniform").pvalue > 1e-3
