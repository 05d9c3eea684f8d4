"""Fakes chosen by true rows: closed forms of Gaussians, names, weights, contexts, and what is refused."""

from __future__ import annotations

import pytest
import torch

import sundog
from sundog.errors import OptionError, SampleSizeError
from sundog.random import short
from sundog.tasks.rejection import CAP, accepted


class Wide:
    """Gaussian fakes of this standard deviation, columns in another order; with a context c their mean is c."""

    def __init__(self, width: float = 1.0, told: bool = False, privacy: str = "") -> None:
        self.width, self.told, self.privacy = width, told, privacy

    def sample(self, n: int, context: sundog.Dataset | None = None, seed: int = 0) -> sundog.Dataset:
        g = torch.Generator().manual_seed(short(seed, 32))
        x = self.width * torch.randn(n, 2, generator=g, dtype=torch.float64)
        told = None if context is None else context.values
        made = sundog.Dataset.from_arrays(x if told is None else x + told, told, names=["b", "a"],
                                          context_names=None if told is None else ["c"])
        return sundog.Dataset(**{**made.__dict__, "provenance": {"privacy": self.privacy} if self.privacy else {}})


def true(n: int = 2000, seed: int = 1000, width: float = 1.0) -> sundog.Dataset:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[:, 0] *= width
    return sundog.Dataset.from_arrays(x, names=["a", "b"])


def test_a_wide_generator_becomes_as_narrow_as_the_truth() -> None:
    fakes = accepted(Wide(1.5), true(), 4000, seed=0)
    told = fakes.provenance["accepted"]
    assert len(fakes) == len(fakes.values.unique(dim=0)) == 4000 and fakes.names == ("b", "a")
    # Trees of 2,000 rows mend most of an excess of 1.25 in the variance (its error is 0.02).
    assert ((fakes.values.var(0) - 1).abs() < 0.2).all()
    assert told["kept"] / told["drawn"] <= 1.05 / CAP and told["beyond"] < 0.02


def test_a_right_generator_stays_as_it_is() -> None:
    fakes = accepted(Wide(), true(), 4000, seed=0)
    assert ((fakes.values.var(0) - 1).abs() < 0.1).all() and (fakes.values.mean(0).abs() < 0.1).all()


def test_what_is_never_made_is_counted_as_missing() -> None:
    # r of N(0, 1) over N(0, 1/4) in two dimensions, exp(3 x^2 / 2) / 4, is above C where x^2 > u = ln(4 C) / 1.5.
    u = torch.tensor(4 * CAP).log() / 1.5
    missing = float((-u / 2).exp() - CAP * (-2 * u).exp())
    found = accepted(Wide(0.5), true(), 500, seed=0).provenance["accepted"]["beyond"]
    assert 0.7 * missing < found < 1.3 * missing


def test_columns_are_matched_by_name_and_weights_count() -> None:
    # The truth is wide in a only; by weights it is narrow again.
    wide = accepted(Wide(2.0), true(width=2.0), 3000, seed=0).values.var(0)
    assert wide[0] < 1.5 < 3 < wide[1]
    data = true(4000, width=2.0)
    w = (-0.375 * data.column("a") ** 2)
    weighted = sundog.Dataset.from_arrays(data.values, names=["a", "b"], weights=torch.as_tensor(w).exp())
    assert (accepted(Wide(2.0), weighted, 3000, seed=0).values.var(0) < 1.6).all()


def test_contexts_keep_their_law() -> None:
    # Fakes of c = 1 are right, those of c = 0 too wide: fewer of the latter may be kept, but not fewer come out.
    class Half(Wide):
        def sample(self, n: int, context: sundog.Dataset | None = None, seed: int = 0) -> sundog.Dataset:
            made = super().sample(n, context, seed)
            assert made.context is not None
            made.values[:, :] = torch.where(made.context > 0, made.values, 3 * made.values)
            return made

    c = (torch.arange(2000) % 2).double()[:, None]
    real = sundog.Dataset.from_arrays(true().values + c, c, names=["a", "b"], context_names=["c"])
    fakes = accepted(Half(told=True), real, 2000, seed=0)
    assert fakes.context is not None
    assert abs(float(fakes.context.mean()) - 0.5) < 0.1  # 0.05 to 0.08 over three seeds; 0.17 where c is no feature


def test_a_row_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = (accepted(Wide(1.2), true(500), n, seed=3) for n in (50, 200))
    assert torch.equal(few.values, many.values[:50])


def test_refusals() -> None:
    with pytest.raises(SampleSizeError, match="too few true rows"):
        accepted(Wide(), true(100), 10)
    with pytest.raises(OptionError, match="private run"):
        accepted(Wide(privacy="epsilon = 1"), true(), 10)
    with pytest.raises(OptionError, match="hardly any"):
        accepted(Wide(0.01), sundog.Dataset.from_arrays(true().values + 5, names=["a", "b"]), 2000)
