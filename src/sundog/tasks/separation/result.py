"""What a separation returns: the maps, and how far to trust them scale by scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sundog.tasks.separation.phi import Statistics

DETERMINISTIC = 0.7  # agreement of solutions above which structures themselves are recovered
KNOWN = 0.5  # relative error of the power below which the statistics of a scale are recovered


@dataclass(frozen=True, eq=False)
class Report:
    """Trust and cost of a separation.

    Attributes
    ----------
    k : (b,) cycles per pixel
    signal_to_noise : (b,) power of the recovered map over mean power of the contamination
    agreement : (b,) correlation of the solutions with one another, or sqrt(S / (S + C)) without repeats: what is
        near 1 is recovered deterministically, what is near 0 in its statistics only
    power_error : (b,) standard deviation over the contaminations of the power of the mixture, relative to that of the
        recovered map: what is well below 1 is recovered in its statistics
    losses : final value of each loss; 1 is expected at the truth
    endings : what ended the descent of each era of the first solution: "target" (1 reached), "iterations" or, where
        nothing lower was found, "converged" or "line search" (see `sundog.solve.descend.Descent`)
    eras, evaluations, seconds : what it cost

    Channels and regions are averaged.
    """

    k: Tensor
    signal_to_noise: Tensor
    agreement: Tensor
    power_error: Tensor
    losses: dict[str, float]
    endings: tuple[str, ...]
    eras: int
    evaluations: int
    seconds: float

    @property
    def deterministic_down_to(self) -> float:
        """Lowest signal-to-noise at which structures themselves are recovered (agreement over 0.7); inf if none."""
        return _lowest(self.signal_to_noise, self.agreement > DETERMINISTIC)

    @property
    def statistical_down_to(self) -> float:
        """Lowest signal-to-noise at which at least the power is recovered (its error under a half); inf if none."""
        return _lowest(self.signal_to_noise, self.power_error < KNOWN)

    @property
    def regimes(self) -> list[str]:
        """Per scale "deterministic", "statistical" or "lost"."""
        words = []
        for agreement, error in zip(self.agreement, self.power_error):
            known = "statistical" if error < KNOWN else "lost"
            words.append("deterministic" if agreement > DETERMINISTIC else known)
        return words

    def __str__(self) -> str:
        lines = ["   k       S/N  agreement  power error  regime"]
        rows = zip(self.k, self.signal_to_noise, self.agreement, self.power_error, self.regimes)
        lines += [f"{k:6.4f} {s:9.3f} {a:9.2f} {e:11.2f}    {word}" for k, s, a, e, word in rows]
        values = ", ".join(f"{name} {value:.2f}" for name, value in self.losses.items())
        lines.append(f"losses (1 is expected): {values}")
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


def trust(phi: Statistics, found: list[Tensor], noise: Tensor) -> dict[str, Tensor]:
    """k, signal-to-noise, agreement and power error per band from solutions (C, ny, nx) and draws (n, C, ny, nx)."""
    power, contamination = phi.powers(torch.stack(found)), phi.powers(noise).mean(0)  # (s, C, R, b), (C, R, b)
    mixed = phi.powers(found[0] + noise).std(0)
    ratio, error = (power[0] / contamination).mean((0, 1)), (mixed / power[0]).mean((0, 1))
    agreement = (ratio / (1 + ratio)).sqrt()
    if len(found) > 1:
        pairs = []
        for i in range(len(found)):
            for j in range(i):
                cross = phi.cross_powers(found[i], found[j])
                pairs.append((cross / (power[i] * power[j]).sqrt()).mean((0, 1)))
        agreement = torch.stack(pairs).mean(0)
    return {"k": phi.bands.k, "signal_to_noise": ratio, "agreement": agreement, "power_error": error}


def _lowest(ratio: Tensor, kept: Tensor) -> float:
    return float(ratio[kept].min()) if bool(kept.any()) else math.inf
