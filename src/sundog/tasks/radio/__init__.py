"""Radio galaxies: from a survey to training images, from samples back to mJy/beam and to a mock survey.

>>> from sundog.tasks.radio import Preparation, mock_survey, prepare, read_catalogue, read_cutouts, read_mosaic
"""

from sundog.tasks.radio.archives import as_cutouts, read_archive
from sundog.tasks.radio.catalogue import Catalogue, read_catalogue, write_catalogue
from sundog.tasks.radio.completeness import Completeness, completeness
from sundog.tasks.radio.cutouts import (
    Beam,
    Cutout,
    Mosaic,
    cut,
    read_cutouts,
    read_mosaic,
    write_cutouts,
    write_mosaic,
)
from sundog.tasks.radio.finder import find_sources, source_numbers
from sundog.tasks.radio.learning import learn
from sundog.tasks.radio.lie_detector import LieDetector, lie_detector
from sundog.tasks.radio.memory import FluxMemory
from sundog.tasks.radio.preparation import Preparation, Prepared, Report, prepare
from sundog.tasks.radio.survey import Survey, mock_survey

__all__ = [
    "Beam",
    "Catalogue",
    "Completeness",
    "Cutout",
    "FluxMemory",
    "LieDetector",
    "Mosaic",
    "Preparation",
    "Prepared",
    "Report",
    "Survey",
    "as_cutouts",
    "completeness",
    "cut",
    "find_sources",
    "learn",
    "lie_detector",
    "mock_survey",
    "prepare",
    "read_archive",
    "read_catalogue",
    "read_cutouts",
    "read_mosaic",
    "source_numbers",
    "write_catalogue",
    "write_cutouts",
    "write_mosaic",
]
