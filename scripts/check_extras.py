"""Check that no extra swaps torch: every one resolves under constraints.txt without a CUDA package.

Run inside an environment that holds sundog: python scripts/check_extras.py [extra ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDA = ("nvidia-", "nvidia_", "triton", "pytorch-triton", "cuda-")
SWAPS_TORCH = ("torchvision", "torchaudio", "torch-fidelity", "clean-fid", "torch-harmonics", "azula", "torchcfm")


def resolve(extra: str) -> tuple[str, dict[str, str], str]:
    """Extra, the packages pip would install for it (name -> version), and pip's last error lines."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(report),
                   "--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[{extra}]"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=ROOT)
        if done.returncode:
            return extra, {}, "\n".join(done.stderr.strip().splitlines()[-4:])
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
        return extra, {item["name"].lower(): item["version"] for item in found}, ""


def complaints(packages: dict[str, str], error: str, torch_now: str) -> list[str]:
    """What is wrong with one resolution; empty when nothing is."""
    bad = [f"pip failed: {error}"] if error else []
    bad += [f"pulls {name}" for name in packages if name.startswith(CUDA)]
    bad += [f"pulls {name}, which can swap torch" for name in packages if name in SWAPS_TORCH]
    if packages.get("torch", torch_now) != torch_now:
        bad.append(f"swaps torch {torch_now} for {packages['torch']}")
    return bad


def main(wanted: list[str]) -> int:
    """Number of extras that would touch torch; prints one line for each."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = wanted or list(tomllib.load(file)["project"]["optional-dependencies"])
    pinned = (ROOT / "constraints.txt").read_text().split("torch==")[1].split()[0]
    torch_now = version("torch")
    if torch_now.split("+")[0] != pinned:
        print(f"torch {torch_now} is installed, constraints.txt says {pinned}")
        return 1
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(resolve, extras))
    for extra, packages, error in results:
        bad = complaints(packages, error, torch_now)
        print(f"{extra:8} {'; '.join(bad) if bad else f'ok, {len(packages)} packages more, torch {torch_now} stays'}")
    return sum(bool(complaints(packages, error, torch_now)) for _, packages, error in results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
