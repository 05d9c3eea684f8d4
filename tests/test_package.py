"""What wraps the package says the same as the package, and builds: wheel, container, conda recipe, citation."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import sundog

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
OTHER_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # conda's name -> PyPI's


def check_wheel() -> ModuleType:
    found = importlib.util.spec_from_file_location("check_wheel", ROOT / "scripts" / "check_wheel.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def recipe() -> dict:
    """The conda recipe with its one variable filled in."""
    [(name, value)] = re.findall(r'{% set (\w+) = "(.+)" %}', RECIPE)
    return yaml.safe_load(re.sub(r"{%.*%}", "", RECIPE).replace(f"{{{{ {name} }}}}", value))


def docker_steps() -> list[tuple[str, str]]:
    """(instruction, rest) of every line of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line and not line.startswith("#")]


def test_one_version_everywhere() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == recipe()["package"]["version"] == sundog.__version__
    assert cited["license"] == PROJECT["license"] == recipe()["about"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)


def test_conda_asks_for_what_pip_asks_for() -> None:
    wanted = [line.replace(" ", "") for line in recipe()["requirements"]["run"]]
    renamed = {OTHER_NAMES.get(line.partition(">=")[0], line.partition(">=")[0]) + ">=" + line.partition(">=")[2]
               for line in wanted}
    assert renamed == {*PROJECT["dependencies"], "python" + PROJECT["requires-python"]}
    assert recipe()["build"]["entry_points"] == [f"sundog = {PROJECT['scripts']['sundog']}"]


def test_the_pin_is_the_torch_that_the_tests_run_with() -> None:
    [pinned] = re.findall(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch.__version__.split("+")[0] == pinned


def test_issue_forms_can_be_shown() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            assert all({"type", "id", "attributes"} <= set(part) for part in form["body"])


def test_the_container_sees_what_it_copies() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for word, rest in docker_steps() if word == "COPY" for source in shlex.split(rest)[:-1]}
    assert {source.removeprefix("./") for source in copied} == let_through
    assert all((ROOT / source).exists() for source in copied)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A new environment that sees the libraries of this one, and nothing else of it."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for path in Path(torch.__file__).parents[1].iterdir():
        if "sundog" not in path.name:
            (libraries / path.name).symlink_to(path)
    return {**os.environ, "PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(libraries),
            "HOME": str(tmp_path)}


@pytest.mark.slow
def test_the_container_builds_and_works_step_by_step(tmp_path: Path, environment: dict[str, str]) -> None:
    place = {"/": tmp_path / "root"}
    here = "/"
    for word, rest in docker_steps():
        place.setdefault(here, tmp_path / here.strip("/"))
        place[here].mkdir(parents=True, exist_ok=True)
        if word == "WORKDIR":
            here = rest
        elif word == "COPY":
            for source in shlex.split(rest)[:-1]:
                kept = (ROOT / source, place[here] / Path(source).name)
                shutil.copytree(*kept) if kept[0].is_dir() else shutil.copy(*kept)
        elif word == "RUN":
            subprocess.run(["sh", "-c", rest], cwd=place[here], env=environment, check=True)
        elif word == "ENTRYPOINT":
            entry = yaml.safe_load(rest)
        elif word == "CMD":
            arguments = yaml.safe_load(rest)
        else:
            assert word in ("FROM", "ENV", "USER")
    for words in (arguments, ["example", "runs"], ["info", "runs.npz"]):
        done = subprocess.run([*entry, *words], cwd=place[here], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "Usage" not in done.stdout and "40 " in done.stdout
    where = subprocess.run(["python", "-c", "import sundog; print(sundog.__file__)"], cwd=place[here], env=environment,
                           capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "venv") in where


@pytest.mark.slow
def test_the_wheel_is_whole_and_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    checked = check_wheel().main
    assert checked(str(wheel)) == 0, capsys.readouterr().out
    with zipfile.ZipFile(wheel) as archive:
        assert f"sundog-{sundog.__version__}.dist-info/entry_points.txt" in archive.namelist()
    with zipfile.ZipFile(wheel, "a") as archive:  # the check notices weight
        archive.writestr("sundog/heavy.bin", os.urandom(6_000_000))
    assert checked(str(wheel)) == 1
