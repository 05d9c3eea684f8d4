import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sundog import Plan
from sundog.errors import FileError, OptionError

plans = st.builds(
    Plan,
    steps=st.none() | st.integers(0, 10**6),
    seconds=st.none() | st.floats(1e-3, 1e6),
    batch=st.none() | st.integers(1, 10**5),
    schedule=st.sampled_from(["one-cycle", "constant"]),
    ema=st.floats(0, 0.9999),
    precision=st.sampled_from(["float32", "bf16", "float64"]),
    seed=st.integers(0, 2**40),
)


@given(plans)
@settings(max_examples=30, deadline=None)
def test_json_round_trip(plan):
    assert Plan.from_json(plan.to_json()) == plan


def test_yaml_and_json_files_say_the_same(tmp_path):
    plan = Plan(steps=7, seed=3)
    plan.save(tmp_path / "plan.json")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"steps": 7, "seed": 3}))
    assert Plan.load(tmp_path / "plan.json") == Plan.load(tmp_path / "plan.yaml") == plan


@pytest.mark.parametrize(("settings", "message"), [
    ({"steps": -1}, "plan setting 'steps' is not usable: got -1"),
    ({"speed": 3}, "plan setting 'speed' is unknown"),
    ({"precision": "float8"}, "plan setting 'precision' is not usable"),
    ({"seconds": 0}, "plan setting 'seconds' is not usable"),
])
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(OptionError, match=message):
        Plan(**settings)


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.yaml").write_text("steps: [")
    for path in ("a.json", "b.yaml", "absent.json"):
        with pytest.raises(FileError):
            Plan.load(tmp_path / path)


def test_a_plan_is_frozen():
    with pytest.raises(Exception, match="frozen"):
        Plan().steps = 3
