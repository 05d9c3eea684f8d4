"""Check that a built wheel holds what the source tree holds: python scripts/check_wheel.py sundog-*.whl"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(wheel: str) -> int:
    """Number of tracked files under src/ that the wheel lacks; prints each."""
    listed = subprocess.run(["git", "ls-files", "src/sundog"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {name.removeprefix("src/") for name in listed.stdout.split()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        size = sum(item.compress_size for item in archive.infolist()) / 1e6
    missing = sorted(expected - held)
    for name in missing:
        print(f"the wheel lacks {name}")
    print(f"wheel: {len(held)} files, {size:.1f} MB, {len(missing)} missing")
    return len(missing) + (not expected)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
