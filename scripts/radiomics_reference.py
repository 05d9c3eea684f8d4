"""Make tests/statistics/radiomics_reference.json with pyradiomics 3.0.1, which needs an environment of its own.

    python -m venv old
    old/bin/pip install "numpy<2" SimpleITK PyWavelets pykwalify setuptools wheel cython versioneer
    old/bin/pip install --no-build-isolation pyradiomics==3.0.1
    old/bin/python scripts/radiomics_reference.py

Images, masks and settings are those of tests/statistics/test_radiomics.py.
"""

import json
import logging
from pathlib import Path

import numpy as np
import radiomics
import SimpleITK as sitk
from radiomics import firstorder, glcm, imageoperations

CASES = {
    "rough, width 25": ("rough", False, {"binWidth": 25}),
    "rough, width 40, distances 1 and 2, disc": ("rough", True, {"binWidth": 40, "distances": [1, 2]}),
    "rough, 16 levels, distance 3": ("rough", False, {"binCount": 16, "distances": [3]}),
    "source, 32 levels": ("source", False, {"binCount": 32}),
    "source, width 10, disc": ("source", True, {"binWidth": 10}),
    "source, normalised to 100, width 25": ("source", False, {"binWidth": 25, "normalizeScale": 100}),
    "flat, width 25": ("flat", False, {"binWidth": 25}),
}


def pictures():
    iy, ix = np.mgrid[:20, :24]
    r = np.sqrt((iy - 9.0) ** 2 + (ix - 14.0) ** 2)
    made = {"rough": ((iy * 37 + ix * 91 + iy * ix * 13) % 251) * 1.25 - 80.0,
            "source": 400.0 / (1 + r**2) + ((iy * 29 + ix * 53 + iy * ix * 7) % 17) * 0.5,
            "flat": np.full((20, 24), 7.25)}
    return made, r < 7


def measured(values, mask, options):
    image, region = sitk.GetImageFromArray(values), sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((1.5, 1.5))
    region.SetSpacing((1.5, 1.5))
    if "normalizeScale" in options:
        image = imageoperations.normalizeImage(image, normalizeScale=options["normalizeScale"])
    found = {}
    for stem, kind in (("firstorder", firstorder.RadiomicsFirstOrder), ("glcm", glcm.RadiomicsGLCM)):
        features = kind(image, region, label=1, **options)
        features.enableAllFeatures()
        found |= {f"{stem}_{name}": float(value) for name, value in features.execute().items()}
    return found


if __name__ == "__main__":
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    images, disc = pictures()
    cases = {name: measured(images[which], disc if masked else np.ones_like(disc), options)
             for name, (which, masked, options) in CASES.items()}
    made_by = f"pyradiomics {radiomics.__version__.lstrip('v')}, numpy {np.__version__}"
    target = Path(__file__).resolve().parent.parent / "tests" / "statistics" / "radiomics_reference.json"
    target.write_text(json.dumps({"made_by": made_by, "cases": cases}, indent=1) + "\n")
