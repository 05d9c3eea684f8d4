"""Many independent pieces of work, each with a folder of its own that appears whole or not at all.

A killed run leaves complete folders behind; the same call again makes the missing ones. Pieces are made one after
the other, on local worker processes, or on an existing dask cluster.
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sundog.data.atomic import atomic_write, write_text
from sundog.errors import FileError, MissingExtraError, OptionError, RunError

Write = Callable[[Path, str, Any], object]
Done = Callable[[int, int], object]
_MARK = "ensemble.json"
LONGEST = "48:00:00"  # wall time asked of a batch system per piece


def write_parts(folder: str | Path, keys: Sequence[str], write: Write, shared: Any = None, *, workers: int = 0,
                scheduler: str | None = None, done: Done | None = None) -> list[Path]:
    """The folders ``folder/key``, after ``write(path, key, shared)`` filled those that were missing.

    Parameters
    ----------
    keys : names of the folders
    write : fills the empty folder ``path``; must be importable (no lambda) when it runs on workers
    shared : passed to every call, sent to each worker once
    workers : local processes; 0 for none, one piece after the other in this process
    scheduler : address of a running dask cluster, e.g. ``tcp://head:8786``; it must see the same file system
    done : called with (complete, all) pieces whenever one is complete

    Raises
    ------
    MissingExtraError : workers or scheduler without dask.distributed.
    FileError : an unwritable folder, or a cluster that does not answer.

    Example
    -------
    >>> place = Path(tempfile.mkdtemp())
    >>> def write(path, key, shared):
    ...     _ = (path / "answer.txt").write_text(key + shared)
    >>> [path.name for path in write_parts(place, ["a", "b"], write, "!")]
    ['a', 'b']
    >>> (place / "b" / "answer.txt").read_text()
    'b!'
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {folder}", got=error.strerror, expected="a writable folder",
                        do="choose another folder") from error
    missing = [key for key in keys if not (folder / key).is_dir()]
    tell = done or (lambda complete, whole: None)
    tell(len(keys) - len(missing), len(keys))
    job = partial(_write_one, folder, write)
    finished = _on_cluster(job, missing, shared, workers, scheduler) if (workers or scheduler) and missing \
        else (job(key, shared) for key in missing)
    for i, _ in enumerate(finished, len(keys) - len(missing) + 1):
        tell(i, len(keys))
    for key in missing:  # of workers that were killed
        for left in folder.glob(f".{glob.escape(key)}-*.part"):
            shutil.rmtree(left, ignore_errors=True)
    return [folder / key for key in keys]


def ensemble(folder: str | Path, seeds: Sequence[int], write: Write, options: Mapping[str, Any], *, name: str = "seed",
             workers: int = 0, scheduler: str | None = None, done: Done | None = None) -> list[Path]:
    """The folders ``folder/seed_0007`` of one piece for every seed; those that are there already are kept.

    Parameters
    ----------
    write : ``write(path, key, options)``, see `write_parts`; `seed_of` tells the seed of a key
    options : of all pieces, remembered beside them; the number of ``threads`` changes nothing
    name : first word of the folders

    Raises
    ------
    RunError : the folder holds pieces of other options.

    Example
    -------
    >>> place = Path(tempfile.mkdtemp())
    >>> def write(path, key, options):
    ...     _ = (path / "answer.txt").write_text(str(seed_of(key) + options["more"]))
    >>> (ensemble(place, range(6, 8), write, {"more": 3})[1] / "answer.txt").read_text()
    '10'
    """
    place = Path(folder)
    plain = json.loads(json.dumps(dict(options), default=_told))
    plain.pop("threads", None)
    if (place / _MARK).exists():
        before = json.loads((place / _MARK).read_text())
        if before != plain:
            other = sorted(word for word in {*before, *plain} if before.get(word) != plain.get(word))
            raise RunError(f"{place} holds pieces of other options", got=f"other {', '.join(other)}",
                           expected="the same options, any seeds", do="choose another folder")
    else:
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_text(place / _MARK, json.dumps(plain, indent=1))
        except OSError as error:
            raise FileError(f"cannot write {place}", got=error.strerror, expected="a writable folder",
                            do="choose another folder") from error
    return write_parts(place, [f"{name}_{seed:04d}" for seed in seeds], write, dict(options), workers=workers,
                       scheduler=scheduler, done=done)


def seed_of(key: str) -> int:
    """The seed of a key such as ``sky_0007``."""
    return int(key.rpartition("_")[2])


def _told(value: Any) -> str:
    """An option in words: of a file or folder, its age too."""
    return f"{value} of {value.stat().st_mtime_ns}" if isinstance(value, Path) and value.exists() else str(value)


def job_array(path: str | Path, command: Sequence[str], count: int, *, system: str = "slurm") -> Path:
    """The script that has a batch system run ``command --index i`` for i from 0 to count - 1, written to ``path``.

    Parameters
    ----------
    command : words of the command line, without the index
    system : ``slurm`` (sbatch), ``htcondor`` (condor_submit) or ``shell`` (one after the other)

    Example
    -------
    >>> script = job_array(Path(tempfile.mkdtemp()) / "jobs.sh", ["sundog", "scan", "events.h5"], 3)
    >>> print(script.read_text().splitlines()[-1])
    sundog scan events.h5 --index "$SLURM_ARRAY_TASK_ID"
    """
    words = shlex.join(command)
    name = Path(path).stem
    scripts = {
        "slurm": f"#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --array=0-{count - 1}\n#SBATCH --cpus-per-task=1\n"
                 f"#SBATCH --time={LONGEST}\n#SBATCH --output={name}-%a.log\nexport OMP_NUM_THREADS=1\n"
                 f'{words} --index "$SLURM_ARRAY_TASK_ID"\n',
        "htcondor": f"executable = /bin/bash\n"
                    f"arguments = \"-c '{words.replace(chr(39), chr(39) * 2)} --index $(Process)'\"\n"
                    f"environment = \"OMP_NUM_THREADS=1\"\nrequest_cpus = 1\ngetenv = True\n"
                    f"output = {name}-$(Process).out\nerror = {name}-$(Process).err\nlog = {name}.log\n"
                    f"queue {count}\n",
        "shell": f"#!/bin/bash\nset -e\nexport OMP_NUM_THREADS=1\nfor i in $(seq 0 {count - 1}); do\n"
                 f'    {words} --index "$i"\ndone\n',
    }
    if system not in scripts or count < 1:
        raise OptionError("cannot write a job array", got=f"system {system!r}, {count} jobs",
                          expected=f"{' | '.join(scripts)}, at least 1 job", do="choose one")
    return write_text(path, scripts[system])


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder that takes the place ``path`` when the block ends well, and vanishes when it does not.

    Example
    -------
    >>> place = Path(tempfile.mkdtemp())
    >>> with whole_folder(place / "part") as inside:
    ...     _ = (inside / "a.txt").write_text("whole")
    >>> [path.name for path in place.iterdir()]
    ['part']
    """
    temporary = Path(tempfile.mkdtemp(".part", f".{path.name}-", path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if not path.is_dir():  # another worker may have been faster: its result is as good
            try:
                temporary.replace(path)
            except OSError:
                if not path.is_dir():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_one(folder: Path, write: Write, key: str, shared: Any) -> str:
    with whole_folder(folder / key) as inside:
        write(inside, key, shared)
    return key


def _on_worker(job: Callable[[str, Any], str], key: str, shared: Any) -> str:
    import torch

    torch.set_num_threads(1)  # one process per core already
    # dask has glibc give memory back to the system at every free: each temporary array is made of new pages then, and
    # a sky costs twice its CPU time. M_TRIM_THRESHOLD and M_MMAP_THRESHOLD; other C libraries have no mallopt.
    with suppress(AttributeError, OSError, TypeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(-1, 1 << 28)
        glibc.mallopt(-3, 1 << 25)
    return job(key, shared)


def _on_cluster(job: Callable[[str, Any], str], keys: Sequence[str], shared: Any, workers: int,
                scheduler: str | None) -> Iterator[str]:
    """Keys as their pieces are completed on a dask cluster; the first error of a piece is raised here."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise MissingExtraError("dask.distributed", "cluster") from error
    cluster = None
    try:
        if scheduler is None:
            # No dashboard: it opens a port that nobody asked for.
            cluster = LocalCluster(n_workers=min(workers, len(keys)), threads_per_worker=1, processes=True,
                                   dashboard_address=None, memory_limit=0, silence_logs=40)
        try:
            client = Client(cluster or scheduler, timeout="5s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise FileError(f"no dask cluster at {scheduler}", got=str(error).splitlines()[0][:120],
                            expected="a running scheduler", do="start one with: dask scheduler") from error
        with client:
            sent = client.scatter(shared, broadcast=True, hash=False)
            futures = [client.submit(_on_worker, job, key, sent, pure=False, retries=1) for key in keys]
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
    finally:
        if cluster is not None:
            cluster.close()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def kept(folder: Path, of: Any, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays by name as a file of the folder holds them, or as ``make`` finds them now, which are then kept there.

    The file is named by all that they depend on: ``of`` is made of tensors, arrays, sequences, instances of
    dataclasses, and what has a ``repr``. What cannot be read is made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_digest(of)}.npz"
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(file) as held:
        return {name: held[name] for name in held.files}
    found = {name: np.asarray(value) for name, value in make().items()}

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez(stream, **found)  # type: ignore[arg-type]

    atomic_write(file, write)
    return found


def forget(folder: Path) -> None:
    """Take away what ``kept`` wrote into a folder, and the folder, unless something else lies there."""
    for file in folder.glob("*.npz"):
        file.unlink()
    with suppress(OSError):
        folder.rmdir()


def _digest(of: Any) -> str:
    digest = hashlib.sha256()

    def feed(part: Any) -> None:
        part = part.detach().cpu().numpy() if isinstance(part, Tensor) else part
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, list | tuple) or is_dataclass(part):
            digest.update(type(part).__name__.encode())
            for each in part if isinstance(part, list | tuple) else vars(part).values():
                feed(each)
        else:
            digest.update(repr(part).encode())

    feed(of)
    return digest.hexdigest()[:24]
