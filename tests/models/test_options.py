"""Options of a family, stated once: the same statement gives constructor, JSON, help and errors."""

import inspect
import json
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import OptionError
from sundog.models.emulators.base import Emulator
from sundog.models.families import FAMILIES, build, options
from sundog.models.flow import NormalizingFlow
from sundog.models.matching import FlowMatching
from sundog.models.options import Options, option
from sundog.models.vae import VAE

SHAPES = {"scattering": (32, 32), "translate": (2, 16, 16), "refine": (2, 16, 16), "sde": (1, 34), "sets": (3, 1, 5)}


@dataclass(frozen=True)
class Toy(Options):
    count: int = option(3, "how many", least=1)
    share: float = option(0.5, "how much", least=0, below=1)
    widths: tuple[int, ...] = option((4, 4), "of layers", least=1)
    pair: tuple[float, float] | None = option(None, "two of them")
    kind: str = option("one", "word", words=("one", "two"))
    level: float | str = option("learned", "number or word", above=0, words=("learned",))
    loud: bool = option(False, "or not")
    extra: int = option(0, "beside kind two", only=("kind", "two"))
    square: bool = option(True, "of images", only=("data", "images"))


def read(**given):
    return Toy.read(given, "toy", (2,), 0)


@pytest.mark.parametrize(("given", "found"), [
    ({"widths": 64}, (64,)), ({"widths": [8, 9]}, (8, 9)), ({"widths": ()}, ()), ({"count": 5.0}, 5),
    ({"pair": [0, 1]}, (0.0, 1.0)), ({"pair": None}, None), ({"level": 2}, 2.0), ({"level": "learned"}, "learned"),
    ({"extra": 0}, 0), ({"loud": np.True_}, True), ({"loud": 0}, False), ({"widths": torch.tensor(8)}, (8,)),
    ({"count": np.int64(4)}, 4), ({"share": np.float32(0.5)}, 0.5), ({"widths": np.array([8, 9])}, (8, 9)),
])
def test_values_are_read_as_their_type(given, found):
    (name,) = given
    value = getattr(read(**given), name)
    assert value == found and type(value) is type(found)


@pytest.mark.parametrize(("given", "message"), [
    ({"cuont": 3}, "does not take these options: got cuont, expected count, .*did you mean count"),
    ({"count": 0}, "count out of range: got 0, expected a whole number >= 1"),
    ({"count": 2.5}, "count is not whole: got 2.5"),
    ({"count": True}, "count is not a number"),
    ({"count": None}, "count is not a number: got None"),
    ({"share": 1.0}, "share out of range: got 1.0, expected a finite number >= 0 and < 1"),
    ({"share": float("nan")}, "share out of range"),
    ({"widths": "64,64"}, "widths is a text"),
    ({"widths": (4, 0)}, "widths out of range: got 0"),
    ({"pair": (1, 2, 3)}, "expected 2 numbers"),
    ({"kind": "tow"}, "unknown kind: got 'tow', expected one, two; did you mean two"),
    ({"level": "fitted"}, "expected a finite number > 0 or learned"),
    ({"level": -1}, "expected a finite number > 0 or learned"),
    ({"loud": "yes"}, "loud is a yes or no"),
    ({"loud": 1.0}, "loud is a yes or no"),
    ({"loud": np.ones(2)}, "loud is a yes or no"),
    ({"count": torch.ones(2)}, "count is not a number"),
    ({"share": None}, "share is not a number: got None"),
    ({"extra": 2}, "extra has no effect here: got extra=2 with kind one, expected kind two"),
    ({"square": False}, "square has no effect here: got square=False with data vectors"),
])
def test_errors_name_the_option_and_what_it_may_be(given, message):
    with pytest.raises(OptionError, match=message):
        read(**given)


def test_an_option_has_an_effect_beside_its_partner():
    assert read(kind="two", extra=2).extra == 2
    assert Toy.read({"square": False}, "toy", (8, 8), 0).square is False


@pytest.mark.parametrize("family", FAMILIES)
def test_one_statement_gives_signature_help_and_json(family):
    cls = FAMILIES[family]
    names = [f.name for f in fields(cls.takes)]
    assert names and list(inspect.signature(cls).parameters) == ["shape", "context_dim", *names]
    assert [line.split(" : ")[0] for line in options(family)] == names
    assert all(line in cls.__doc__ for line in options(family))
    width = int(issubclass(cls, Emulator))  # a simulator has an input
    config = json.loads(json.dumps(build(family, SHAPES.get(family, (3,)), width, {}).config()))
    assert set(config) == {"shape", "context_dim", *names}
    assert build(family, tuple(config.pop("shape")), config.pop("context_dim"), config).config().keys() >= set(names)


def test_a_number_stands_for_a_sequence_of_one():
    assert NormalizingFlow((2,), hidden=16).config()["hidden"] == [16]
    assert FlowMatching((2,), hidden=16).config()["hidden"] == [16]


def test_ignored_options_are_refused_by_name():
    with pytest.raises(OptionError, match=r"hidden has no effect here.*data images"):
        VAE((8, 8), hidden=(32,))
    with pytest.raises(OptionError, match="parameters has no effect here"):
        FlowMatching((2,), parameters=1e5)


def test_families_that_take_no_context_say_so():
    with pytest.raises(OptionError, match="'mixture-vae' takes no context: got 2 context columns"):
        build("mixture-vae", (3,), 2, {})


def test_fit_passes_on_that_maps_wrap_around():
    maps = sundog.simulate.fields.gaussian_field(30, 8, -2.0, seed=0)
    few = {"plan": sundog.Plan(steps=1, batch=4), "parameters": 2e4}
    assert maps.periodic
    for family in ("diffusion", "flow-matching"):
        assert sundog.fit(family, maps, **few).model.options.periodic
        assert not sundog.fit(family, maps, periodic=False, **few).model.options.periodic
    assert not sundog.fit("diffusion", sundog.Dataset.from_arrays(maps.values), **few).model.options.periodic
