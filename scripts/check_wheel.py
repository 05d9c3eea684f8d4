"""Check that a wheel holds what the source tree holds, and at most 6 MB: python scripts/check_wheel.py sundog-*.whl"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 6.0  # MB


def main(wheel: str) -> int:
    """Number of tracked files under src/ that the wheel lacks, plus one where it is too large; prints each."""
    listed = subprocess.run(["git", "ls-files", "src/sundog"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {name.removeprefix("src/") for name in listed.stdout.split()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    size = Path(wheel).stat().st_size / 1e6
    missing = sorted(expected - held)
    for name in missing:
        print(f"the wheel lacks {name}")
    print(f"wheel: {len(held)} files, {size:.1f} MB, {len(missing)} missing" + (
        f"; more than {LARGEST} MB" if size > LARGEST else ""))
    return len(missing) + (not expected) + (size > LARGEST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
