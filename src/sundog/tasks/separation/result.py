"""What a separation returns: the maps, and how far to trust them scale by scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sundog.tasks.separation.phi import Statistics

DETERMINISTIC = 0.7  # agreement of solutions above which structures themselves are recovered
KNOWN = 0.5  # relative error of the power below which a scale is told from nothing, at two standard deviations
OUTSIDE = 3.0  # errors from the truth at which a power has failed


@dataclass(frozen=True, eq=False)
class Report:
    """Trust and cost of a separation.

    Attributes
    ----------
    k : (b,) cycles per pixel
    signal_to_noise : (b,) power of the recovered map over mean power of the contamination
    agreement, agreement_error : (b,) correlation of the solutions with one another, which is that of each with the
        truth if they are draws of the posterior, or S / (S + C), its value for Gaussian maps, without repeats; and
        (1 - agreement^2) / sqrt(modes of the band)
    power_error : (b,) standard error of the recovered power, relative to it: that of the power of signal and
        contamination together over the draws of the contamination
    chance : (b,) the part of it that is the chance correlation of signal and contamination in one map, about
        2 / sqrt(S/N modes). Subtracting the very power of the contamination would still be off by this much
    losses : final value of each loss; 1 is expected at the truth
    endings : what ended the descent of each era of the first solution: "target" (1 reached), "iterations" or, where
        nothing lower was found, "converged" or "line search" (see `sundog.solve.descend.Descent`)
    eras, evaluations, seconds : what it cost

    Channels and regions are averaged; of patches it is the mean spectrum, with its errors.
    """

    k: Tensor
    signal_to_noise: Tensor
    agreement: Tensor
    agreement_error: Tensor
    power_error: Tensor
    chance: Tensor
    losses: dict[str, float]
    endings: tuple[str, ...]
    eras: int
    evaluations: int
    seconds: float

    @property
    def regimes(self) -> list[str]:
        """Per scale "deterministic", "statistical" or "lost".

        Deterministic: the agreement lies over 0.7 by more than its error. Statistical: the power is more than two of
        its errors from 0. Lost: neither.
        """
        structures = self.agreement - self.agreement_error > DETERMINISTIC
        words = zip(structures.tolist(), (self.power_error < KNOWN).tolist())
        return ["deterministic" if same else "statistical" if known else "lost" for same, known in words]

    @property
    def deterministic_down_to(self) -> float:
        """Signal-to-noise from which on every scale is deterministic; inf if the loudest one is not."""
        return self._down_to(("deterministic",))

    @property
    def statistical_down_to(self) -> float:
        """Signal-to-noise from which on no scale is lost; inf if the loudest one is."""
        return self._down_to(("deterministic", "statistical"))

    def summary(self) -> str:
        """One sentence: at how many scales structures come back, at how many statistics, how many are lost."""
        count = {word: self.regimes.count(word) for word in ("deterministic", "statistical", "lost")}
        return (f"Of {len(self.k)} scales {count['deterministic']} come back structure by structure, "
                f"{count['statistical']} in their statistics, and {count['lost']} are lost.")

    def _down_to(self, good: tuple[str, ...]) -> float:
        least = math.inf
        for i in self.signal_to_noise.argsort(descending=True).tolist():
            if self.regimes[i] not in good:
                break
            least = float(self.signal_to_noise[i])
        return least

    def __str__(self) -> str:
        lines = ["   k       S/N       agreement  power error  of it chance  regime"]
        rows = zip(self.k, self.signal_to_noise, self.agreement, self.agreement_error, self.power_error, self.chance,
                   self.regimes)
        lines += [f"{k:6.4f} {s:9.3f}   {a:5.2f} +- {da:.2f} {e:12.2f} {c:13.2f}  {word}"
                  for k, s, a, da, e, c, word in rows]
        lines.append(self.summary())
        values = ", ".join(f"{name} {value:.2f}" for name, value in self.losses.items())
        lines.append(f"losses (the truth is at 1): {values}")
        lines.append(f"each era ended by: {', '.join(self.endings)}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Separation:
    """The result of `separate`; maps shaped like the mixture, in its unit, NaN where pixels are masked.

    Attributes
    ----------
    signal : recovered map; a plausible map, not a mean
    residual : what was taken away, d - signal
    report : how far to trust it, scale by scale
    repeats : (r, ...) solutions from other seeds; their spread is a guide to the posterior
    contaminations : (m, ...) some of the draws that were used
    components : parts of the residual by name, where several contaminations were given
    phi : the statistics that were matched
    """

    signal: Tensor
    residual: Tensor
    report: Report
    repeats: Tensor
    contaminations: Tensor
    components: dict[str, Tensor]
    phi: Statistics = field(repr=False)

    @property
    def mixture(self) -> Tensor:
        """The data, d = signal + residual."""
        return self.signal + self.residual

    @property
    def samples(self) -> Tensor:
        """All solutions, (1 + r, ...)."""
        return torch.cat([self.signal[None], self.repeats])

    def spectrum(self, x: Tensor) -> Tensor:
        """Power (b,) at ``report.k`` of a map shaped like the mixture, under the window of masked and open maps.

        Mean of |FFT x|^2 / (ny nx) over the modes of a band, over channels and over regions.
        """
        return self.phi.powers(torch.nan_to_num(x.to(self.signal))).reshape(-1, len(self.report.k)).mean(0)

    def pulls(self, truth: Tensor) -> Tensor:
        """Recovered less true power over its error (b,): about 1, and below 3, where the separation is right."""
        power = self.spectrum(self.signal)
        return (power - self.spectrum(truth)) / (self.report.power_error * power)


def trust(phi: Statistics, found: list[Tensor], noise: Tensor) -> dict[str, Tensor]:
    """The facts of `Report` per band from solutions (C, ny, nx) and draws (n, C, ny, nx)."""
    power, contamination = phi.shared(phi.powers(torch.stack(found))), phi.shared(phi.powers(noise)).mean(0)
    mixed = phi.shared(phi.powers(found[0] + noise)).std(0)  # (s, C, R, b) and (C, R, b)
    chance = 2 * phi.shared(phi.cross_powers(found[0].expand_as(noise), noise)).std(0)
    ratio, error, chance = (x.mean((0, 1)) for x in (power[0] / contamination, mixed / power[0], chance / power[0]))
    agreement, pairs = ratio / (1 + ratio), 1
    if len(found) > 1:
        which = [(i, j) for i in range(len(found)) for j in range(i)]
        crossed = [phi.shared(phi.cross_powers(found[i], found[j])[None])[0] / (power[i] * power[j]).sqrt()
                   for i, j in which]  # fmt: skip
        agreement, pairs = torch.stack([c.mean((0, 1)) for c in crossed]).mean(0), len(found) - 1
    spread = (1 - agreement.square()) / (phi.modes.to(agreement) * pairs).sqrt()
    return {"k": phi.bands.k, "signal_to_noise": ratio, "agreement": agreement, "agreement_error": spread,
            "power_error": error, "chance": chance}
