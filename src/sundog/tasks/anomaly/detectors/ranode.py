"""R-ANODE: fit signal and signal fraction at once, on a background held fixed.

    p_data(x, m) = w p_S(x, m) + (1 - w) p_B(x | m) p_B(m)    inside the window

p_B(x | m) is any background density, learned in the sidebands; p_B(m) the smooth fit to the sideband spectrum.
Both are evaluated once. Source: Das, Kasieczka & Shih 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.data.scaling.chain import named_scaling
from sundog.errors import DataError, OptionError
from sundog.models.mixture.signal import MixtureFit, find_signal, split_signal
from sundog.random import numpy_stream, stream
from sundog.tasks.anomaly.background.spectrum import MassLaw, mass_law
from sundog.tasks.anomaly.background.template import Template, TemplateReport, fit_template
from sundog.tasks.anomaly.checks.counted import (
    Closure,
    closure,
    counted_fraction,
    spectrum_counts,
)
from sundog.tasks.anomaly.checks.fraction import SignalFraction, check_fraction, signal_fraction
from sundog.tasks.anomaly.detectors.base import Search, TemplateSearch, fitted
from sundog.tasks.anomaly.detectors.growth import FlowFit, climb_on, grow
from sundog.tasks.anomaly.regions import mass_column

Background = Callable[[Any, Any], Any]
SIGNALS = ("mixture", "flow")
CLOSED = 100_000  # events beside the window that are compared with as many of the template
Law = MixtureFit | FlowFit


@dataclass(frozen=True, eq=False)
class Profile:
    """Log-likelihood gain over w = 0 at fixed signal fractions, p_S fitted anew at each (same events).

    Attributes
    ----------
    w : (k,) signal fractions
    gain : (k,) log-likelihood above w = 0
    """

    w: np.ndarray
    gain: np.ndarray


@dataclass(eq=False)
class RAnode(Search):
    """Density of a signal on a frozen background, with the signal fraction and its interval.

    p_S is a mixture of Gaussians in scaled features and mass, found by expectation-maximisation from the places
    where events are most in excess of p_B, or a flow that climbs on from there. Cross-fitting: p_S learned on all
    folds but one gives p_S / p_B on that fold.

    ``fraction_`` counts the events above the curves beside the window in bins of that ratio (``counted.py``): neither
    the shape of p_S nor an error of p_B biases it. ``core_fraction_`` is the likelihood of w under these ratios: that
    of the part of the signal that p_S holds, a lower bound, with p_B taken as exact. Where ``closure_``, events over
    template beside the window, does not pass, its interval says nothing.

    Parameters
    ----------
    region : the signal region
    seed : of background template, folds and starts
    w : fixed signal fraction, or None to learn it
    background : estimator with a template (``Cathode`` or ``Anode``, fitted or not), ``Template``, or a function
        (x, m) -> log p_B(x | m); None for a spline flow fitted to the sidebands, a word for one on that scaling
    components : numbers of Gaussians tried; the Bayesian information criterion chooses
    folds : of the cross-fitting
    masses : law of the mass of the background, ``smooth`` or the published ``histogram`` and ``kde``
    scaling : of the features in which p_S is learned, fitted to the events inside the window
    width : scale of the excesses looked for, in standard deviations
    starts : places of most excess that the fit climbs from; more find a signal that errors of p_B outshine
    signal : ``mixture``, or ``flow`` for a signal of any shape, started from the mixture

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> toy = ResonantToy()
    >>> search = RAnode(SignalRegion(3.3, 3.7), background=toy.log_background, components=(1,), folds=2)
    >>> search = search.fit(toy.events(8000, 0.03, seed=0))
    >>> search.evidence_, len(search.sample_signal(5, seed=0))
    (True, 5)
    """

    w: float | None = None
    background: Any = None
    components: Sequence[int] = (1, 2, 4)
    folds: int = 5
    masses: str = "smooth"
    scaling: Scaling | str = "normal-scores"
    width: float = 0.5
    starts: int = 6
    signal: str = "mixture"
    fit_: Law | None = field(default=None, init=False, repr=False)
    fraction_: SignalFraction | None = field(default=None, init=False, repr=False)
    core_fraction_: SignalFraction | None = field(default=None, init=False, repr=False)
    fold_: Tensor | None = field(default=None, init=False, repr=False)
    closure_: Closure | None = field(default=None, init=False, repr=False)
    control_: SignalFraction | None = field(default=None, init=False, repr=False)

    def _check(self) -> None:
        check_fraction(self.w)
        if self.folds < 2 or not self.components or min(self.components) < 1:
            raise OptionError("settings of R-ANODE are unusable", got=f"folds={self.folds}, "
                              f"components={tuple(self.components)}", expected="folds >= 2, components >= 1",
                              do="pass folds=5, components=(1, 2, 4)")
        one_of(self.signal, SIGNALS, "signal density")

    def learn(self, events: Dataset) -> None:
        whole = [name for name, column in zip(events.names, events.values.T) if bool((column == column.round()).all())]
        if whole and not callable(self.background):
            raise DataError(f"column {whole[0]} holds whole numbers", got=", ".join(whole),
                            expected="continuous columns: R-ANODE compares densities, and counts have none",
                            do="leave them out, or use Cathode")
        self._masses: MassLaw = mass_law(self.masses, events.context, self.region)
        self._background: Template | Background = self._fit_background(events)
        inside = events[self.region.contains(events)]
        unfitted = named_scaling(self.scaling) if isinstance(self.scaling, str) else self.scaling
        self._scaling = unfitted.fit(inside.values, None, inside.names)
        self._labels = inside[:1]
        self._z, self._log_b = self._standardised(inside)
        self.fit_ = self._law(self._z, self._log_b, self.components)
        self._gaussians = len(_mixture(self.fit_).signal.weights)
        ratio, self.fold_, self._laws = self._cross_fitted(self._z, self._log_b)
        self.core_fraction_ = signal_fraction(ratio.numpy())
        self.closure_ = self._closure(events[self.region.sidebands(events)])
        self.fraction_ = counted_fraction(spectrum_counts(events, *self.scored(events), self.region))
        self.control_ = self._control()

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """log p_S(x) / p_B(x | m), float64 (n,): rises with log p_data / p_B and does not use the signal's mass."""
        return self._feature_score(self._fitted, self.seen(x, m))

    @property
    def folded(self) -> Tensor:
        """(n,) which of the ``scorers`` never saw each event inside the window."""
        return fitted(self.fold_)  # type: ignore[no-any-return]

    def scorers(self) -> tuple[Callable[[Dataset], Tensor], ...]:
        """As ``score_samples``, by the p_S learned without each fold, see ``folded``."""
        return tuple(partial(self._feature_score, law) for law in self._laws)

    def log_signal(self, x: Any, m: Any = None) -> Tensor:
        """log p_S(x, m), float64 (n,), per product of the units of x and m."""
        events = self.seen(x, m)
        z, _ = self._coordinates(events)
        return self._fitted.signal.log_prob(z) + self._log_slope(events)

    def log_background(self, x: Any, m: Any = None) -> Tensor:
        """log p_B(x, m) inside the window, float64 (n,), per product of the units of x and m."""
        events = self.seen(x, m)
        return self._conditional(events) + self._masses.log_prob(events)

    def sample_signal(self, n: int, seed: int = 0) -> Dataset:
        """n draws of the learned signal: features in their units, the mass as context."""
        z = self._fitted.signal.sample(n, stream(seed, "signal"))
        first = self._labels
        return Dataset.from_arrays(
            self._scaling.inverse(z[:, :-1]), self.region.centre + 0.5 * self.region.width * z[:, -1], first.names,
            first.units, context_names=first.context_names, context_units=first.context_units, held_out_fraction=0.0,
            provenance={"drawn_by": "RAnode", "seed": seed})

    @property
    def signal_fraction_(self) -> float:
        """w inside the window: the fixed one, or the counted one."""
        return self.w if self.w is not None else self._fraction.value

    @property
    def signal_fraction_interval_(self) -> tuple[float, float]:
        """95 % interval of the counted w."""
        return self._fraction.low_95, self._fraction.high_95

    @property
    def evidence_(self) -> bool:
        """Whether the 95 % interval of the core fraction lies above zero and above that on the control sample.

        ``control_`` is the same fit on sideband events that the template never saw, features only: what it claims
        there is the template's error. None where the background is not a template with a test sample.
        """
        core: SignalFraction = fitted(self.core_fraction_)
        return core.low_95 > (0.0 if self.control_ is None else self.control_.high_95)

    @property
    def template_report_(self) -> TemplateReport | None:
        """Report of the background's template, None for a background given as a function."""
        return self.template_.report if self.template_ is not None else None

    def profile(self, w: Any) -> Profile:
        """The likelihood at fixed fractions w (k,), p_S climbing anew from the fit found, nearest w first.

        p_S is fitted to the events that are judged: read the shape, not the width, off this curve.
        """
        grid = np.sort(np.atleast_1d(np.asarray(w, dtype=float)))
        for one in grid:
            check_fraction(float(one))
        gain = np.empty(len(grid))
        middle = int(np.abs(grid - self._fitted.w).argmin())
        for part in (range(middle, len(grid)), range(middle - 1, -1, -1)):
            at = self._fitted
            for i in part:
                at = climb_on(self._z, self._log_b, at, float(grid[i]), self.seed)
                gain[i] = at.gain
        return Profile(grid, gain)

    def pseudo_experiments(self, n: int, *, w: float = 0.0, seed: int = 0) -> list[SignalFraction]:
        """Fractions that n repetitions of the search find in events drawn from p_B, a share w of them from p_S.

        With w = 0 the law of the answer where no signal is; with w = ``signal_fraction_`` its scatter and bias. The
        events come from the learned p_B: an error of p_B itself does not show here.

        Raises
        ------
        OptionError : a background that cannot be sampled (a plain function).
        """
        if self.template_ is None or not 0 <= w < 1 or n < 1:
            raise OptionError("pseudo-experiments are impossible", got=f"n={n}, w={w}, background "
                              f"{type(self.background).__name__}", expected="n >= 1, 0 <= w < 1, and a background "
                              "that can be sampled", do="leave background out, or pass a Cathode")
        return [self._pseudo_experiment(w, seed + i) for i in range(n)]

    # -- inside --------------------------------------------------------------------------------------------------

    def _fit_background(self, events: Dataset) -> Template | Background:
        if self.background is None or isinstance(self.background, str):
            return fit_template(events, self.region, family="flow", seed=self.seed, scaling=self.background)
        if isinstance(self.background, TemplateSearch) and self.background.template_ is None:
            self.background.fit(events)
        held: Any = getattr(self.background, "template_", self.background)
        if not callable(held) and not isinstance(held, Template):
            raise OptionError("this background has no density", got=type(self.background).__name__, expected="Cathode, "
                              "Anode or Sigma, a Template, or a function (x, m) -> log p_B(x | m)",
                              do="leave it out, or pass Cathode(region, template='flow')")
        if isinstance(held, Template) and not held.region.lo <= self.region.lo < self.region.hi <= held.region.hi:
            # It was taught by events of this window: the signal would be background.
            raise OptionError("the background was learned for another window", got=f"{held.region.lo:g} to "
                              f"{held.region.hi:g}", expected=f"{self.region.lo:g} to {self.region.hi:g} within it",
                              do="learn it for the window that is searched")
        return held

    @property
    def template_(self) -> Template | None:
        """The background, None where it is a plain function."""
        background = getattr(self, "_background", None)
        return background if isinstance(background, Template) else None

    def _conditional(self, events: Dataset) -> Tensor:
        if isinstance(self._background, Template):
            return self._background.log_prob(events)
        log_p = torch.as_tensor(np.asarray(self._background(events.values, mass_column(events)))).double()
        if log_p.shape != (len(events),) or torch.isnan(log_p).any():
            raise OptionError("the background density is unusable", got=f"shape {tuple(log_p.shape)}, "
                              f"{int(torch.isnan(log_p).sum())} NaN", expected=f"({len(events)},) numbers",
                              do="return log p_B(x | m) for each row")
        return log_p

    def _coordinates(self, events: Dataset) -> tuple[Tensor, Tensor]:
        mass = mass_column(events)[:, None]
        z = torch.cat([self._scaling.forward(events.values.double()),
                       (mass - self.region.centre) / (0.5 * self.region.width)], 1)
        return z, mass[:, 0]

    def _log_slope(self, events: Dataset) -> Tensor:
        return self._scaling.log_abs_det(events.values.double()) - float(np.log(0.5 * self.region.width))

    def _standardised(self, inside: Dataset) -> tuple[Tensor, Tensor]:
        """Events as z (n, d + 1), mass last, and log p_B per unit of z (n,)."""
        z, mass = self._coordinates(inside)
        return z, self._conditional(inside) + self._masses.log_prob(mass) - self._log_slope(inside)

    def _law(self, z: Tensor, log_b: Tensor, components: Sequence[int], with_mass: bool = True) -> Law:
        """The best mixture, or the flow that climbs on from it."""
        mixture = self._mixture(z, log_b, components)
        if self.signal == "mixture":
            return mixture
        return grow(z, log_b, mixture, seed=self.seed, w=self.w, with_mass=with_mass)

    def _mixture(self, z: Tensor, log_b: Tensor, components: Sequence[int]) -> MixtureFit:
        """The mixture that the Bayesian information criterion prefers; stops at the first number that is worse."""
        one = find_signal(z, log_b, seed=self.seed, w=self.w, width=self.width, starts=self.starts)
        fits = []
        for k in components:
            fits.append(one if k == 1 else split_signal(z, log_b, one, k, seed=self.seed, fixed_w=self.w is not None))
            if len(fits) > 1 and _criterion(fits[-1], len(z)) < _criterion(fits[-2], len(z)):
                return fits[-2]
        return fits[-1]

    def _claimed(self, z: Tensor, log_b: Tensor, with_mass: bool = True) -> SignalFraction:
        """The core fraction from p_S / p_B of every event, p_S learned without the fold that the event is in."""
        return signal_fraction(self._cross_fitted(z, log_b, with_mass)[0].numpy())

    def _cross_fitted(self, z: Tensor, log_b: Tensor, with_mass: bool = True) -> tuple[Tensor, Tensor, list[Law]]:
        """log p_S / p_B (n,) of each event, the fold that it is in (n,), and the p_S learned without each fold."""
        ratio, fold, laws = torch.empty(len(z), dtype=torch.float64), torch.full((len(z),), -1), []
        for k, part in enumerate(torch.randperm(len(z), generator=stream(self.seed, "folds")).tensor_split(self.folds)):
            fold[part] = k
            mine = fold == k
            laws.append(self._law(z[~mine], log_b[~mine], [self._gaussians], with_mass))
            ratio[mine] = laws[-1].signal.log_prob(z[mine]) - log_b[mine]
        return ratio, fold, laws

    def scored(self, events: Dataset) -> tuple[Tensor, Tensor]:
        """Score and fold (n,) of the events that were fitted, by a p_S that never saw the event.

        log p_S(x) / p_B(x | centre of the window): a function of the features alone. Divided by p_B(x | m) at the mass
        of the event, the same cut is another region of x at every mass, and the share of the background that it keeps
        has a hump inside the window that no curve beside it knows.
        """
        fold = torch.randperm(len(events), generator=stream(self.seed, "folds beside")) % self.folds
        fold[self.region.contains(events)] = self.folded
        centred = replace(events, context=torch.full_like(mass_column(events)[:, None], self.region.centre))
        score = torch.empty(len(events), dtype=torch.float64)
        for k, law in enumerate(self._laws):
            score[fold == k] = self._feature_score(law, centred[fold == k])
        return score, fold

    def _closure(self, beside: Dataset) -> Closure | None:
        """How far the template is from events beside the window, in bins of the score; None where it has no draws."""
        template = self.template_
        if template is None:
            return None
        some = beside[torch.randperm(len(beside), generator=stream(self.seed, "closure"))[:CLOSED]]
        drawn = template.sample(len(some), self.seed + 12, mass_column(some))
        return closure(*(self._feature_score(self._fitted, part).numpy() for part in (some, drawn)))

    def _feature_score(self, law: Law, events: Dataset) -> Tensor:
        """log p_S(x) / p_B(x | m), (n,), the mass of the signal left out."""
        values = events.values.double()
        features = law.signal.marginal(list(range(values.shape[1])))
        log_s = features.log_prob(self._scaling.forward(values)) + self._scaling.log_abs_det(values)
        return log_s - self._conditional(events)

    def _control(self) -> SignalFraction | None:
        """The fraction that the search claims among unseen sideband events, where there is no signal to speak of."""
        template = self.template_
        if template is None or template.unseen is None:
            return None
        values = template.unseen.values.double()
        slope = self._scaling.log_abs_det(values)
        known = torch.isfinite(slope)
        log_b = self._conditional(template.unseen) - slope
        return self._claimed(self._scaling.forward(values)[known], log_b[known], with_mass=False)

    def _pseudo_experiment(self, w: float, seed: int) -> SignalFraction:
        assert self.template_ is not None  # checked by pseudo_experiments
        n = len(self._z)
        n_signal = int(numpy_stream(seed, "signal events").binomial(n, w))
        drawn = self.template_.sample(n - n_signal, seed, self._masses.sample(n - n_signal, seed))
        if n_signal:
            signal = self.sample_signal(2 * n_signal + 100, seed)  # some draws lie beside the window
            signal = signal[self.region.contains(signal)][:n_signal]
            drawn = Dataset.from_arrays(torch.cat([drawn.values, signal.values]),
                                        torch.cat([mass_column(drawn), mass_column(signal)]))
        return self._claimed(*self._standardised(drawn))

    @property
    def _fitted(self) -> Law:
        return fitted(self.fit_)

    @property
    def _fraction(self) -> SignalFraction:
        return fitted(self.fraction_)


def _mixture(law: Law) -> MixtureFit:
    """The mixture itself, or that which the flow started from."""
    return law.start if isinstance(law, FlowFit) else law


def _criterion(fit: MixtureFit, n: int) -> float:
    """Log-likelihood minus half of (number of parameters) x log n (Schwarz 1978)."""
    k, d = fit.signal.means.shape
    return fit.gain - 0.5 * k * (1 + d + d * (d + 1) // 2) * float(np.log(n))
