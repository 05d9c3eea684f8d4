"""What do the scattering statistics cost? Numbers of docs/scattering.md.

    python benchmarks/scattering.py cost         forward + gradient, 256 x 256, against a plain implementation
    python benchmarks/scattering.py parts        what the time of a gradient goes into

Times are CPU seconds of this process on one thread. MALLOC_MMAP_THRESHOLD_=4294967296
MALLOC_TRIM_THRESHOLD_=4294967296 in the environment is the "tuned allocator".
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.wavelets.filters import ACCURACY, full_bank, grid_size

REPEATS = 9


def cpu(job: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU seconds of one call after two warm-ups."""
    job(), job()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return statistics.median(times)


class Plain:
    """The same isotropic statistics as one writes them down: full-size transforms, automatic gradient.

    The third layer is cropped to the scale j3 and averaged over all pixels of products, one (j1, j2, j3) at a time with
    all L^3 orientations: the form of the public code of Cheng et al. 2024.
    """

    def __init__(self, side: int, J: int, L: int) -> None:
        self.side, self.J, self.L = side, J, L
        self.psi = full_bank("morlet", (side, side), J, L).float()
        self.small = [self._crop(self.psi[j], j) for j in range(J)]
        turn = torch.arange(L)
        l1, d2, d3 = torch.meshgrid(turn, turn, turn, indexing="ij")
        self.triple = (l1 * L + (l1 + d2) % L) * L + (l1 + d3) % L
        l2, d3 = torch.meshgrid(turn, turn, indexing="ij")
        self.pair = l2 * L + (l2 + d3) % L

    def _crop(self, plane: Tensor, j: int) -> Tensor:
        half = min(self.side // 2, max(8, self.side >> j))
        rows = torch.cat([plane[..., :half, :], plane[..., self.side - half :, :]], -2)
        return torch.cat([rows[..., :half], rows[..., self.side - half :]], -1)

    def __call__(self, x: Tensor) -> Tensor:
        f = torch.fft.fft2(x)
        waves = torch.fft.ifft2(f * self.psi)
        modulus = waves.abs()
        spectra = torch.fft.fft2(modulus)
        s2 = (modulus**2).mean((-2, -1))
        out = [(modulus.mean((-2, -1)) / s2.sqrt()).mean(1), s2.mean(1).log()]
        for j3 in range(self.J):
            square, image, M = self.small[j3] ** 2, self._crop(f, j3), self._crop(spectra[: j3 + 1], j3)
            scale = 1 / self.side**4
            for j2 in range(j3 + 1):
                right = (M[j2][:, None] * square).conj()
                s3 = (image * right).sum((-2, -1)) * scale / (s2[j3][None] * s2[j2][:, None]).sqrt()
                out.append(s3.real.flatten()[self.pair].mean(0))
                for j1 in range(j2 + 1):
                    s4 = (M[j1][:, None, None] * right).sum((-2, -1)) * scale
                    s4 = s4 / (s2[j1][:, None, None] * s2[j2][None, :, None]).sqrt()
                    out.append(s4.real.flatten()[self.triple].mean(0).flatten())
        return torch.cat(out)


def fft_floor(side: int, J: int, L: int) -> float:
    """CPU seconds of the Fourier transforms alone that forward + gradient need on the grids used."""
    z, r = torch.randn(side, side, dtype=torch.complex64), torch.randn(side, side)
    full, half = cpu(lambda: torch.fft.fft2(z)), cpu(lambda: torch.fft.rfft2(r))
    area = sum((grid_size(side, j, ACCURACY["default"][0]) / side) ** 2 for j in range(J))
    return 2 * (full + L * area * (full + half))


def slope(measure: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(measure(x).sum(), x)


def spent(job: Callable[[], object], calls: int) -> float:
    """CPU seconds per call, after one more call that brings the data into the cache."""
    job()
    start = time.process_time()
    for _ in range(calls):
        job()
    return (time.process_time() - start) / calls


def cost(orientations: list[int], rounds: int) -> None:
    """Rounds in which every job is timed once, so that the load of the machine is shared; medians over the rounds.

    Plain has a process of its own, whose allocator no plan of this package has told to keep memory.
    """
    x = lognormal(256).requires_grad_()
    for L in orientations:
        jobs: dict[str, Callable[[], object]] = {}
        for accuracy in ("fast", "default", "accurate"):
            phi = ScatteringCovariance((256, 256), 7, L, isotropic=True, accuracy=accuracy)
            jobs |= both(accuracy, lambda x, phi=phi: phi(x).normalised().vector, x)
        times: dict[str, list[float]] = {}
        command = [sys.executable, __file__, "plain", "-L", str(L)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin and other.stdout
            for _ in range(rounds):
                print(file=other.stdin, flush=True)
                answer = map(float, other.stdout.readline().split())
                found = dict(zip(("plain forward", "plain with gradient"), answer))
                found["floor"] = fft_floor(256, 7, L)
                for name, seconds in (found | {name: spent(job, 3) for name, job in jobs.items()}).items():
                    times.setdefault(name, []).append(seconds)
            other.stdin.close()
        middle = {name: statistics.median(each) for name, each in times.items()}
        for name in jobs:
            plain = "plain" + name[name.index(" "):]
            each = sorted(a / b for a, b in zip(times[plain], times[name]))
            print(f"L={L} {name:22s} {middle[name] * 1e3:7.1f} ms; plain {middle[plain] * 1e3:7.1f} ms, ratio "
                  f"{statistics.median(each):5.1f} ({each[0]:.1f} to {each[-1]:.1f}), of the least "
                  f"{min(times[plain]) / min(times[name]):.1f} ({min(times[name]) * 1e3:.1f} ms); "
                  f"{middle[name] / middle['floor']:.1f} FFT floors", flush=True)  # fmt: skip
        print(f"L={L} extra memory {memory(256, 7, L):.0f} MB", flush=True)


KINDS = {"transforms": ("_fft",), "matrix products": ("bmm", "baddbmm", "mm"),
         "products, roots, sums": ("mul", "addcmul", "sqrt", "pow", "recip", "clamp", "sum", "mean", "add", "sub"),
         "copies, zeros": ("copy", "cat", "new_zeros", "zeros_like", "constant_pad")}  # fmt: skip


class Recorded(TorchDispatchMode):
    """The calls made inside, with what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def parts(orientations: list[int], rounds: int) -> None:
    """What the calls of a fast gradient cost when each kind is made alone: what is left is time between calls.

    Least CPU time of ``rounds``: one that other processes disturb less.
    """
    for L in orientations:
        x = lognormal(256).requires_grad_()
        phi = ScatteringCovariance((256, 256), 7, L, isotropic=True, accuracy="fast")
        job = slope(lambda x, phi=phi: phi(x).normalised().vector, x)
        job()
        with Recorded() as seen:
            job()
        kinds: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        for func, args, kwargs in seen.calls:
            name = func._schema.name.removeprefix("aten::")
            for kind, words in KINDS.items():
                if name.startswith(words):
                    kinds[kind].append((func, args, kwargs))
                    break
        least = {"gradient": min(spent(job, 1) for _ in range(rounds))}
        with torch.no_grad():
            for kind, calls in kinds.items():
                least[kind] = min(spent(lambda calls=calls: again(calls), 1) for _ in range(rounds))
        shown = ", ".join(f"{kind} {t * 1e3:.1f} ms" for kind, t in least.items())
        print(f"L={L} {len(seen.calls)} calls; {shown}", flush=True)


def again(calls: list[Any]) -> None:
    for func, args, kwargs in calls:
        func(*args, **kwargs)


def both(name: str, measure: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Callable[[], object]]:
    return {f"{name} forward": lambda: measure(x.detach()), f"{name} with gradient": slope(measure, x)}


def plain(L: int) -> None:
    """CPU seconds of the plain forward, and with gradient, for every line of the standard input."""
    jobs = both("plain", Plain(256, 7, L), lognormal(256).requires_grad_()).values()
    for _ in sys.stdin:
        print(*(spent(job, 1) for job in jobs), flush=True)


def memory(side: int, J: int, L: int) -> float:
    """Growth of the largest resident size by forward + gradient, in a fresh process after the plan is made, MB."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from sundog.statistics.scattering.covariance import ScatteringCovariance\n"
        "def status(word): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(word))\n"
        f"x = torch.randn({side}, {side}, requires_grad=True)\n"
        f"phi = ScatteringCovariance(({side}, {side}), {J}, {L}, isotropic=True)\n"
        "small = ScatteringCovariance((16, 16), 2, 4, isotropic=True); y = torch.randn(16, 16, requires_grad=True)\n"
        "torch.autograd.grad(small(y).vector.sum(), y); phi._field._prepared(x); torch.fft.rfft2(x.detach())\n"
        "import ctypes; ctypes.CDLL(None).malloc_trim(0)\n"  # what making the plan left behind is not there to be used
        "open('/proc/self/clear_refs', 'w').write('5'); before = status('VmRSS')\n"
        "torch.autograd.grad(phi(x).normalised().vector.sum(), x)\n"
        "print((status('VmHWM') - before) / 1024)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def lognormal(side: int) -> Tensor:
    x = torch.randn(side, side, generator=torch.Generator().manual_seed(0))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-1.5, s=(side, side))
    x = (x / x.std()).exp()
    return (x - x.mean()) / x.std()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "parts", "plain"), nargs="?", default="cost")
    parser.add_argument("-L", type=int, nargs="+", default=[4, 8], help="orientations")
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.what == "plain":
        plain(*chosen.L)
        return
    tuned = os.environ.get("MALLOC_MMAP_THRESHOLD_")
    print(f"torch {torch.__version__}, one thread, allocator {'tuned' if tuned else 'stock glibc'}")
    {"cost": cost, "parts": parts}[chosen.what](chosen.L, chosen.rounds)
    print(f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
