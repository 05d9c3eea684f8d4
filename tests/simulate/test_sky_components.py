"""The table of sky components, and the scaling laws of those that stand in it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.errors import OptionError
from sundog.simulate.frequency import thermodynamic_to_rayleigh_jeans
from sundog.simulate.sky.components import COMPONENTS, NAMES, POINT_LIKE, component
from sundog.simulate.sky.free_free import free_free_uk, gaunt_factor
from sundog.simulate.sky.indices import Band
from sundog.simulate.sky.maps import SkyMaps
from sundog.tasks.sky import in_frame, in_unit, rescale


def test_the_table_is_what_a_sky_holds(tmp_path: Path) -> None:
    assert NAMES == ("kappa", "tsz", "ksz", "cib", "radio") and POINT_LIKE == ("cib", "radio")
    maps = SkyMaps({name: np.ones(768, np.float32) for name in COMPONENTS})
    kept = SkyMaps.load(maps.save(tmp_path))
    assert list(dict(kept)) == list(COMPONENTS) and (kept["free_free"] == kept.free_free).all()
    assert set(in_unit(kept, "y")) == {"kappa", "tsz"}
    with pytest.raises(OptionError, match="did you mean free_free"):
        component("freefree")
    with pytest.raises(AttributeError):
        SkyMaps({"cib": np.ones(12)}).radio  # noqa: B018


def test_free_free_brightness_falls_as_draine_says() -> None:
    """In the Rayleigh-Jeans regime I ~ nu^2 T ~ g(nu): the Gaunt factor is the whole scaling of the brightness.

    Draine 2011, table 10.2 / eq. 10.9: g ~ nu^-0.12 near 30 GHz at 10^4 K.
    """
    sky = SkyMaps({"free_free": np.ones(768, np.float32)})
    for nu in (30.0, 90.0, 353.0):
        made = in_unit(rescale(sky, nu), "Jy/sr")["free_free"][0]
        start = in_unit(sky, "Jy/sr")["free_free"][0]
        assert abs(made / start / (gaunt_factor(nu) / gaunt_factor(148.0)) - 1) < 1e-5
        assert abs(made / start - 1) > 0.05  # a flat spectrum would be told from it
    slope = math.log(gaunt_factor(33.0, 1e4) / gaunt_factor(27.0, 1e4)) / math.log(33 / 27)
    assert abs(slope + 0.12) < 0.02


def test_free_free_of_thin_and_thick_gas() -> None:
    thin = free_free_uk(1.0, 100.0)
    assert abs(free_free_uk(2.0, 100.0) / thin - 2) < 1e-6
    assert abs(free_free_uk(1e15, 1.0) / 7e9 - 1) < 1e-6  # thick: the temperature of the gas


def test_every_component_is_left_alone_at_the_reference() -> None:
    x = np.random.default_rng(0).normal(size=768).astype(np.float32)
    for part in COMPONENTS.values():
        assert np.allclose(part.rescaled(x, Band(148.0), 0), x, rtol=1e-5), part.name


def test_sources_of_two_components_draw_their_own_indices() -> None:
    x = np.ones(3072, np.float32)
    one, two = (np.log(component(name).rescaled(x, Band(350.0), 0)) for name in POINT_LIKE)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / math.sqrt(3072)


def test_a_frame_turns_extended_maps_in_harmonics() -> None:
    x = np.zeros(768, np.float32)
    x[100:140] = 1.0
    turned = in_frame(SkyMaps({"free_free": x, "cib": x}), "galactic")
    assert set(np.unique(turned["cib"])) == {0.0, 1.0} and len(np.unique(turned["free_free"])) > 100


@pytest.mark.slow
def test_an_extra_component_leaves_the_others_as_they_were() -> None:
    pytest.importorskip("camb")
    from sundog.simulate.sky import simulate_sky

    plain, more = (simulate_sky(16, seed=1, min_halo=3e14, extra=extra) for extra in ((), ("free_free",)))
    for name, values in plain:
        assert (values == more[name]).all(), name
    expected = free_free_uk(10.0, 148.0) / thermodynamic_to_rayleigh_jeans(148.0)
    assert (more["free_free"] > 0).all()
    assert 0.3 < more["free_free"].mean() / expected < 3  # one lognormal sky of width 0.8


def test_five_maps_in_order_are_a_sky() -> None:
    maps = np.arange(5 * 192, dtype=np.float32).reshape(5, 192)
    sky = SkyMaps(*maps)
    assert np.array_equal(sky.kappa, maps[0]) and np.array_equal(sky.radio, maps[4]) and sky.frequency_ghz == 148
