"""Completeness of a source finder on a mock survey: the truth is known, and so is what chance would match."""

from __future__ import annotations

import numpy as np
import pytest

from sundog.errors import SampleSizeError
from sundog.tasks.radio import Catalogue, completeness, find_sources, mock_survey

RNG = np.random.default_rng(0)


def catalogue(n: int, las: float = 0.0) -> Catalogue:
    return Catalogue.of({"ra": 180 + RNG.uniform(-0.5, 0.5, n), "dec": RNG.uniform(-0.5, 0.5, n),
                         "flux_mjy": RNG.uniform(1, 10, n), "las_arcsec": np.full(n, las)})


def moved(rows: Catalogue, arcsec: float) -> Catalogue:
    return Catalogue.of({"ra": rows.ra, "dec": rows.dec + arcsec / 3600, "flux_mjy": 0.9 * rows.flux_mjy})


def test_bright_half_found_and_nothing_else() -> None:
    truth = catalogue(400)
    bright = truth.flux_mjy > np.median(truth.flux_mjy)
    told = completeness(truth, moved(truth[bright], 1.0), area_deg2=1.0, bins=4, radius_arcsec=2.0)
    assert told.share.tolist() == [0, 0, 1, 1] and told.false == 0 and told.true.sum() == 400
    assert told.flux_ratio[2:] == pytest.approx(0.9) and np.isnan(told.flux_ratio[:2]).all()
    assert told.low[0] == 0 < told.high[0] < 0.05 and 0.95 < told.low[3] < told.high[3] == 1
    assert (told.match[bright] == np.arange(bright.sum())).all()
    beyond = completeness(truth, moved(truth, 3.0), area_deg2=1.0, radius_arcsec=2.0)  # the control
    assert beyond.share.max() < 0.05 and beyond.false > 380


def test_random_places_match_as_often_as_chance_says() -> None:
    truth, other = catalogue(1500, las=60.0), catalogue(1500)
    told = completeness(truth, other, area_deg2=1.0, bins=3)
    chance = told.chance.mean()  # of pairs; one for one there are fewer
    assert 0.2 < chance < 0.4 and 0.7 * chance < told.share.mean() <= chance + 4 * (0.25 / 1500) ** 0.5


def test_one_source_explains_one_only() -> None:
    pair = Catalogue.of({"ra": [10.0, 10.0], "dec": [0.0, 1 / 3600], "flux_mjy": [1.0, 2.0], "las_arcsec": [0.0, 0.0]})
    told = completeness(pair, pair[:1], area_deg2=1.0, bins=1)
    assert told.match.tolist() == [0, -1] and told.share[0] == 0.5
    assert completeness(pair, pair[:0], area_deg2=1.0, bins=1).share[0] == 0
    with pytest.raises(SampleSizeError, match="fewer bins"):
        completeness(pair, pair, area_deg2=1.0)


def test_a_finder_loses_the_faint_ones_of_a_mock_survey() -> None:
    pytest.importorskip("photutils")
    blob = np.exp(-((np.mgrid[:16, :16] - 7.5) ** 2).sum(0) / 8)
    survey = mock_survey(blob[None], 60, size=500, rms_mjy=0.2, flux_mjy=(0.5, 100.0), slope=-1.0, las_arcsec=(8, 12))
    told = completeness(survey.truth, find_sources(survey.mosaic), area_deg2=(500 * 1.5 / 3600) ** 2, bins=3)
    assert told.share[0] < 0.6 < 0.8 < told.share[2] and told.chance.max() < 0.1 and told.false <= 5
    assert 0.8 < told.flux_ratio[2] < 1.2 and "found where nothing is" in str(told)
