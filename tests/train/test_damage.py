"""Damaged and edited folders: a named error, or the same numbers; never a traceback of ours, never other numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sundog
from sundog.errors import FileError, OptionError, RunError, ShapeError, SundogError
from sundog.random import stream
from sundog.tasks.anomaly.regions import sliding_windows
from sundog.train.checkpoint import CHECKPOINT, read_tensors, write_tensors

DATA = sundog.Dataset.from_arrays(torch.randn(60, 2, generator=stream(0, "damage")), torch.arange(60.0)[:, None],
                                  context_names=("m_jj",))
PLAN = sundog.Plan(steps=2, batch=20)
OPTIONS: dict[str, object] = {"layers": 1, "hidden": (4,), "bins": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    sundog.fit("flow", DATA, plan=PLAN, out=folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def numbers(whole: Path) -> torch.Tensor:
    return sundog.load_run(whole).sample(5, seed=1).values


def damaged(content: bytes, place: float, cut: bool, bit: int) -> bytes:
    at = int(place * len(content))
    return content[:at] if cut else content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
DAMAGE = {"place": st.floats(0, 1, exclude_max=True), "cut": st.booleans(), "bit": st.integers(0, 7)}


@FUZZ
@given(which=st.integers(0, 1), **DAMAGE)
def test_a_flipped_bit_or_a_cut_of_a_run_is_named_or_harmless(
    whole: Path, numbers: torch.Tensor, tmp_path_factory: pytest.TempPathFactory,
    which: int, place: float, cut: bool, bit: int,
) -> None:
    folder = tmp_path_factory.mktemp("hurt") / "run"
    shutil.copytree(whole, folder)
    file = sorted(path for path in folder.iterdir() if path.name != ".lock")[which]
    file.write_bytes(damaged(file.read_bytes(), place, cut, bit))
    try:
        found = sundog.load_run(folder).sample(5, seed=1).values
    except SundogError:
        return
    finally:
        shutil.rmtree(folder)
    assert torch.equal(found, numbers)


@FUZZ
@given(**DAMAGE)
def test_a_flipped_bit_or_a_cut_of_tensors_is_named_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: float, cut: bool, bit: int
) -> None:
    file = tmp_path_factory.mktemp("hurt") / CHECKPOINT
    before = {"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.int64)}
    write_tensors(file, before, {"step": 3})
    file.write_bytes(damaged(file.read_bytes(), place, cut, bit))
    try:
        after, facts = read_tensors(file)
    except RunError:
        return
    assert facts == {"step": 3}
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == before[name].dtype for name in before)


@pytest.mark.parametrize("edit", [
    {"family": 3}, {"family": "flw"}, {"model": []}, {"model": {"shape": "x"}}, {"labels": None},
    {"plan": {"steps": "x"}}, {"plan": []}, {"history": {}}, {"scaling": 5},
    {"scaling": {"name": "nonsense"}}, {"weights": None},
    {"weights": "\x00"}, {"weights": "nowhere"}, {"identity": [1]}, {"context_scaling": "x"}, {"sundog_run": 7},
])
def test_an_edited_run_is_named(edit: dict[str, object], whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    facts = json.loads(file.read_text()) | edit
    file.write_text(json.dumps(facts))
    with pytest.raises(SundogError, match=r"changed after it was written|another version|not a run"):
        sundog.load_run(tmp_path / "run")
    del facts["checksum"]  # as the message says, where the change was meant
    file.write_text(json.dumps(facts))
    if edit != {"identity": [1]}:
        with pytest.raises(SundogError):
            sundog.load_run(tmp_path / "run")


def test_a_run_with_options_of_an_older_sundog_says_so(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    facts = json.loads(file.read_text())
    facts["model"]["knots"] = facts["model"].pop("bins")
    del facts["checksum"]
    file.write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"run\.json is of a sundog with other options: .* got knots, .* fit again"):
        sundog.load_run(tmp_path / "run")
    facts["model"]["bins"] = facts["model"].pop("knots")
    file.write_text(json.dumps(facts))
    sundog.load_run(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"3", b"null", b"[" * 100_000, b'{"sundog_run": 1}'])
def test_what_is_no_run_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError):
        sundog.load_run(tmp_path)


def test_a_checkpoint_of_other_tensors_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sundog.train import engine

    def stopped(self: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine._Loop, "_over", lambda self: stopped(self) if self.step else False)
        patch.setattr(engine._Loop, "_validate", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            sundog.fit("flow", DATA, plan=PLAN.with_(checkpoint_seconds=0), out=tmp_path, **OPTIONS)
    file = tmp_path / CHECKPOINT
    if not file.exists():
        pytest.skip("stopped before a checkpoint")
    tensors, facts = read_tensors(file)
    for hurt in ({}, {"identity": facts["identity"]}, facts | {"history": {"x": 1}}, facts | {"history": None}):
        write_tensors(file, tensors, hurt)
        with pytest.raises(RunError, match="damaged"):
            sundog.fit("flow", DATA, plan=PLAN, out=tmp_path, **OPTIONS)
    write_tensors(file, {"model/x": torch.zeros(1)}, facts)
    with pytest.raises(RunError, match="damaged"):
        sundog.fit("flow", DATA, plan=PLAN, out=tmp_path, **OPTIONS)


@pytest.mark.parametrize("name, content", [
    ("p.json", b"[1, 2]"), ("p.json", b"\xff"), ("p.json", b"[" * 100_000), ("p.json", b'{"steps": 1e999}'),
    ("p.json", b'{"seed": "x"}'), ("p.yaml", b"a: [1"), ("p.yaml", b"steps: 2020-01-01"), ("p.yaml", b"- 1"),
    ("p.yaml", b"\x00"),
])
def test_a_plan_file_that_is_none_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((FileError, OptionError)):
        sundog.Plan.load(tmp_path / name)


def test_seeds_of_any_length() -> None:
    first, second = (sundog.fit("flow", DATA, plan=PLAN, seed=2**64 + i, **OPTIONS).sample(3, seed=2**80).values
                     for i in range(2))
    assert not torch.equal(first, second)


def test_more_than_the_machine_holds_is_refused(whole: Path) -> None:
    with pytest.raises(OptionError, match="not enough memory for 1e\\+13 fakes"):
        sundog.load_run(whole).sample(10**13)
    with pytest.raises(OptionError, match="too many windows"):
        sliding_windows(0, 1e9, 0.1)


@pytest.mark.parametrize("pixel", [-1, 0, float("inf"), float("nan"), "x"])
def test_impossible_pixels_are_refused(pixel: object) -> None:
    with pytest.raises(OptionError, match="pixel_arcmin"):
        sundog.Dataset.from_arrays(torch.zeros(2, 8, 8), pixel_arcmin=pixel)  # type: ignore[arg-type]


# -- from memory -------------------------------------------------------------------------------------------------


def test_a_context_by_name_and_doors_found_from_memory(whole: Path) -> None:
    run = sundog.Run.load(whole)
    assert torch.equal(run.sample(4, context={"m_jj": 3.5}).values, run.sample(4, context=3.5).values)
    assert torch.equal(run.sample(2, context={"m_jj": [3.5, 4.0]}).context, torch.tensor([[3.5], [4.0]]))
    with pytest.raises(ShapeError, match="expected m_jj"):
        run.sample(4, context={"mjj": 3.5})
    with pytest.raises(FileError, match=r"sundog\.load_run"):
        sundog.load(whole)
    assert "flow" in sundog.families()
