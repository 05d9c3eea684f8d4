"""The whole contract of a generative family: Model, Density, Translator, Objective, Noise, RowNoise.

A model sees standardised tensors (the Run holds the scaling and the units), looks at the training data
once (``prepare``), says what is to be minimised (``objectives``), and draws (``draw``). A family with a
tractable density is a ``Density``; ability is a type, so what has no density has no ``log_prob``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import OptionError
from sundog.models.options import Options, described, signature
from sundog.random import stream

NUMBERS = 2**14  # random numbers drawn from one seed: seeding costs less than drawing them
AT_ONCE = {"cpu": 2**19, "other": 2**22}  # numbers of a sample drawn at once
MOST_ROWS = 2**12  # beyond, a pass only takes more memory


@dataclass(frozen=True)
class Noise:
    """Random numbers of one training step, keyed by the global sample index.

    Every process draws the numbers of the whole batch and keeps its own rows, so a run on several
    devices sees exactly the noise of a run on one.

    Attributes
    ----------
    generator : seeded from (run seed, step), never from global state
    total : rows of the whole batch
    rows : the rows that belong to this process
    dtype : type of the numbers drawn
    """

    generator: torch.Generator
    total: int
    rows: slice
    dtype: torch.dtype = torch.float32

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (n_local, *shape)."""
        x = torch.randn(self.total, *shape, generator=self.generator, device=self.generator.device, dtype=self.dtype)
        return x[self.rows]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers on [0, 1), (n_local, *shape)."""
        x = torch.rand(self.total, *shape, generator=self.generator, device=self.generator.device, dtype=self.dtype)
        return x[self.rows]


@dataclass
class RowNoise:
    """Random numbers of the rows first to first + n of an endless sample: each depends on seed and row alone.

    So the first rows of a sample are the same however many follow, and however few are drawn at once. Numbers are drawn
    on the CPU, in blocks of rows of fixed size, and are the same on every device.

    Attributes
    ----------
    seed : of the whole sample
    n, first : how many rows, and the place of the first of them
    device, dtype : of the numbers handed out

    Example
    -------
    >>> whole, late = RowNoise(0, 1000).normal(3), RowNoise(0, 2, first=700).normal(3)
    >>> torch.equal(late, whole[700:702])
    True
    """

    seed: int
    n: int
    first: int = 0
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    calls: int = 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (n, *shape)."""
        return self._drawn(torch.randn, shape, self.dtype).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers on [0, 1), (n, *shape)."""
        return self._drawn(torch.rand, shape, self.dtype).to(self.device)

    def choice(self, shares: int | Tensor) -> Tensor:
        """Whole numbers (n,) from 0: each of so many equally often, or as often as their shares (k,) say."""
        u = self._drawn(torch.rand, (), torch.float64)
        if isinstance(shares, int):
            return (u * shares).long().to(self.device)
        ends = shares.detach().cpu().double().cumsum(0)
        return torch.searchsorted(ends, u * ends[-1], right=True).clamp(max=len(ends) - 1).to(self.device)

    def part(self, start: int, n: int) -> RowNoise:
        """The numbers of n rows from ``start`` on, nothing drawn yet."""
        return RowNoise(self.seed, n, self.first + start, self.device, self.dtype)

    def _drawn(self, how: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        self.calls += 1
        block = max(1, NUMBERS // math.prod(shape))
        begin, end = self.first // block, -(-(self.first + self.n) // block)
        parts = [how(block, *shape, generator=stream(self.seed, "rows", self.calls, i), dtype=dtype)
                 for i in range(begin, end)]
        start = self.first - begin * block
        return (parts[0] if len(parts) == 1 else torch.cat(parts))[start : start + self.n]


@dataclass(frozen=True)
class Batch:
    """Rows of standardised training data: x (n, ...), context (n, c) or None, weights (n,) or None."""

    x: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None

    def mean(self, loss: Tensor) -> Tensor:
        """Mean over the batch of a loss per row (n,), weighted if the data are."""
        return loss.mean() if self.weights is None else (self.weights * loss).mean()

    def of_equal_weight(self, most: int | None = None) -> Batch:
        """Rows of weight one that say the same: each row as often as it weighs, ``most`` rows in all or as many.

        ``prepare`` and ``score`` are shown these, so that no family can forget the weights. Rows without weights are
        the first ones, unchanged.
        """
        n = len(self.x) if most is None else min(most, len(self.x))
        rows: slice | Tensor = slice(0, n) if self.weights is None else as_often_as_weighed(self.weights, n)
        return Batch(self.x[rows], None if self.context is None else self.context[rows])


def as_often_as_weighed(weights: Tensor, n: int) -> Tensor:
    """Indices (n,) of rows, in their order, each as often as its weight says, to less than one.

    Row i covers the part w_i / sum w of the line from 0 to 1, and is taken at every (j + 1/2) / n that it covers.

    Example
    -------
    >>> as_often_as_weighed(torch.tensor([1.0, 0.0, 3.0]), 4).tolist()
    [0, 2, 2, 2]
    """
    ends = weights.cpu().cumsum(0, dtype=torch.float64)
    rows = torch.arange(n)
    for part in rows.split(NUMBERS):  # a few at a time, for there are copies
        part.copy_(torch.searchsorted(ends, (part.double() + 0.5) * (ends[-1] / n)).clamp_(max=len(weights) - 1))
    return rows.to(weights.device)


@dataclass(frozen=True)
class Objective:
    """One thing to minimise, with the optimiser settings that belong to it.

    Attributes
    ----------
    name : appears in the history and in error messages
    parameters : the parameters that this objective moves, and no others
    loss : (batch, noise) -> scalar tensor
    learning_rate, betas, weight_decay : of AdamW
    repeats : optimiser steps of this objective per step of the engine (a critic's 5)
    clip_norm : largest gradient norm, or None
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch, Noise], Tensor]
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    repeats: int = 1
    clip_norm: float | None = None


# What a family draws -> the shapes of one row.
SHAPES = {"vectors": "(d,)", "images": "(ny, nx) or (channels, ny, nx)",
          "square images": "(size, size) or (channels, size, size)",
          "stacked maps": "(channels, ny, nx)", "square maps": "(channels, size, size)",
          "series": "(1, t) or (channels, 1, t)"}


class Model(nn.Module, ABC):
    """A generative family on standardised tensors. Abstract: subclasses are final.

    Parameters
    ----------
    shape : of one row
    context_dim : columns of the context, 0 for none
    **options : as `Options` of the family states them: read, checked and kept as ``options``
    """

    family: ClassVar[str]
    takes: ClassVar[type[Options]] = Options
    draws: ClassVar[tuple[str, ...]] = ()  # words of `SHAPES`; empty where the family checks shapes itself
    takes_context: ClassVar[bool] = True
    default_steps: ClassVar[int] = 2000  # budget when the plan names neither steps nor seconds
    default_batch: int = 1024
    default_scaling: ClassVar[str | None] = None  # a word of `sundog.data.scaling`; None: by the kind of data
    fixes: ClassVar[Mapping[str, Any]] = {}  # settings of the plan that the family leaves no choice

    def __init_subclass__(cls, **facts: Any) -> None:
        """Signature and help of the constructor, from the options."""
        super().__init_subclass__(**facts)
        if "takes" in cls.__dict__:
            cls.__signature__ = signature(cls.takes)  # type: ignore[attr-defined]
            text, mark, example = (cls.__doc__ or "").partition("\n    Example\n")
            lines = "\n    ".join(["Parameters", "----------", *described(cls.takes)])
            cls.__doc__ = f"{text.rstrip()}\n\n    {lines}\n{mark}{example}"

    def __init__(self, shape: Sequence[int] = (), context_dim: int = 0, **options: Any) -> None:
        super().__init__()
        self.shape, self.context_dim = tuple(int(n) for n in shape), int(context_dim)
        self._check_data()
        self.options = self.takes.read(options, self.family, self.shape, self.context_dim)

    def _check_data(self) -> None:
        shape = self.shape
        square = shape[-1:] == shape[-2:-1]
        found = {"vectors": len(shape) == 1, "images": len(shape) in (2, 3),
                 "series": len(shape) in (2, 3) and shape[-2] == 1, "stacked maps": len(shape) == 3,
                 "square images": len(shape) in (2, 3) and square, "square maps": len(shape) == 3 and square}
        if self.draws and not any(found[word] for word in self.draws):
            row = shape[-2:-1] == (1,)
            raise OptionError(f"family '{self.family}' draws {' or '.join(self.draws)}",
                              got=f"samples of shape {shape}", expected=", ".join(SHAPES[word] for word in self.draws),
                              do="series and sets come with a time step: sundog.Dataset.from_arrays(x, time_step=1.0), "
                              "--kind series" if self.draws == ("series",) and len(shape) == 2 else
                              "use another family, or cut or reshape the data"
                              + ("; a table taken for a map loads with kind='events'" if len(shape) == 2 and not row
                                 else ""))
        if self.context_dim and not self.takes_context:
            raise OptionError(f"family '{self.family}' takes no context", got=f"{self.context_dim} context columns",
                              expected="none", do="drop the context; conditions of images are channels of 'translate'")

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of a row inside the networks: images have channels."""
        return self.shape if len(self.shape) != 2 else (1, *self.shape)

    def config(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able: ``type(model)(**config)`` rebuilds the networks."""
        return {"shape": list(self.shape), "context_dim": self.context_dim, **self.options.json()}

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Look at the training data once, before training: (n, ...) and (n, c) or None.

        Every row counts the same here and in ``score``; of weighted data `Batch.of_equal_weight` is shown.
        """

    def look(self, rows: Batch) -> None:
        """`prepare` on rows of equal weight that say the same; a family that weighs rows itself takes them all."""
        seen = rows.of_equal_weight()
        self.prepare(seen.x, seen.context)

    def unseen(self) -> bool:
        """Whether it can be trained with no `look` at the rows before, as private training must."""
        return type(self).prepare is Model.prepare and type(self).look is Model.look

    @abstractmethod
    def objectives(self) -> list[Objective]:
        """What the engine minimises, in order; empty when nothing is trained."""

    @abstractmethod
    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """New samples (noise.n, ...), one per context row if there is a context.

        All randomness comes from ``noise`` and no row knows of another: a sample does not depend on how many are drawn
        with it. A family may take options by keyword.
        """

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator, **options: Any) -> Tensor:
        """n new samples (n, ...) by `draw`, a few at a time; the generator gives one number, the seed of all rows."""
        return torch.cat(list(in_parts(self, self.row_noise(n, generator), context, **options)))

    def row_noise(self, n: int, generator: torch.Generator | int) -> RowNoise:
        """The numbers that n rows are drawn from, by the next number of a generator or by a seed."""
        if isinstance(generator, torch.Generator):
            generator = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        like = next((t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()), torch.empty(0))
        return RowNoise(generator, n, device=like.device, dtype=like.dtype)

    def settle(self) -> None:
        """What has to be done once before rows are drawn; nothing for most."""

    def calibrate(self, x: Tensor, context: Tensor | None) -> None:
        """Look at the validation rows once, after training: what is known of the errors; nothing for most."""

    def remarks(self, context: Tensor | None) -> dict[str, Any]:
        """What a sample at these contexts (n, c) should say beside its numbers, name -> value; nothing for most."""
        return {}

    def at_once(self) -> int:
        """How many rows `draw` is asked for at once: what fits a processor's caches draws fastest."""
        on_cpu = self.row_noise(1, 0).device == torch.device("cpu")
        room = AT_ONCE["cpu" if on_cpu else "other"] // math.prod(self.shape)
        return max(1, min(MOST_ROWS, room))

    @abstractmethod
    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """How badly the model describes held-out rows; a scalar, lower is better, no hidden randomness."""


def in_parts(model: Model, noise: RowNoise, context: Tensor | None, **options: Any) -> Iterator[Tensor]:
    """The rows of a sample a few at a time, so that memory does not grow with their number."""
    model.settle()
    size = model.at_once()
    for start in range(0, noise.n, size):
        part = noise.part(start, min(size, noise.n - start))
        yield model.draw(part, None if context is None else context[start : start + part.n], **options)


class Translator(Model):
    """A model of rows whose first channels can be given: it draws the other ones."""

    known: int
    seen: Tensor  # known channels of some training rows

    @abstractmethod
    def complete(self, k: Tensor, noise: RowNoise) -> Tensor:
        """The wanted channels (n, wanted, ny, nx) for known ones k (n, known, ny, nx), one draw each."""

    def translate(self, k: Tensor, noise: torch.Generator | RowNoise) -> Tensor:
        """The wanted channels for any number of known ones, a few at a time; see `complete`."""
        noise = noise if isinstance(noise, RowNoise) else self.row_noise(len(k), noise)
        size = self.at_once()
        return torch.cat([self.complete(part, noise.part(i * size, len(part))) for i, part in enumerate(k.split(size))])

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Known channels of training rows and a draw of the wanted ones beside them: (n, *shape)."""
        k = self.seen[noise.choice(len(self.seen))]
        return torch.cat([k, self.complete(k, noise)], 1)


class Density(Model):
    """A model that knows the log-density of what it draws."""

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Natural logarithm of the density of each row, (n,), in standardised units."""


class EstimatedDensity(Density):
    """A density whose logarithm may come from a finite number of random probes, and then has an error."""

    @abstractmethod
    def log_prob_and_error(self, x: Tensor, context: Tensor | None, *, method: str = "rk4", steps: int = 20,
                           probes: int = 8) -> tuple[Tensor, Tensor]:
        """Log-density of each row and its standard error, (n,) and (n,), functions of the row alone."""

    def log_prob(self, x: Tensor, context: Tensor | None, **how: Any) -> Tensor:
        """Log-density of each row, (n,): the first of ``log_prob_and_error``, which takes the same options."""
        return self.log_prob_and_error(x, context, **how)[0]


def beside(x: Tensor, context: Tensor | None) -> Tensor:
    """Rows x (n, channels, ...) with their context (n, c) as c more channels, constant over an image.

    Example
    -------
    >>> beside(torch.zeros(2, 1, 8, 8), torch.ones(2, 3)).shape
    torch.Size([2, 4, 8, 8])
    """
    if context is None:
        return x
    return torch.cat([x, context.reshape(*context.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])], 1)
