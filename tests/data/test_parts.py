"""Pieces appear whole or not at all, survive a kill, and are made once."""

import os
import platform
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sundog.data.parts import job_array, whole_folder, write_parts
from sundog.errors import FileError, OptionError


def write_pid(path: Path, key: str, shared: str) -> None:
    (path / "made.txt").write_text(f"{key} {shared} {os.getpid()}")


def fail_on_b(path: Path, key: str, shared: str) -> None:
    (path / "made.txt").write_text(key)
    if key == "b":
        raise FileError("no luck with b")


def test_each_piece_is_made_once(tmp_path):
    told = []
    write_parts(tmp_path, ["a", "b"], write_pid, "x", done=lambda *pair: told.append(pair))
    before = (tmp_path / "a" / "made.txt").stat().st_mtime_ns
    write_parts(tmp_path, ["a", "b", "c"], write_pid, "y")
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert (tmp_path / "a" / "made.txt").stat().st_mtime_ns == before
    assert (tmp_path / "c" / "made.txt").read_text().startswith("c y")


def test_a_failing_piece_leaves_nothing_and_keeps_the_others(tmp_path):
    with pytest.raises(FileError, match="no luck with b"):
        write_parts(tmp_path, ["a", "b", "c"], fail_on_b)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a"]


@pytest.mark.slow
def test_a_killed_process_leaves_no_half_folder(tmp_path):
    code = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from sundog.data.parts import write_parts
        def write(path, key, shared):
            (path / "half.txt").write_text(key)
            if key == "b":
                os.kill(os.getpid(), signal.SIGKILL)
        write_parts({str(tmp_path)!r}, ["a", "b"], write)
        """)
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (tmp_path / "a").is_dir() and not (tmp_path / "b").exists()
    write_parts(tmp_path, ["a", "b"], write_pid, "again")
    assert (tmp_path / "b" / "made.txt").read_text().startswith("b again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # nothing of the killed one is left


def test_the_slower_of_two_writers_gives_way(tmp_path):
    with whole_folder(tmp_path / "p") as slow:
        (slow / "who").write_text("slow")
        with whole_folder(tmp_path / "p") as quick:
            (quick / "who").write_text("quick")
    assert (tmp_path / "p" / "who").read_text() == "quick" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("system, word", [("slurm", "#SBATCH --array=0-4"), ("htcondor", "queue 5"),
                                          ("shell", "seq 0 4")])
def test_job_arrays_name_every_index(tmp_path, system, word):
    text = job_array(tmp_path / "jobs.sh", ["sundog", "scan", "my events.h5"], 5, system=system).read_text()
    assert word in text and "--index" in text and "my events.h5" in text
    with pytest.raises(OptionError, match="cannot write a job array"):
        job_array(tmp_path / "jobs.sh", ["x"], 5, system="pbs")


def test_shell_array_runs(tmp_path):
    script = job_array(tmp_path / "jobs.sh", ["echo", "a b"], 2, system="shell")
    out = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=True).stdout
    assert out == "a b --index 0\na b --index 1\n"


@pytest.mark.slow
def test_local_workers_and_an_existing_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    write_parts(tmp_path / "own", ["a", "b"], write_pid, "x", workers=2)
    made = [(tmp_path / "own" / key / "made.txt").read_text().split() for key in "ab"]
    assert all(int(pid) != os.getpid() for _, _, pid in made)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        write_parts(tmp_path / "theirs", ["a"], write_pid, "x", scheduler=cluster.scheduler_address)
        with pytest.raises(FileError, match="no luck with b"):
            write_parts(tmp_path / "theirs", ["b"], fail_on_b, scheduler=cluster.scheduler_address)
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["a"]
    with pytest.raises(FileError, match="no dask cluster"):
        write_parts(tmp_path / "none", ["a"], write_pid, scheduler="tcp://127.0.0.1:9")


def count_faults(path: Path, key: str, shared: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(1 << 18).sum()
    (path / "faults.txt").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_temporary_arrays_of_a_worker_keep_their_pages(tmp_path):
    write_parts(tmp_path, ["a"], count_faults, workers=1)
    assert int((tmp_path / "a" / "faults.txt").read_text()) < 5 * 512  # 50 x 512 pages when each array is new


@pytest.mark.parametrize("mask, mode", [(0o022, 0o755), (0o077, 0o700)])
def test_others_may_read_a_folder_as_the_user_allows(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with whole_folder(tmp_path / "p"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "p").stat().st_mode & 0o777 == mode
