"""The contract between statistics and verdicts: the `Frame` of a comparison and one `Statistic` of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sundog.errors import ShapeError
from sundog.statistics.samples.admission import checked_events, checked_images

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """What two samples are measured against: taken from the truth once, so that both share thresholds and bins.

    All tensors are float64 with one entry per feature (events) or per channel (images; one entry for (n, ny, nx)).

    Attributes
    ----------
    kind: "events", "images" or "series", which are images of one row.
    mean, std: over all samples (and pixels); a constant feature gets std 1, so that dividing by it is safe.
    low, high: 0.1 % and 99.9 % quantiles; widened to the extremes, and then by a half, where they coincide.
    periodic: whether images wrap around.
    names: of the features or channels; made up when none were given.
    sample: a few hundred samples of the truth, from which `features` takes its scale.
    masked: whether NaN in images are pixels that a mask hides, which no statistic of the catalogue then sees; else an
        error.

    Example
    -------
    >>> frame = Frame.of(torch.arange(10.0)[:, None], names=("mass",))
    >>> frame.kind, frame.mean.item(), frame.names
    ('events', 4.5, ('mass',))
    """

    kind: str
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    periodic: bool
    names: tuple[str, ...]
    sample: Tensor
    masked: bool = False

    @staticmethod
    def of(x: Tensor, *, periodic: bool = False, names: Sequence[str] = (), series: bool = False,
           masked: bool = False) -> Frame:
        """Return the frame of a true sample: events (n, d), or images (n, ny, nx) or (n, c, ny, nx).

        With ``series`` the images are series, (n, 1, t) or (n, c, 1, t).
        """
        kind = _series(x) if series else kind_of(x, masked)
        rows = [row[~row.isnan()] for row in rows_of(x.detach())]
        names = tuple(names) or tuple(f"{'x' if kind == 'events' else 'channel '}{i + 1}" for i in range(len(rows)))
        if len(names) != len(rows):
            raise ShapeError("names do not fit the data", got=f"{len(names)} names", expected=len(rows),
                             do="pass one name per feature or channel")
        mean, std, size = (torch.stack(list(part)) for part in zip(*(
            (row.mean(), row.std(unbiased=False), row.abs().amax()) for row in rows)))
        std = torch.where(std > 1e-12 * size, std, 1.0)
        some = x[:: -(-len(x) // 400)].detach()  # enough to fix a median
        return Frame(kind, mean, std, *_limits(rows), periodic, names, some, masked)

    def channel(self, i: int) -> Frame:
        """Return the frame of one feature or channel alone."""
        pick = slice(i, i + 1)
        own = {name: getattr(self, name)[pick] for name in ("mean", "std", "low", "high", "names")}
        return replace(self, **own, sample=self.sample[:, pick] if self.sample.ndim in (2, 4) else self.sample)

    def admit(self, x: Tensor) -> Tensor:
        """Return x; a ShapeError unless it has the kind and the number of features or channels of the truth."""
        kind = _series(x) if self.kind == "series" else kind_of(x, self.masked)
        width = 1 if x.ndim == 3 else x.shape[1]
        if kind != self.kind or width != len(self.mean):
            what = "features" if kind == "events" else "channels"
            raise ShapeError("sample and frame differ", got=f"{kind} with {width} {what}",
                             expected=f"{self.kind} with {len(self.mean)}", do="measure both samples in one frame")
        return x


@dataclass(frozen=True)
class Statistic:
    """One row of the catalogue: a name, how to measure it on every sample, and how to read the numbers.

    Attributes
    ----------
    name, kind: such as "power spectrum", "images".
    compare: "mean" - compare the sample means of the vectors; "distribution" - compare each component's distribution;
        "power" - compare the distributions of each component's logarithm and rank: positive numbers of which a few are
        thousands of times the others, so that a mean and its error are those of a few samples.
    measure: x (n, d) or (n, ny, nx) or (n, c, ny, nx), frame -> (n, k) float64, one vector per sample. k may be 0
        where the statistic does not apply (correlations of a single feature).
    components: (x.shape, frame) -> k names; x.shape includes the number of samples.
    axis: (x.shape, frame) -> k abscissae, such as wavenumbers; None where there is no axis. Where they fall back, a
        new curve begins (V0, V1, V2; the next channel).
    axis_label, value_label: for a figure; summary, source: for a reader.
    """

    name: str
    kind: str
    compare: str
    measure: Callable[[Tensor, Frame], Tensor]
    components: Callable[[Shape, Frame], tuple[str, ...]]
    summary: str
    axis: Callable[[Shape, Frame], Tensor] | None = None
    axis_label: str = ""
    value_label: str = "value"
    source: str = "definition"


def kind_of(x: Tensor, masked: bool = False) -> str:
    """Return "events" for (n, d), "images" for (n, ny, nx) or (n, c, ny, nx); anything else is a ShapeError."""
    if x.ndim == 2:
        checked_events(x)
        return "events"
    if x.ndim in (3, 4):
        checked_images(torch.where(x.isnan(), torch.zeros_like(x), x) if masked else x)
        return "images"
    raise ShapeError("neither events nor images", got=f"shape {tuple(x.shape)}",
                     expected="(n, d), (n, ny, nx) or (n, channels, ny, nx)", do="reshape first")


def _series(x: Tensor) -> str:
    """Return "series" for (n, 1, t) or (n, c, 1, t); anything else is a ShapeError."""
    if kind_of(x) != "images" or x.shape[-2] != 1:
        raise ShapeError("no series", got=f"shape {tuple(x.shape)}", expected="(n, 1, t) or (n, channels, 1, t)",
                         do="give each series an axis of one row before time")
    return "series"


def rows_of(x: Tensor) -> Tensor:
    """Return all values by feature or channel, (channels, values), in float64."""
    if x.ndim == 2:
        return x.T.double()
    return x.reshape(1, -1).double() if x.ndim == 3 else x.transpose(0, 1).flatten(1).double()


def _limits(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    cut = [round(0.001 * (len(row) - 1)) for row in rows]
    low = torch.stack([row.kthvalue(1 + k).values for row, k in zip(rows, cut)])
    high = torch.stack([row.kthvalue(len(row) - k).values for row, k in zip(rows, cut)])
    least, most = (torch.stack(list(ends)) for ends in zip(*(row.aminmax() for row in rows)))
    narrow = high <= low
    low, high = torch.where(narrow, least, low), torch.where(narrow, most, high)
    narrow = high <= low
    return torch.where(narrow, low - 0.5, low), torch.where(narrow, high + 0.5, high)
