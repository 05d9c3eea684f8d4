"""fit: what it says about data it cannot use."""

from __future__ import annotations

import numpy as np
import pytest

from sundog.data.dataset import Dataset
from sundog.errors import DataError
from sundog.train.fit import fit
from sundog.train.plan import Plan


def test_a_context_of_one_value_is_said_to_condition_nothing():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.normal(size=(50, 2)), context=np.full(50, 3.0), context_names=("m",))
    with pytest.raises(DataError, match=r"the context m is constant.*conditions nothing"):
        fit("flow", data, plan=Plan(steps=2))
