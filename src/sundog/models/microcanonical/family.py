"""Microcanonical generation: fields with the scattering statistics of the examples, found by descent from noise.

    x_0 = Gaussian field with the band powers of the examples,      x = argmin E(x) by L-BFGS from x_0,
    E(x) = |Phi(x) - Phi*|^2 + sum_b log(P_b(x) / P_b*)^2 + sum_(s,i) (f_i(x * g_s) - f*_(s,i))^2

Phi: scattering covariances, normalised by S2 of the target; P_b: power in logarithmic bands, without which the spectrum
inside an octave is free; f_i: soft fraction of pixels above level i, of the map and of smoothed maps, without which the
one-point distribution drifts. Targets are means over the examples; one example is enough. Nothing is trained: all
randomness of a sample is its starting noise. With ``mean_field`` the mean over many maps meets the targets instead.

Source: Bruna & Mallat 2019, Math. Stat. Learn. 1, 257 (microcanonical descent); Cheng et al. 2024, PNAS Nexus 3,
pgae103 (scattering covariances); Haeggbom et al. 2024, arXiv 2403.08362 (mean field); Allys et al. 2020, PRD 102,
103506 (validation).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import DataError, OptionError, RunError, ShapeError
from sundog.models.base import Model, Objective, RowNoise
from sundog.models.microcanonical.canvas import given_mask, mask_name, nside_of, stage_factors
from sundog.models.microcanonical.constraints import Constraints
from sundog.models.microcanonical.elsewhere import CLOSE, FEWEST, Elsewhere
from sundog.models.microcanonical.ensemble import mean_field_energy
from sundog.models.microcanonical.examples import Examples
from sundog.models.microcanonical.options import MicrocanonicalOptions
from sundog.models.microcanonical.sky import SkyConstraints
from sundog.models.microcanonical.sky_gaps import fill_sky
from sundog.models.options import Options
from sundog.solve.descend import Descent, Progress
from sundog.solve.gaps import fill_gaps
from sundog.solve.together import descend_rows
from sundog.statistics.maps.resampling import resample

POINTS = {"cpu": 2**18, "other": 2**24}  # pixels descending at once: bounds memory
STRAIN = 0.005  # weight of the squared change from a constrained Gaussian field, in units of its variance, in a gap


class MicrocanonicalModel(Model):
    """Generator of statistically homogeneous lines, maps and cubes, from one example or many; no training.

    Samples wrap around at their edges, whatever the examples do. Their shape is (ny, nx) or (channels, ny, nx) for
    maps; (nx,) or (1, nx) for lines; (nz, ny, nx) for cubes; (12 nside^2,) for skies.

    Example
    -------
    >>> model = MicrocanonicalModel((32, 32), iterations=10)
    >>> x = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> model.prepare(x, None)
    >>> model.sample(2, None, torch.Generator().manual_seed(1)).shape
    torch.Size([2, 32, 32])
    """

    family: ClassVar[str] = "scattering"
    takes: ClassVar[type[Options]] = MicrocanonicalOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors", "images", "series")
    takes_context: ClassVar[bool] = False
    default_scaling: ClassVar[str | None] = "identity"  # units are the model's own business: known pixels stay exact
    options: MicrocanonicalOptions
    centre: Tensor
    unit: Tensor
    valid: Tensor
    known: Tensor
    prepared: Tensor
    progress: Progress | None = None
    kept: Callable[[Any, Callable[[], Tensor]], Tensor] | None = None  # rows of before, by what they depend on

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o, self.layout = self.options, self.options.layout(self.shape)
        seen, drawn, channels = self.layout.seen, self.layout.drawn, self.layout.channels
        self.options = replace(o, mask=mask_name(o.mask))
        self.factors = (1,) if o.inpaint else stage_factors(seen, drawn, o.coarse_from)
        self.stages = nn.ModuleList(self._built(factor) for factor in self.factors)
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("unit", torch.ones(channels))
        self.register_buffer("valid", given_mask(o.mask, seen))
        self.register_buffer("known", torch.zeros(int(o.inpaint), channels, *seen))
        self.register_buffer("prepared", torch.zeros((), dtype=torch.bool))

    def _built(self, factor: int) -> Constraints | SkyConstraints:
        """Constraints on the grid that is coarser by a factor."""
        o, seen = self.options, self.layout.seen
        same: dict[str, Any] = {"L": o.L, "bins": o.bins, "levels": o.levels, "accuracy": o.accuracy,
                                "smoothings": tuple(s / factor for s in o.smoothings)}
        if o.domain == "sphere":
            return SkyConstraints(nside_of(seen[0]), nested=o.nested, J=o.J, **same)
        return Constraints(
            tuple(n // factor for n in seen), tuple(n // factor for n in self.layout.drawn), self.layout.channels,
            J=max(1, o.J - int(math.log2(factor))), isotropic=o.isotropic, **same,
        )  # fmt: skip

    def objectives(self) -> list[Objective]:
        return []

    @property
    def constraints(self) -> Constraints | SkyConstraints:
        """Targets on the grid of the samples."""
        return self.stages[-1]  # type: ignore[return-value]

    # -- learning ------------------------------------------------------------------------------------------------

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Measure the targets on examples x (n, *shape)."""
        fields = self._fields(x)
        inside = fields[..., self.valid]
        if self.options.log and not bool((inside > 0).all()):
            raise DataError("the logarithm of values that are not positive", got=f"smallest {float(inside.min()):.3g}",
                            expected="all above 0", do="leave log out, or add a constant first")  # fmt: skip
        inside = inside.log() if self.options.log else inside
        if not bool((inside.amax(-1) > inside.amin(-1)).all()):
            raise DataError(
                "a constant map has no statistics to reproduce",
                got="a map with one value",
                expected="maps that vary",
                do="drop constant maps",
            )
        flat = inside.movedim(1, 0).flatten(1).double()
        self._buffers["centre"] = flat.mean(1).to(self.centre)
        self._buffers["unit"] = flat.std(1).to(self.unit)
        examples = Examples(self._inward(fields), self.valid, self.options.boundary)
        for factor, stage in zip(self.factors, self.stages):
            stage.measure(examples.coarser(factor) if factor > 1 else examples)  # type: ignore[operator]
        if self.options.inpaint:
            self._buffers["known"] = fields.to(self.known)
            self.options = replace(self.options, inpaint=len(fields))
        self._buffers["prepared"] = torch.ones_like(self.prepared)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean energy of held-out maps; where they have gaps, edges or another size, the energy of their mean."""
        fields = self._inward(self._fields(x))
        plain = self.layout.seen == self.layout.drawn and self.options.boundary == "periodic" and bool(self.valid.all())
        with torch.no_grad():
            if plain:
                return torch.cat([self.constraints.energies(part) for part in fields.split(16)]).mean()
            return self.constraints.mismatch(Examples(fields, self.valid, self.options.boundary))

    # -- generating ----------------------------------------------------------------------------------------------

    def at_once(self) -> int:
        """Maps that descend together: a whole ensemble, or what bounds the memory."""
        return self.options.mean_field or self._room()

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        def drawn() -> Tensor:
            found = torch.stack([descent.x for descent in self.synthesise(noise.n, noise)])
            return found.reshape(-1, *self.layout.prefix, *self.layout.drawn)

        return drawn() if self.kept is None else self.kept((noise.seed, noise.first, noise.n), drawn)

    def synthesise(self, n: int, noise: torch.Generator | RowNoise, progress: Progress | None = None) -> list[Descent]:
        """n descents, with what each cost and how far it came (``loss`` is E); `sample` keeps their maps."""
        self._check_prepared()
        noise = noise if isinstance(noise, RowNoise) else self.row_noise(n, noise)
        fixed = self.known[(noise.first + torch.arange(n)) % len(self.known)] if len(self.known) else None
        return self._descended(noise, fixed, progress or self.progress)

    def fill(self, maps: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Maps (n, *shape) with new values where ``mask`` is 0 and, exactly, their own where it is not.

        The targets are those of the examples that were learned; the gaps of ``maps`` may hold any finite number.
        """
        self._check_prepared()
        fixed = self._fields(maps)
        noise = self.row_noise(len(fixed), generator)
        found = self._descended(noise, fixed, self.progress, given_mask(mask, self.layout.seen))
        return torch.stack([descent.x for descent in found]).reshape(maps.shape)

    def _descended(
        self, noise: RowNoise, fixed: Tensor | None, progress: Progress | None, valid: Tensor | None = None,
    ) -> list[Descent]:  # fmt: skip
        """Descents of maps, in user units; with ``fixed`` maps the valid pixels stay theirs."""
        valid = (self.valid if valid is None else valid).to(self.raw_device)
        if fixed is not None and self.layout.seen != self.layout.drawn:
            raise OptionError("known pixels on another canvas", got=self.layout.drawn, expected=self.layout.seen,
                              do="leave canvas out")  # fmt: skip
        n, size = noise.n, self.at_once()
        total = math.ceil(n / size) * size if self.options.mean_field else n  # ensembles are whole, whatever n is
        found: list[Descent] = []
        for first in range(0, total, size):
            part = noise.part(first, min(size, total - first))
            of = self.constraints
            start = of.white(part) if fixed is not None and isinstance(of, SkyConstraints) else of.start(part)
            if fixed is None:
                found += self._one_batch(start, self._room(), progress)
            else:
                found += [self._filled(one, held.to(self.constraints.raw), valid, float(share), progress)
                          for one, held, share in zip(start, fixed[first:], part.uniform())]  # fmt: skip
        _say_if_stuck(found[:n])
        return found[:n]

    def _room(self) -> int:
        room = POINTS["cpu" if self.raw_device.type == "cpu" else "other"]
        return max(1, room // (self.layout.channels * math.prod(self.layout.drawn)))

    def _one_batch(self, start: Tensor, at_once: int, progress: Progress | None) -> list[Descent]:
        x, descents = resample(start, self.stages[0].drawn), []  # type: ignore[arg-type]
        for stage in self.stages:
            assert isinstance(stage, Constraints | SkyConstraints)
            coarse = tuple(x.shape[2:])
            if coarse != stage.drawn:  # what coarse grids found, and the noise of the start on the finer modes
                fine = resample(start, stage.drawn)
                x = fine + resample(x - resample(start, coarse), stage.drawn)
            descents.append(self._stage(stage, x, at_once, progress))
            x = torch.stack([descent.x for descent in descents[-1]])
        out = self._outward(x)
        return [
            replace(
                parts[-1], x=out[i], iterations=sum(p.iterations for p in parts),
                evaluations=sum(p.evaluations for p in parts), seconds=sum(p.seconds for p in parts),
                losses=[value for p in parts for value in p.losses],
            )
            for i, parts in enumerate(zip(*descents))
        ]  # fmt: skip

    def _stage(
        self, stage: Constraints | SkyConstraints, x: Tensor, at_once: int, progress: Progress | None
    ) -> list[Descent]:  # fmt: skip
        """One grid: each map alone, or all as one ensemble."""
        budget = self._budget(len(x), progress)
        if not self.options.mean_field:
            return descend_rows(lambda part, rows: stage.energies(part), x, **budget)

        def features(maps: Tensor) -> Tensor:
            return stage.features(maps, linear=True)

        (joint,) = descend_rows(lambda part, _: mean_field_energy(features, part[0], at_once)[None], x[None], **budget)
        return [replace(joint, x=own) for own in joint.x]

    def _filled(
        self, start: Tensor, held: Tensor, valid: Tensor, pick: float, progress: Progress | None
    ) -> Descent:  # fmt: skip
        """One map (channels, *grid) with new values in its gap; it starts as a constrained Gaussian field.

        A map is moved until the window around its gap is like one, picked, of the windows elsewhere in it. Where too
        few windows are whole, and for lines and cubes, the statistics of the whole field are met instead: its own, and
        those of the examples for the share of the gap. Those hardly see the seam, so a weak pull towards the start, in
        units of its variance at each frequency, keeps it out.
        """
        known, o = self._inward(held[None], valid), self.options
        if isinstance(self.constraints, SkyConstraints):
            found = fill_sky(self.constraints, start, known[0], valid, self._budget(1, progress), J=o.J, L=o.L,
                             bins=o.bins, accuracy=o.accuracy, isotropic=o.isotropic, levels=o.levels,
                             smoothings=o.smoothings)
            return replace(found, x=torch.where(valid, held, self._outward(found.x[None])[0]))
        share = 1 - float(valid.float().mean())
        goal = self.constraints.leaning_on(Examples(known, valid, o.boundary), share)
        power = goal.bands.spread(goal.powers[:, goal.bands.used]).clamp_min(float(goal.powers.min()))
        half = power.unflatten(-1, (*goal.drawn[:-1], goal.drawn[-1] // 2 + 1))
        x = start + fill_gaps(torch.where(valid, known[0] - start, 0.0), valid, half)
        if valid.ndim == 2:
            local = Elsewhere.in_map(
                torch.where(valid, known[0], x), valid, o.boundary == "periodic", J=o.J, L=o.L, accuracy=o.accuracy,
                isotropic=o.isotropic, bins=o.bins, levels=o.levels, smoothings=o.smoothings,
            )  # fmt: skip
            if local.windows >= FEWEST:
                local = local.towards(pick)
                (found,) = descend_rows(lambda part, rows: local.energies(torch.where(valid, known, part)), x[None],
                                        target=CLOSE, **self._budget(1, progress))
                return replace(found, x=torch.where(valid, held, self._outward(found.x[None])[0]))
        dims = tuple(range(-valid.ndim, 0))
        pixels = max(1.0, float((~valid).sum())) * math.prod(goal.drawn)

        def energy(part: Tensor, rows: Tensor) -> Tensor:
            field = torch.where(valid, known, part)
            change = torch.fft.rfftn(field - x, dim=dims)
            strain = 2 * (change.abs().square() / half).flatten(1).sum(1) / pixels
            return goal.energies(field) + STRAIN * strain

        (found,) = descend_rows(energy, x[None], **self._budget(1, progress))
        return replace(found, x=torch.where(valid, held, self._outward(found.x[None])[0]))

    def _budget(self, count: int, progress: Progress | None) -> dict[str, Any]:
        seconds = None if self.options.seconds is None else self.options.seconds * count / len(self.stages)
        return {"iterations": self.options.iterations, "seconds": seconds, "progress": progress}

    # -- units ---------------------------------------------------------------------------------------------------

    @property
    def raw_device(self) -> torch.device:
        return self.constraints.raw.device

    def _fields(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (n, channels, *grid), checked."""
        if tuple(x.shape[1:]) != self.layout.shape:
            raise ShapeError("maps of another size", got=tuple(x.shape[1:]), expected=self.layout.shape,
                             do="build a new model for them")  # fmt: skip
        return x.reshape(-1, self.layout.channels, *self.layout.seen)

    def _wide(self, values: Tensor) -> Tensor:
        return values.view(1, -1, *[1] * len(self.layout.seen))

    def _inward(self, fields: Tensor, valid: Tensor | None = None) -> Tensor:
        # Gaps may hold what has no logarithm.
        z = torch.where(self.valid if valid is None else valid, fields, 1.0).log() if self.options.log else fields
        return (z - self._wide(self.centre)) / self._wide(self.unit)

    def _outward(self, z: Tensor) -> Tensor:
        x = z * self._wide(self.unit) + self._wide(self.centre)
        return x.exp() if self.options.log else x

    def _check_prepared(self) -> None:
        if not bool(self.prepared):
            raise RunError(
                "the generator has seen no example", got="targets unset", expected="prepared targets",
                do="call prepare(maps, None), or fit through sundog.fit",
            )  # fmt: skip


def _say_if_stuck(found: list[Descent]) -> None:
    stuck = [descent.loss for descent in found if descent.reason == "line search"]
    if stuck:
        warnings.warn(f"{len(stuck)} of {len(found)} maps ended in a failed line search, not in a minimum: E up to "
                      f"{max(stuck):.3g}; fit with Plan(precision='float64') if that is too high", stacklevel=3)
