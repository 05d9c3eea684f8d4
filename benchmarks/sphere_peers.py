"""Scattering statistics of the sphere beside FOSCAT and s2scat: CPU, memory, and how far a rotation moves them.

    python benchmarks/sphere_peers.py sundog --nside 128
    python benchmarks/sphere_peers.py foscat --nside 128
    python benchmarks/sphere_peers.py s2scat --nside 128 --lmax 64

foscat and s2scat (with jax) are installed by hand, best in an environment of their own. The sky is exp of a Gaussian
one with C_l = (l + 10)^-2.5 below l = 1.5 nside. Each prints forward, forward + gradient (CPU seconds of one thread,
after one call that prepares), growth of the largest resident size in MB, how many numbers, and the root mean square
over them of what a rotation by (40, 70, 10) degrees changes, in standard deviations between five skies.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import healpy
import numpy as np
import torch

NORIENT = 4


def alm(nside: int, seed: int) -> np.ndarray:
    """Harmonics of the logarithm of a sky."""
    rng = np.random.default_rng(seed)
    lmax = 3 * nside // 2
    ell, m = healpy.Alm.getlm(lmax)
    z = rng.standard_normal((2, len(ell))) * np.sqrt((ell + 10.0) ** -2.5 / np.where(m == 0, 1, 2))
    return np.where(m == 0, z[0], z[0] + 1j * z[1])


def sky(nside: int, seed: int, turned: bool = False) -> np.ndarray:
    found = alm(nside, seed)
    if turned:
        healpy.rotate_alm(found, *np.deg2rad([40.0, 70.0, 10.0]))
    x = np.exp(3 * healpy.alm2map(found, nside))
    return (x - x.mean()) / x.std()


def of_sundog(nside: int, lmax: int) -> Callable[[Any], torch.Tensor]:
    from sundog.statistics import SphereScatteringCovariance

    phi = SphereScatteringCovariance(nside)
    return lambda x: phi(x).normalised().vector[2:]


def of_foscat(nside: int, lmax: int) -> Callable[[Any], torch.Tensor]:
    import foscat.scat_cov as scat

    operator = scat.funct(NORIENT=NORIENT, KERNELSZ=3, BACKEND="torch", all_type="float32", silent=True)
    order = torch.from_numpy(healpy.nest2ring(nside, np.arange(12 * nside**2)))

    def measure(x: torch.Tensor) -> torch.Tensor:
        found = operator.eval(x[order], norm="self").iso_mean()
        parts = [getattr(found, name, None) for name in ("S1", "S2", "S3", "S4")]
        flat = [torch.as_tensor(part).flatten() for part in parts if part is not None]
        return torch.cat([torch.view_as_real(part).flatten() if part.is_complex() else part for part in flat])

    return measure


def of_s2scat(nside: int, lmax: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    import jax
    import jax.numpy as jnp
    import s2scat
    from s2scat.utility.config import run_config

    jax.config.update("jax_enable_x64", True)
    config = run_config(lmax, NORIENT, 0, True, False)

    def total(flm: Any) -> Any:
        return jnp.concatenate([jnp.ravel(jnp.abs(v)) for v in s2scat.scatter(
            flm, lmax, NORIENT, 0, True, config, None, False, True)])  # fmt: skip

    return total, jax.grad(lambda flm: total(flm).sum(), holomorphic=False)


def harmonics(x: np.ndarray, lmax: int) -> np.ndarray:
    """f_lm of m >= 0 in a square (lmax, lmax), as s2scat wants them."""
    found, out = healpy.map2alm(x, lmax=lmax - 1), np.zeros((lmax, lmax), complex)
    ell, m = healpy.Alm.getlm(lmax - 1)
    out[ell, m] = found
    return out


def spent(job: Callable[[], object], calls: int) -> float:
    job()
    start = time.process_time()
    for _ in range(calls):
        job()
    return (time.process_time() - start) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", choices=("sundog", "foscat", "s2scat"))
    parser.add_argument("--nside", type=int, default=128)
    parser.add_argument("--lmax", type=int, default=64, help="of s2scat")
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--skies", type=int, default=5, help="1: no rotation")
    o = parser.parse_args()
    torch.set_num_threads(1)
    maps = [sky(o.nside, seed) for seed in range(o.skies)]
    maps += [sky(o.nside, 0, turned=True)] if o.skies > 1 else []
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if o.code == "s2scat":
        measure, gradient = of_s2scat(o.nside, o.lmax)
        data = [harmonics(x, o.lmax) for x in maps]
        forward, both = (lambda: np.asarray(measure(data[0]))), (lambda: np.asarray(gradient(data[0])))
        vectors = [np.asarray(measure(x)) for x in data]
    else:
        phi = {"sundog": of_sundog, "foscat": of_foscat}[o.code](o.nside, o.lmax)
        inputs = [torch.from_numpy(x).float() for x in maps]
        leaf = inputs[0].clone().requires_grad_()
        forward, both = (lambda: phi(inputs[0])), (lambda: torch.autograd.grad(phi(leaf).sum(), leaf))
        vectors = [phi(x).detach().double().numpy() for x in inputs]
    prepared = time.process_time() - began
    times = [spent(job, o.calls) for job in (forward, both)]
    every = np.stack(vectors)
    moved = (every[-1] - every[0]) / every[:-1].std(0, ddof=1) if o.skies > 1 else np.array([np.nan])
    apart = {"rotation_rms_sigma": float(np.sqrt((moved[np.isfinite(moved)] ** 2).mean()))} if o.skies > 1 else {}
    print(json.dumps({
        "code": o.code, "nside": o.nside, **({"lmax": o.lmax} if o.code == "s2scat" else {}), "numbers": every.shape[1],
        "prepared_and_skies_s": round(prepared, 1), "forward_s": round(times[0], 3), "gradient_s": round(times[1], 3),
        "memory_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        **apart,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
