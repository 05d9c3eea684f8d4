"""How a sample comes about: the state and the denoised image at every noise level; samples between two conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.train.run import Run


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The way of n samples from noise to image.

    Attributes
    ----------
    levels : (k + 1,) noise levels in standardised units, descending; the last is 0
    states : (k + 1, n, ...) the noisy images at those levels, divided by sqrt(sigma^2 + sigma_data^2): standardised
        units, of one contrast throughout; the last is the sample
    frames : (k + 1, n, ...) the denoised images, in the units of the data; ``frames[-1]`` is the sample, bit for bit
    sample : what ``run.sample`` gives for the same arguments
    """

    levels: Tensor
    states: Tensor
    frames: Tensor
    sample: Dataset


def trajectory(run: Run, n: int = 4, context: Any = None, seed: int = 0) -> Trajectory:
    """The trajectory of ``run.sample(n, context, seed)``, recorded while it is drawn; nothing is drawn twice.

    A solver that asks twice at a level (Heun) is shown with its last, corrected state there.

    Raises
    ------
    OptionError : a family that does not denoise.

    Example
    -------
    >>> import sundog
    >>> maps = sundog.Dataset.from_arrays(torch.randn(40, 8, 8, generator=torch.Generator().manual_seed(0)))
    >>> run = sundog.fit("diffusion", maps, plan=sundog.Plan(steps=2), parameters=2e4, sampling_steps=4)
    >>> way = trajectory(run, 2, seed=3)
    >>> len(way.levels), torch.equal(way.frames[-1], run.sample(2, seed=3).values)
    (5, True)
    """
    if not hasattr(run.model, "denoise") or not hasattr(run.model, "sigma_data"):
        raise OptionError("this family has no trajectory through noise levels", got=run.family, expected="diffusion",
                          do="fit diffusion")
    recorder = _Recorder(run.model)
    sample = replace(run, model=recorder).sample(n, context, seed)  # type: ignore[arg-type]
    levels = sorted(recorder.seen, reverse=True)
    shape = sample.values.shape
    scale = float(recorder.sigma_data)
    states = [torch.cat([x for x, _ in recorder.seen[s]]).reshape(shape) / (s**2 + scale**2) ** 0.5 for s in levels]
    frames = [run.scaling.inverse(torch.cat([d for _, d in recorder.seen[s]]).reshape(shape)) for s in levels]
    final = run.scaling.forward(sample.values) / scale
    return Trajectory(torch.tensor([*levels, 0.0], dtype=torch.float64), torch.stack([*states, final]),
                      torch.stack([*frames, sample.values]), sample)


def interpolate(run: Run, start: Any, end: Any, steps: int = 9, seed: int = 0) -> Dataset:
    """Samples (steps, ...) at conditions on the straight line from start to end, all from the same noise.

    What changes along the row is what the condition changes; the context of each row stands in the Dataset.

    Parameters
    ----------
    start, end : (c,) conditions in physical units

    Raises
    ------
    ShapeError : a run without conditions, or conditions of another length.

    Example
    -------
    >>> import sundog
    >>> x, c = torch.randn(40, 8, 8), torch.rand(40, 1)
    >>> maps = sundog.Dataset.from_arrays(x, c, context_names=["flux"])
    >>> run = sundog.fit("diffusion", maps, plan=sundog.Plan(steps=2), parameters=2e4, sampling_steps=3)
    >>> interpolate(run, [0.0], [1.0], steps=3).context.flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    width = len(run.labels["context_names"])
    ends = [torch.as_tensor(c, dtype=torch.float32).reshape(-1) for c in (start, end)]
    if width == 0 or any(len(c) != width for c in ends) or steps < 2:
        names = ", ".join(run.labels["context_names"]) or "none"
        raise ShapeError("cannot go from one condition to the other",
                         got=f"{len(ends[0])} and {len(ends[1])} numbers, {steps} steps",
                         expected=f"{width} each ({names}), 2 steps or more",
                         do="fit with a context and pass one number per column")
    rows = [torch.lerp(ends[0], ends[1], i / (steps - 1)) for i in range(steps)]
    parts = [run.sample(1, row[None], seed) for row in rows]
    return replace(parts[0], values=torch.cat([part.values for part in parts]), context=torch.stack(rows),
                   provenance={**parts[0].provenance, "interpolated": [c.tolist() for c in ends]})


class _Recorder:
    """Stands in for a model while it samples, and notes every call of its denoiser; the model itself is untouched."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.seen: dict[float, list[tuple[Tensor, Tensor]]] = {}
        self._ahead = torch.inf  # level of the call before: it rises again when the next chunk of samples starts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def draw(self, *arguments: Any, **options: Any) -> Any:
        """The model's own sampling, with this denoiser in place of its own."""
        return type(self.model).draw(self, *arguments, **options)  # type: ignore[arg-type]

    def denoise(self, x: Tensor, sigma: Any, *arguments: Any, **options: Any) -> Tensor:
        """What the model says, noted."""
        result: Tensor = self.model.denoise(x, sigma, *arguments, **options)
        level = float(f"{float(sigma):.9g}")  # a solver that steps there and one that starts there round differently
        calls = self.seen.setdefault(level, [])
        if level == self._ahead:
            calls.pop()
        calls.append((x.detach().cpu(), result.detach().cpu()))
        self._ahead = level
        return result
