"""Copies that moved: how many of 60 planted ones are caught, and false alarms among 200 new images (docs/judge.md).

python benchmarks/moved_copies.py [0, 1, 2 or 3: one sort of images alone]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor

import sundog

PLANTED, NEW = 60, 200
KINDS = ("rolled", "shifted", "pasted")


def fields(n: int, size: int, slope: float, seed: int, lognormal: bool = False) -> Tensor:
    """Gaussian maps of spectrum k^-slope, or their exponential."""
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None] ** 2
    k[0, 0] = torch.inf
    white = torch.fft.rfft2(torch.randn(n, size, size, generator=torch.Generator().manual_seed(seed)))
    x = torch.fft.irfft2(white * k ** (-slope / 4), s=(size, size))
    x = x / x.std() + 0.1 * torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(seed + 1))
    return torch.exp(0.6 * x) if lognormal else x


def planted(kind: str, train: Tensor, new: Tensor, noise: float, seed: int) -> Tensor:
    """Copies of training images: rolled and turned whole, shifted by up to a third out of the frame, a pasted piece."""
    generator, size = torch.Generator().manual_seed(seed), train.shape[1]
    out = new[:PLANTED].clone()
    for i in range(PLANTED):
        most = size // 3 if kind == "shifted" else size // 4
        y, x = torch.randint(0, most, (2,), generator=generator).tolist()
        if kind == "rolled":
            image = train[i].roll((4 * y, 4 * x), (0, 1)).rot90(i % 4, (0, 1))
            out[i] = image.flip(0) if i // 4 % 2 else image
        elif kind == "shifted":
            out[i, : size - y, : size - x] = train[i, y:, x:]
        else:
            piece = 3 * size // 4
            out[i, y : y + piece, x : x + piece] = train[i, x : x + piece, y : y + piece]
    return out + noise * train.std() * torch.randn(out.shape, generator=generator)


def radio() -> tuple[Tensor, ...]:
    """The built-in radio galaxies, in thirds."""
    x = sundog.load(Path(sundog.__file__).parent / "data" / "samples" / "radio.npz").values
    train, real, new = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))].tensor_split(3)
    return train, real, new, new


SORTS = (("Gaussian k^-1, 32 x 32", lambda: fields(700, 32, 1, 0).split((200, 200, NEW, 100))),
         ("Gaussian k^-3, 64 x 64", lambda: fields(700, 64, 3, 0).split((200, 200, NEW, 100))),
         ("lognormal k^-3, 64 x 64", lambda: fields(700, 64, 3, 0, True).split((200, 200, NEW, 100))),
         ("radio galaxies, 80 x 80", radio))


def main(which: slice) -> None:
    print("| images | noise | rolled and turned | shifted out of the frame | piece of 3/4 | false alarms | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name, make in SORTS[which]:
        train, real, new, other = make()
        for noise in (0.05, 0.2):
            start = time.process_time()
            alarms, *caught = (found(real, torch.cat([new, *more]), train) for more in
                               ([], *([planted(kind, train, other, noise, 0)] for kind in KINDS)))
            seconds = (time.process_time() - start) / 4
            print(f"| {name} | {noise} | " + " | ".join(f"{c - alarms:.0f}" for c in caught)
                  + f" | {alarms:.0f} | {seconds:.1f} |", flush=True)


def found(real: Tensor, fakes: Tensor, train: Tensor) -> float:
    return sundog.judge(real, fakes, train=train, statistics="deciding")["moved copies"].value


if __name__ == "__main__":
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    main(slice(first, first + 1 if len(sys.argv) > 1 else None))
