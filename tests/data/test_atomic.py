"""Atomic writes: the old file or the whole new one, and never litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sundog.data.atomic import atomic_write, write_bytes, write_text
from sundog.errors import FileError


def test_bytes_and_text_arrive_whole(tmp_path: Path) -> None:
    assert write_bytes(tmp_path / "a.bin", b"\x00\r\n").read_bytes() == b"\x00\r\n"
    assert write_text(tmp_path / "a.txt", "τ21\n").read_bytes() == "τ21\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.txt"]


def test_a_failing_writer_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_keeps_the_suffix(tmp_path: Path) -> None:
    seen: list[str] = []
    atomic_write(tmp_path / "a.npz", lambda p: (seen.append(p.suffix), p.write_bytes(b"x")))
    assert seen == [".npz"]


def test_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("x")
    path = write_text(tmp_path / "atomic", "x")
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    path.chmod(0o600)
    write_text(path, "y")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["missing/a.txt", "."])
def test_unusable_places_are_file_errors(tmp_path: Path, place: str) -> None:
    with pytest.raises(FileError, match="cannot write"):
        write_text(tmp_path / place, "x")


def test_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    """Negative control inside: the writer is killed in the middle, the reader sees old content only."""
    path = write_text(tmp_path / "a.txt", "old")
    code = ("import sys, time; from pathlib import Path; from sundog.data.atomic import atomic_write\n"
            "def slow(p):\n    p.write_text('half'); Path(sys.argv[2]).touch(); time.sleep(60)\n"
            "atomic_write(sys.argv[1], slow)")
    child = subprocess.Popen([sys.executable, "-c", code, str(path), str(tmp_path / "started")])
    deadline = time.time() + 60
    while not (tmp_path / "started").exists() and time.time() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (tmp_path / "started").exists()
    assert path.read_text() == "old"


def test_contents_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses power after the rename must not be left with an empty file of the right name."""
    events = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(str(Path(f"/proc/self/fd/{handle}").readlink())),
                                                     sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    write_text(tmp_path / "a.txt", "whole")
    assert len(events) == 3 and ".part" in events[0] and events[1:] == ["rename", str(tmp_path)]


def test_links_are_followed_and_devices_are_fed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "new.txt")
    assert write_text(tmp_path / "link.txt", "new") == tmp_path / "link.txt"
    write_text(tmp_path / "dangling.txt", "made")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "dangling.txt").is_symlink() and (tmp_path / "new.txt").read_text() == "made"
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    write_text(tmp_path / "pipe", "through")
    assert reader.communicate(timeout=30)[0] == b"through"
    with pytest.raises(FileError, match="cannot write /dev/full"):
        write_text("/dev/full", "x" * 100_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling.txt", "link.txt", "new.txt", "pipe", "real.txt"]
