"""Do the published consistency and latent losses of TRANSIT help? Each beside the same search without it.

    python benchmarks/transport_losses.py run --injections 0 1 2     one JSON per result; a second start goes on
    python benchmarks/transport_losses.py show

40,000 QCD and 400 signal events in 3.3 to 3.7 TeV (di-jets, four features on normal scores), 400 steps of 1024, three
boostings. With z = T(x; m -> 0), the event carried to the mean mass, which is the latent of a map that is the identity
at m' = m, the losses are

    consistency    E |T(T(x; m -> m'); m' -> 0) - z|^2, two steps end where one does
    independence   the Wasserstein distance of (z, m) and (z, m of another event), by a critic of its own

each with weight 1.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, ClassVar

import torch
from anomaly_table import rows_of, show
from anomaly_trial import METHODS, Trial, dijet_trial, measure
from torch import Tensor

from sundog import Plan
from sundog.models.base import Batch, Noise, Objective
from sundog.models.gan import slopes
from sundog.models.transport.movers import ResidualTransport
from sundog.nets.mlp import mlp
from sundog.tasks.anomaly.detectors.transports import TrainedTransport

PLAN = Plan(steps=400, batch=1024)


class Consistent(ResidualTransport):
    """The residual transport of ``Transit``, with both losses of the publication."""

    family: ClassVar[str] = "residual transport with losses of the latent"

    def __init__(self, shape: Any, context_dim: int = 1, *, consistency: float = 0.0, independence: float = 0.0
                 ) -> None:
        super().__init__(shape, context_dim)
        self.consistency, self.independence = consistency, independence
        self.latent_critic = mlp(shape[0] + 1, 1, (64, 64, 64))

    def objectives(self) -> list[Objective]:
        critic, transport = super().objectives()
        if not self.independence:
            return [critic, transport]
        second = Objective("critic of the latent", list(self.latent_critic.parameters()), self.latent_critic_loss,
                           self.learning_rate, betas=(0.0, 0.9), repeats=self.critic_steps)
        return [critic, second, transport]

    def latent(self, x: Tensor, start: Tensor) -> Tensor:
        """T(x; start -> 0)."""
        return self.move(x, start, torch.zeros_like(start))

    def latents(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Latents beside their own mass, and beside that of another row."""
        assert batch.context is not None  # a transport has one
        z, other = self.latent(batch.x, batch.context), batch.context[noise.uniform().argsort()]
        return torch.cat([z, batch.context], 1), torch.cat([z, other], 1)

    def transport_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """That of ``ResidualTransport`` and the weighted losses."""
        assert batch.context is not None  # a transport has one
        moved, end = self._carried(batch, noise)
        loss = -self.critic(torch.cat([moved, end], 1)).mean()
        if self.consistency:
            ways = self.latent(moved, end) - self.latent(batch.x, batch.context)
            loss = loss + self.consistency * ways.square().sum(1).mean()
        if self.independence:
            together, apart = (self.latent_critic(part).mean() for part in self.latents(batch, noise))
            loss = loss + self.independence * (together - apart)
        return loss

    def latent_critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D'(z, other m) - E D'(z, m), and the penalty of the main critic."""
        with torch.no_grad():
            together, apart = self.latents(batch, noise)
        steep = slopes(self.latent_critic, together, apart, noise.uniform(1))
        gap = self.latent_critic(apart).mean() - self.latent_critic(together).mean()
        return gap + self.penalty_weight * (steep - 1).square().mean()


class WithLosses(TrainedTransport):
    """``Transit`` with these losses."""

    network, default_plan = Consistent, PLAN


def transit(trial: Trial, options: dict[str, float]) -> Any:
    search = WithLosses(trial.region, seed=trial.seed, members=trial.members, check=False, scaling="normal-scores",
                        options=options)
    return search.fit(trial.events)


METHODS |= {f"transit-{name}": (lambda trial, options=options: transit(trial, options), (), True)  # type: ignore[misc]
            for name, options in (("plain", {}), ("consistency", {"consistency": 1.0}),
                                  ("independence", {"independence": 1.0}))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/transport-losses"))
    parser.add_argument("--injections", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    for injection in given.injections if given.what == "run" else ():
        trial = dijet_trial(given.data, injection, given.results, injected=400, members=3, inside=40_000)
        for method in ("idealised", "cwola", "radot", "transit-plain", "transit-consistency", "transit-independence"):
            row = measure(trial, method)
            print(trial.name, method, *(f"{key} {row[key]:.4g}" for key in ("sic 0.001", "max_sic", "auc", "own")
                                        if key in row), flush=True)
    show(rows_of(given.results, "dijets4-400"))


if __name__ == "__main__":
    main()
