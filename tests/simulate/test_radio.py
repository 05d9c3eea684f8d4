"""Radio galaxies: flux is conserved, the noise has the asked rms, kinds differ as their definition says."""

import math

import pytest
import torch

from sundog.errors import OptionError
from sundog.simulate.radio import KINDS, radio_catalogue, radio_galaxies

FWHM = math.sqrt(8 * math.log(2))


def only(kind: str) -> list[float]:
    return [float(name == kind) for name in KINDS]


def test_images_carry_the_flux_of_the_catalogue_through_any_beam():
    truth = radio_catalogue(40, seed=1)
    for beam in (3.0, 5.0):
        area = 2 * math.pi * (beam / FWHM) ** 2
        wide = truth.paint(size=80, beam_pixel=beam)
        inside = ((truth.x - 39.5).abs().amax(1) < 30) & ((truth.y - 39.5).abs().amax(1) < 30)
        assert int(inside.sum()) > 20  # the others lose light over the edge
        torch.testing.assert_close(wide[inside].sum((1, 2)) / area, truth.flux_mjy[inside], rtol=0.02, atol=0)
    torch.testing.assert_close(truth.part_flux_mjy.sum(1), truth.flux_mjy)


def test_noise_has_the_asked_rms_and_grain():
    kwargs = {"size": 64, "seed": 2}
    noisy, clean = (radio_galaxies(60, rms_mjy=r, **kwargs).values.double() for r in (0.3, 0.0))
    noise = noisy - clean
    correlated_pixels = 4 * math.pi * (0.75 * 3 / FWHM) ** 2
    error = 0.3 * math.sqrt(correlated_pixels / 2 / noise.numel())
    assert abs(float(noise.std()) - 0.3) < 4 * error + 1e-5
    neighbours = float((noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean())
    assert neighbours == pytest.approx(math.exp(-1 / (4 * (0.75 * 3 / FWHM) ** 2)), abs=0.01)
    assert float(clean.min()) >= 0


def test_kinds_differ_where_their_light_lies():
    """Flux-weighted distance from the core over half the separation: small for FR I, near 1 for FR II."""
    def reach(kind):
        t = radio_catalogue(200, seed=3, fractions=only(kind))
        distance = torch.hypot(t.x - t.core_x[:, None], t.y - t.core_y[:, None])
        arm = distance.amax(1)
        return float(((t.part_flux_mjy * distance).sum(1) / t.flux_mjy / arm).median())

    assert reach("FR I") < 0.45 < 0.55 < reach("FR II")
    assert float(radio_catalogue(200, seed=3, fractions=only("compact")).separation_pixel.median()) < 8
    assert bend("bent") > 3 * bend("FR II")


def bend(kind: str) -> float:
    """Median offset of the core from the line through the hot spots, per separation."""
    t = radio_catalogue(200, seed=4, fractions=only(kind))
    angle = torch.deg2rad(t.position_angle_deg)
    middle = (t.part_flux_mjy * t.x).sum(1) / t.flux_mjy, (t.part_flux_mjy * t.y).sum(1) / t.flux_mjy
    off = (middle[0] - t.core_x) * angle.cos() + (middle[1] - t.core_y) * angle.sin()
    return float((off.abs() / t.separation_pixel).median())


def test_position_angle_points_along_the_lobes_and_is_uniform():
    t = radio_catalogue(600, seed=5, fractions=only("FR II"))
    angle = torch.deg2rad(t.position_angle_deg)
    along = (t.x - t.core_x[:, None]) * -angle.sin()[:, None] + (t.y - t.core_y[:, None]) * angle.cos()[:, None]
    across = (t.x - t.core_x[:, None]) * angle.cos()[:, None] + (t.y - t.core_y[:, None]) * angle.sin()[:, None]
    assert float((across.square().mean(1) / along.square().mean(1)).median()) < 0.1
    assert abs(float(t.position_angle_deg.mean()) - 90) < 4 * 52 / math.sqrt(600)


def test_fractions_are_those_asked_and_the_centre_holds_the_core():
    t = radio_catalogue(2000, seed=6, fractions=(1, 1, 2, 0))
    assert abs(float((t.kind == 2).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(2000)
    assert not bool((t.kind == 3).any())
    assert abs(float(t.core_x.mean()) - 39.5) < 4 / math.sqrt(2000)


def test_same_seed_same_images_and_bad_requests_are_named():
    assert torch.equal(radio_galaxies(3, 32, seed=1).values, radio_galaxies(3, 32, seed=1).values)
    assert not torch.equal(radio_galaxies(3, 32, seed=1).values, radio_galaxies(3, 32, seed=2).values)
    with pytest.raises(OptionError, match="fractions"):
        radio_galaxies(3, fractions=(1, 0))
    with pytest.raises(OptionError, match="beam_pixel"):
        radio_galaxies(3, beam_pixel=0.0)
