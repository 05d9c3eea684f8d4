"""Many skies: each a folder of its own, and what their spectra do together: means, covariances, correlations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.atomic import atomic_write
from sundog.data.parts import ensemble, seed_of
from sundog.errors import FileError, RunError, SampleSizeError
from sundog.simulate.sky import SkyMaps, simulate_sky
from sundog.tasks.sky.measure import SkySpectra, sky_spectra

Array = NDArray[Any]


def simulate_skies(seeds: Sequence[int], out: str | Path, nside: int, *, workers: int = 0,
                   scheduler: str | None = None, done: Callable[[int, int], object] | None = None,
                   **options: Any) -> list[Path]:
    """The folders ``out/sky_SEED`` of a sky for every seed; those that are there already are kept.

    Parameters
    ----------
    options : of `simulate_sky`; another number of threads makes the same skies
    workers, scheduler, done : see `sundog.data.parts.write_parts`

    Raises
    ------
    RunError : ``out`` holds skies of other options.
    """
    return ensemble(out, seeds, _one, {"nside": nside, **options}, name="sky", workers=workers, scheduler=scheduler,
                    done=done)


def _one(path: Path, key: str, options: Mapping[str, Any]) -> None:
    simulate_sky(seed=seed_of(key), out=path, **options)


@dataclass(frozen=True, eq=False)
class SkyCovariance:
    """What the binned spectra of an ensemble of skies do together.

    Attributes
    ----------
    names : (p,) pairs such as "kappa x cib", each for all bins in turn: number i b + k is pair i in bin k
    edges : (b + 1,) multipoles
    mean : (p b,) C_l; covariance : (p b, p b), unbiased
    gaussian : (p b, p b) for Gaussian maps of the mean spectra: (C_ac C_bd + C_ad C_bc) / sum of 2l + 1 in one bin
    count : skies
    """

    names: tuple[str, ...]
    edges: Array
    mean: Array
    covariance: Array
    gaussian: Array
    count: int

    @property
    def correlation(self) -> Array:
        """(p b, p b) covariance over the product of standard deviations."""
        sigma = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(sigma, sigma)

    @property
    def excess(self) -> Array:
        """(p, b) standard deviation over that of Gaussian maps; known to 1 / sqrt(2 (n - 1)) for Gaussian scatter."""
        ratio = np.sqrt(np.diag(self.covariance) / np.diag(self.gaussian))
        return ratio.reshape(len(self.names), -1)

    @property
    def between_bins(self) -> Array:
        """(p,) rms correlation of a spectrum's bins with each other; 1 / sqrt(n - 1) of independent ones."""
        bins = len(self.edges) - 1
        apart = ~np.eye(bins, dtype=bool)
        if bins < 2:
            return np.zeros(len(self.names))
        blocks = self.correlation.reshape(len(self.names), bins, len(self.names), bins)
        return np.array([np.sqrt((blocks[i, :, i][apart] ** 2).mean()) for i in range(len(self.names))])

    def save(self, path: str | Path) -> Path:
        """The path, after everything was written there as npz, atomically."""
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, names=np.array(self.names), edges=self.edges, mean=self.mean, count=self.count,
                         covariance=self.covariance, gaussian=self.gaussian)

        return atomic_write(path, write)

    def __str__(self) -> str:
        bins = [f"{a}-{b}" for a, b in itertools.pairwise(self.edges)]
        head = f"standard deviation of spectra over {self.count} skies / that of Gaussian maps " \
               f"(+- {1 / np.sqrt(2 * (self.count - 1)):.2f})"
        lines = [f"{'l':16}" + "".join(f"{text:>11}" for text in bins) + "   rms correlation of bins (null "
                 f"{1 / np.sqrt(self.count - 1):.2f})"]
        lines += [f"{name:16}" + "".join(f"{x:11.2f}" for x in row) + f"{together:12.2f}"
                  for name, row, together in zip(self.names, self.excess, self.between_bins)]
        return "\n".join([head, *lines])


def sky_covariance(skies: Iterable[Any], edges: Sequence[int] | Array, *, threads: int = 1) -> SkyCovariance:
    """Means and covariances of all auto- and cross-spectra of an ensemble.

    One sky is in memory at a time, whatever their number (Welford 1962, Technometrics 4, 419).

    Parameters
    ----------
    skies : folders of skies, SkyMaps, dicts of RING maps, or `SkySpectra`
    edges : rising multipoles

    Raises
    ------
    SampleSizeError : fewer than two skies.

    Example
    -------
    >>> from sundog.data.sky.sphere import gaussian_alm, synthesis
    >>> maps = ({"a": synthesis(gaussian_alm(np.ones(33), np.random.default_rng(i)), 16)} for i in range(40))
    >>> found = sky_covariance(maps, [2, 12, 30])
    >>> found.names, bool((abs(found.excess - 1) < 4 / 78**0.5).all())
    (('a x a',), True)
    """
    count, mean, moment, whole = 0, np.zeros(0), np.zeros((0, 0)), np.zeros(0)
    for sky in skies:
        found = _spectra(sky, edges, threads)
        if not count:
            names = found.names
            i, j = np.triu_indices(len(names))
            mean, whole = np.zeros(len(i) * found.power.shape[-1]), np.zeros_like(found.power)
            moment = np.zeros((len(mean), len(mean)))
        elif found.names != names:
            raise RunError("skies of other maps in one ensemble", got=", ".join(found.names), expected=", ".join(names),
                           do="leave that one out")
        count += 1
        x = found.power[i, j].ravel()
        before = x - mean
        mean = mean + before / count
        moment += np.outer(before, x - mean)
        whole += found.power
    if count < 2:
        raise SampleSizeError("no scatter of one sky", got=f"{count} skies", expected="two or more, better a hundred",
                              do="sundog sky simulate --seeds 0:100")
    pairs = tuple(f"{names[a]} x {names[b]}" for a, b in zip(i, j))
    return SkyCovariance(pairs, found.edges, mean, moment / (count - 1),
                         _gaussian(whole / count, found.modes, i, j), count)


def _gaussian(power: Array, modes: Array, i: Array, j: Array) -> Array:
    """Covariance of the binned spectra (pairs i, j) of Gaussian maps, from power (n, n, b)."""
    a, b, c, d = i[:, None], j[:, None], i[None], j[None]
    same = (power[a, c] * power[b, d] + power[a, d] * power[b, c]) / modes  # (p, p, b)
    p, _, bins = same.shape
    out = np.zeros((p, bins, p, bins))
    out[:, range(bins), :, range(bins)] = same.transpose(2, 0, 1)
    return out.reshape(p * bins, p * bins)


def _spectra(sky: Any, edges: Sequence[int] | Array, threads: int) -> SkySpectra:
    if isinstance(sky, SkySpectra):
        if not np.array_equal(sky.edges, edges):
            raise RunError("spectra of other bins in one ensemble", got=np.asarray(sky.edges).tolist(),
                           expected=np.asarray(edges).tolist(), do="measure them again: sky_spectra(sky, edges)")
        return sky
    if isinstance(sky, (str, Path)):
        sky = SkyMaps.load(sky)
    return sky_spectra(dict(sky), edges, threads=threads)


def skies_in(folders: Iterable[str | Path]) -> list[Path]:
    """The folders of skies: those given, and in their place the skies inside where they hold an ensemble.

    Raises
    ------
    FileError : no sky there.
    """
    found = []
    for folder in map(Path, folders):
        inside = sorted(path.parent for path in folder.glob("*/sky.json") if not path.parent.name.startswith("."))
        if not inside and not (folder / "sky.json").exists():
            raise FileError(f"no sky in {folder}", got="no sky.json in it or in its folders", do="check the path",
                            expected="what sky simulate wrote")
        found += inside or [folder]
    return found
