"""The wavelet scattering transform of periodic maps: S1, S2 and their reduced forms s21, s22."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.errors import FileError, OptionError, ShapeError
from sundog.statistics.samples.admission import checked_masked
from sundog.statistics.scattering.labels.storage import load_columns, save_columns
from sundog.statistics.scattering.moments.masked import checked_mask, far_weights
from sundog.statistics.scattering.rwst import AngularFit, fit_angles
from sundog.statistics.wavelets.filters import (
    ACCURACY,
    WAVELETS,
    check_bank,
    default_scales,
    octave_filters,
    orientations,
)
from sundog.statistics.wavelets.waves import crop_frequencies, safe_modulus


@dataclass(frozen=True, eq=False)
class ScatteringMeans:
    """Wavelet scattering coefficients of one map or of many.

    Attributes
    ----------
    s1 : (..., J, L)
    s2 : (..., J, L, J, L), axes (j1, l1, j2, l2); 0 where j2 <= j1, which the transform does not measure
    wavelet : kind of wavelet, which fixes the orientations
    """

    s1: Tensor
    s2: Tensor
    wavelet: str = "morlet"

    @property
    def measured(self) -> Tensor:
        """(J, J) true where j2 > j1."""
        J = self.s1.shape[-2]
        return torch.ones(J, J, dtype=torch.bool, device=self.s1.device).triu(1)

    @property
    def vector(self) -> Tensor:
        """log2 S1 and log2(S2 / S1(j1, l1)), (..., J L + L^2 J (J - 1) / 2); tiny floors keep them finite."""
        first, ratio = self.logs()
        return torch.cat([first.flatten(-2), ratio[..., self.measured, :, :].flatten(-3)], -1)

    def logs(self) -> tuple[Tensor, Tensor]:
        """log2 S1 (..., J, L) and log2(S2 / S1) (..., J, J, L, L), axes j1, j2, l1, l2."""
        tiny = torch.finfo(self.s1.dtype).tiny * 1e8
        first = self.s1.clamp_min(tiny)
        return first.log2(), (self.s2.clamp_min(tiny) / first[..., None, None]).movedim(-3, -2).log2()

    def rwst(self) -> AngularFit:
        """Angular model of log2 S1 and log2(S2 / S1): isotropic levels, anisotropies and their directions."""
        first, ratio = self.logs()
        known = torch.where(self.measured[..., None, None], ratio, torch.nan)
        return fit_angles(first, known, orientations(self.wavelet, self.s1.shape[-1]))

    def iso(self) -> dict[str, Tensor]:
        """Averages over rotations: "S1" (..., J) and "S2" (..., J, J, L) at j1, j2 and l2 - l1 modulo L."""
        L = self.s1.shape[-1]
        turned = torch.arange(L, device=self.s2.device)
        pairs = self.s2.movedim(-3, -2)[..., turned[:, None], (turned[:, None] + turned) % L]  # (..., l1, l2 - l1)
        return {"S1": self.s1.mean(-1), "S2": pairs.mean(-2)}

    def table(self) -> dict[str, np.ndarray]:
        """Columns kind, j1, l1, j2, l2 (-1 for S1) and value (last axis)."""
        J, L = self.s1.shape[-2:]
        one = np.argwhere(np.ones((J, L), dtype=bool))
        two = np.argwhere(np.broadcast_to(self.measured.cpu().numpy()[:, None, :, None], (J, L, J, L)))
        at = np.concatenate([np.column_stack([one, np.full_like(one, -1)]), two])
        s1, s2 = (x.detach().cpu().numpy() for x in (self.s1, self.s2))
        values = np.concatenate([s1.reshape(*s1.shape[:-2], -1), s2[..., *two.T]], -1)
        kinds = np.repeat(["S1", "S2"], [len(one), len(two)])
        return {"kind": kinds, "j1": at[:, 0], "l1": at[:, 1], "j2": at[:, 2], "l2": at[:, 3], "value": values}

    def save(self, path: str | Path) -> Path:
        """Write labels and values to ``.npz`` or ``.json``; returns the path."""
        return save_columns(path, {**self.table(), "wavelet": np.array(self.wavelet)})

    @staticmethod
    def load(path: str | Path) -> ScatteringMeans:
        """Read what `save` wrote (JSON values come back as float64)."""
        table = load_columns(path)
        try:
            one = table["kind"] == "S1"
            J, L = int(table["j1"][one].max()) + 1, int(table["l1"][one].max()) + 1
            value = table["value"]
            s2 = np.zeros((*value.shape[:-1], J, L, J, L), value.dtype)
            s2[(..., *(table[name][~one] for name in ("j1", "l1", "j2", "l2")))] = value[..., ~one]
            s1 = value[..., one].reshape(*value.shape[:-1], J, L)
            return ScatteringMeans(torch.from_numpy(s1), torch.from_numpy(s2), str(table["wavelet"]))
        except (KeyError, ValueError, IndexError) as error:
            raise FileError("not a file of scattering means", got=path, expected="what save() wrote",
                            do="measure again") from error

    def s21(self) -> Tensor:
        """Sparsity (..., J, J): mean of S2 over both angles over mean of S1(j1) over angles; NaN where j2 <= j1.

        Source: Cheng et al. 2020, MNRAS 499, 5902.
        """
        ratio = self.s2.mean((-3, -1)) / self.s1.mean(-1)[..., None]
        return torch.where(self.measured, ratio, torch.nan)

    def s22(self) -> Tensor:
        """Shape (..., J, J): mean of S2 over parallel angles over mean over perpendicular ones; above 1 for filaments.

        Source: Cheng & Menard 2021, arXiv 2112.01288. L must be even.
        """
        L = self.s1.shape[-1]
        if L % 2:
            raise OptionError("s22 needs perpendicular pairs of angles", got=f"L={L}", expected="even L", do="use L=4")
        turned = torch.arange(L, device=self.s2.device)
        pairs = self.s2.movedim(-3, -2)  # (..., j1, j2, l1, l2)
        parallel = pairs[..., turned, turned].mean(-1)
        ratio = parallel / pairs[..., turned, (turned + L // 2) % L].mean(-1)
        return torch.where(self.measured, ratio, torch.nan)


class WaveletScattering:
    """Transform that measures the wavelet scattering coefficients of maps of one size.

        S1(j1, l1) = < |x * psi_1| >,      S2(j1, l1, j2, l2) = < ||x * psi_1| * psi_2| >,  j2 > j1

    Parameters
    ----------
    shape, J, L, wavelet, boundary, mask, accuracy : as in `ScatteringCovariance`; S2 keeps the distance of j2.

    Source: Mallat 2012, Comm. Pure Appl. Math. 65, 1331; Allys et al. 2019, A&A 629, A115.

    Example
    -------
    >>> x = torch.randn(7, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = WaveletScattering((32, 32), J=3)(x)
    >>> c.s1.shape, c.vector.shape, bool(((c.s22()[:, 0, 2] - 1).abs() < 0.3).all())
    (torch.Size([7, 3, 4]), torch.Size([7, 60]), True)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        J: int | None = None,
        L: int = 4,
        wavelet: str = "morlet",
        *,
        boundary: str = "periodic",
        mask: Tensor | None = None,
        accuracy: str = "default",
    ) -> None:
        one_of(boundary, ("periodic", "edge-mask"), "boundary")
        quality, _ = ACCURACY[one_of(accuracy, ACCURACY, "accuracy")]
        self.shape = (int(shape[0]), int(shape[1]))
        self.J = default_scales(self.shape) if J is None else J
        self.L, self.wavelet = L, one_of(wavelet, WAVELETS, "wavelet")
        check_bank(self.shape, self.J, L)
        self._filters = [octave_filters(self.shape, wavelet, j, L, quality) for j in range(self.J)]
        self._valid = None if mask is None and boundary == "periodic" else checked_mask(mask, self.shape)
        self._weights = None if self._valid is None else far_weights(
            self._valid, self._valid[None].double(), boundary == "periodic",
            [tuple(psi.shape[1:]) for psi in self._filters])

    def __call__(self, x: Tensor) -> ScatteringMeans:
        """Coefficients of maps x (..., ny, nx), differentiable."""
        if tuple(x.shape[-2:]) != self.shape:
            raise ShapeError("maps of another size", got=tuple(x.shape[-2:]), expected=self.shape,
                             do="build a new transform")
        x, seen = checked_masked(x, self._valid)
        if seen is not None:
            x = torch.where(seen, x, (x.sum((-2, -1)) / seen.sum())[..., None, None])
        J, L = self.J, self.L
        f = torch.fft.fft2(x.reshape(-1, *self.shape), norm="forward")
        s1: list[Tensor] = []
        spectra: list[Tensor] = []
        s2 = x.new_zeros(len(f), J, L, J, L)
        for j2, bank in enumerate(self._filters):
            psi = bank.to(f)
            for j1, spectrum in enumerate(spectra):
                small = crop_frequencies(spectrum.flatten(0, 1), tuple(psi.shape[1:]))
                second = self._mean(safe_modulus(torch.fft.ifft2(small[:, None] * psi, norm="forward")), j2)
                s2[:, j1, :, j2, :] = second.view(-1, L, L)
            small = crop_frequencies(f, tuple(psi.shape[1:]))
            modulus = safe_modulus(torch.fft.ifft2(small[:, None] * psi, norm="forward"))
            s1.append(self._mean(modulus, j2))
            spectra.append(torch.fft.fft2(modulus, norm="forward"))
        batch = x.shape[:-2]
        return ScatteringMeans(torch.stack(s1, 1).reshape(*batch, J, L), s2.reshape(*batch, J, L, J, L), self.wavelet)

    def _mean(self, modulus: Tensor, j: int) -> Tensor:
        return modulus.mean((-2, -1)) if self._weights is None else \
            (modulus * self._weights[j].to(modulus)).sum((-2, -1))
