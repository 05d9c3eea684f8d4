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

import torch
from torch import Tensor
from torch.profiler import profile

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
                  f"{statistics.median(each):5.1f} ({each[0]:.1f} to {each[-1]:.1f}); "
                  f"{middle[name] / middle['floor']:.1f} FFT floors", flush=True)  # fmt: skip
        print(f"L={L} extra memory {memory(256, 7, L):.0f} MB", flush=True)


KINDS = {"transforms": ("_fft",), "matrix products": ("bmm", "mm"), "copies": ("copy_", "cat", "fill_", "zero_"),
         "products, squares, roots": ("mul", "addcmul", "div", "sqrt", "add_", "sum", "pow", "clamp")}  # fmt: skip


def parts(orientations: list[int], rounds: int) -> None:
    """Shares of a fast gradient by kind of operation, and what calls alone cost: the same on a map of 16 x 16."""
    for L in orientations:
        x, y = lognormal(256).requires_grad_(), torch.randn(16, 16, requires_grad=True)
        jobs = []
        for field, J in ((x, 7), (y, 4)):
            phi = ScatteringCovariance((len(field), len(field)), J, L, isotropic=True, accuracy="fast")
            jobs.append(slope(lambda x, phi=phi: phi(x).normalised().vector, field))
        whole, calls = (cpu(job, rounds) for job in jobs)
        with profile() as found:
            for _ in range(rounds):
                jobs[0]()
        rows = [(row.key.removeprefix("aten::"), row.self_cpu_time_total) for row in found.key_averages()]
        spent_in = {name: sum(t for key, t in rows if key.startswith(words)) for name, words in KINDS.items()}
        total = sum(t for _, t in rows)
        print(f"L={L} gradient {whole * 1e3:.1f} ms; on 16 x 16, 4 octaves, calls alone: {calls * 1e3:.1f} ms; "
              + ", ".join(f"{name} {t / total:.2f}" for name, t in spent_in.items()), flush=True)  # fmt: skip


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
