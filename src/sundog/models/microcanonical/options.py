"""The options of a scattering synthesis, and what they stand for on examples of a shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sundog.errors import OptionError
from sundog.models.microcanonical.canvas import AXES, Layout, given_mask, layout_of, nside_of
from sundog.models.microcanonical.examples import octaves_beside
from sundog.models.microcanonical.sky import octaves_in_sky
from sundog.models.options import Options, option


@dataclass(frozen=True)
class MicrocanonicalOptions(Options):
    """Options of `MicrocanonicalModel`."""

    domain: str = option("auto", "what samples are; auto is a line where there is one axis, or one row, else a map",
                         words=AXES)
    nested: bool = option(False, "skies come, and go, in NESTED order", only=("domain", "sphere"))
    J: int = option(None, "octaves; floor(log2(shortest side)) - 1 for maps, - 2 for lines and cubes, when None, fewer "
                    "beside masks and open edges", least=1)
    L: int = option(4, "orientations", least=1)
    bins: int = option(20, "logarithmic bands of the spectrum", least=1)
    levels: int = option(16, "thresholds per one-point distribution; 0 for none", least=0)
    smoothings: tuple[float, ...] = option((0.0, 1.0, 2.0, 4.0, 8.0), "pixel widths of the Gaussians before which "
                                           "one-point distributions are constrained too; 0 for none", least=0)
    accuracy: str = option("fast", "of the scattering transform; both sides of the loss share its small bias")
    isotropic: bool = option(True, "constrain averages over rotations only (maps and cubes)")
    log: bool = option(False, "learn the logarithm of the values, which must be positive; samples are then positive")
    boundary: str = option("periodic", "of the examples", words=("periodic", "edge-mask"))
    mask: Any = option(None, "shaped as a map, 0 where examples are missing (any finite number there)")  # noqa: RUF009
    inpaint: bool | int = option(False, "samples keep the known pixels of the examples exactly (sample i those of "
                                 "example i modulo their number)", least=0)
    canvas: tuple[int, ...] | None = option(None, "shape of the samples when it is not that of the examples")
    mean_field: int = option(0, "number of maps whose mean meets the targets together; 0 pins every map", least=0)
    coarse_from: int | None = option(None, "sides from which the descent starts on coarser grids; 512 (maps), 128 "
                                     "(cubes) when None, 0 for never", least=0)
    iterations: int = option(200, "budget of each map; on coarse-to-fine descents, of each grid", least=0)
    seconds: float | None = option(None, "budget of each map, of all grids", above=0)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Axes of samples of this shape."""
        return layout_of(shape, self.domain, self.canvas)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> MicrocanonicalOptions:
        layout = self.layout(shape)
        seen, valid = layout.seen, given_mask(self.mask, layout.seen)
        self._check(layout)
        if self.J is not None:
            return self
        if self.domain == "sphere":
            return replace(self, J=octaves_in_sky(valid, nside_of(seen[0]), self.nested))
        most = max(1, int(math.log2(min(seen))) - (1 if len(seen) == 2 else 2))
        return replace(self, J=octaves_beside(valid, self.boundary == "periodic", most))

    def _check(self, layout: Layout) -> None:
        apart = layout.seen != layout.drawn
        given = {"canvas": apart, "boundary": self.boundary != "periodic"}
        if self.domain == "sphere" and any(given.values()):
            raise OptionError("options that the sphere does not know", got=", ".join(n for n in given if given[n]),
                              expected="mask=, and inpaint=True to keep what it shows",
                              do="leave them out; a part of a sky grows to the whole of it by mask= and inpaint=True")
        if self.inpaint and self.mask is None:
            raise OptionError("nothing to paint in", got="no mask", expected="mask=, 0 where pixels are missing",
                              do="pass the mask, or leave inpaint out")
        if self.inpaint and (apart or self.mean_field):
            raise OptionError("known pixels with a canvas or a mean field", got=f"canvas {layout.drawn}",
                              expected="the size of the examples, mean_field=0", do="leave the others out")
        if self.mean_field == 1:
            raise OptionError("maps per ensemble", got=1, expected="0, or at least 2", do="pass mean_field=16")
