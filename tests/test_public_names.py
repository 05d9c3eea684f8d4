"""The public names are there, load lazily, and no function is hidden by a folder of its name."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import types

import pytest
import torch

import sundog

NAMES = ("Dataset", "load", "fit", "load_run", "judge", "Plan", "Run", "DensityRun", "Verdict", "SundogError")


@pytest.mark.parametrize("name", NAMES)
def test_public_name(name: str) -> None:
    found = getattr(sundog, name)
    assert callable(found)
    assert not isinstance(found, types.ModuleType)
    assert name in sundog.__all__
    assert name in dir(sundog)


def test_there_are_few_public_names() -> None:
    assert len(sundog.__all__) <= 25


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        sundog.fitt  # noqa: B018


def test_simulate_is_a_subpackage() -> None:
    assert isinstance(sundog.simulate, types.ModuleType)
    assert hasattr(sundog.simulate, "__path__")


@pytest.mark.slow
def test_simulate_is_there_where_nothing_else_imported_it() -> None:
    code = "import sundog; sundog.simulate.fields.gaussian_field, sundog.simulate.densities.TwoMoons"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def import_everything() -> list[str]:
    names = [item.name for item in pkgutil.walk_packages(sundog.__path__, "sundog.")]
    for name in names:
        importlib.import_module(name)
    return names


def test_judge_stays_a_function_after_every_submodule_is_imported() -> None:
    assert len(import_everything()) > 20
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator)
    real, fake = sundog.Dataset.from_arrays(x[:200]), sundog.Dataset.from_arrays(3 + x[200:])
    first = sundog.judge(real, fake, splits=4)
    second = sundog.judge(real, fake, splits=4)
    assert not first.passed
    assert [row.p_value for row in first.rows] == [row.p_value for row in second.rows]


def test_no_function_shares_its_name_with_a_folder() -> None:
    import_everything()
    functions = {name for name in sundog.__all__ if isinstance(getattr(sundog, name), types.FunctionType | type)}
    folders = {item.name for item in pkgutil.walk_packages(sundog.__path__) if item.ispkg}
    assert not functions & folders
    assert all(isinstance(getattr(sundog, folder), types.ModuleType) for folder in folders)


def test_package_import_is_light() -> None:
    code = ("import time; start = time.process_time(); import sundog; spent = time.process_time() - start\n"
            "import sys; sys.exit('torch' in sys.modules or spent > 0.3)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
