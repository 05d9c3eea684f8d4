"""What every detector that judges events by a background template can do, once it has one."""

from __future__ import annotations

from abc import ABC
from typing import Any

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.tasks.anomaly.regions import gather_any
from sundog.tasks.anomaly.template import Template, TemplateReport


class TemplateDetector(ABC):
    """A search with a background template in ``template_``, None before ``fit``. Abstract: subclasses are final."""

    template_: Template | None

    def sample_background(self, n: int, m: Any = None, *, seed: int = 0) -> Dataset:
        """n template events inside the window, or at the masses m (n,), in the units of the data."""
        return self.fitted_template.sample(n, seed, m)

    def log_background(self, x: Any, m: Any = None) -> Tensor:
        """log p_B(x | m) of the template, float64 (n,), per product of the units of x."""
        return self.fitted_template.log_prob(gather_any(x, m))

    @property
    def template_report_(self) -> TemplateReport | None:
        """How well the template reproduces events that it never saw; None with ``check=False``."""
        return self.fitted_template.report

    @property
    def fitted_template(self) -> Template:
        """The template, once fitted."""
        if self.template_ is None:
            raise OptionError("the detector has not been fitted", got="no template", expected="fit first",
                              do="call fit(x, m)")
        return self.template_
