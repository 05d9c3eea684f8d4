"""Atomic writes: a reader sees the old file or the whole new one, never half of either."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sundog.errors import FileError, RunError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there two processes are not kept apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> Path:
    """The path, after ``write(temporary)`` filled a file next to it that then took its place.

    The temporary file has the same suffix, is synced to disk, and is removed if anything fails
    (``BaseException`` too: Ctrl-C leaves nothing behind). A process killed outright leaves the old file
    untouched and at most a hidden ``.name-*.part.suffix`` beside it. A link is followed: what it points to is replaced.
    What is no file - a pipe, ``/dev/null``, ``/dev/stdout`` - is not replaced: the finished bytes are sent there.

    Raises
    ------
    FileError : the folder is missing or not writable, or the disk is full.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> atomic_write(folder / "a.txt", lambda path: path.write_text("whole")).read_text()
    'whole'
    """
    place, path = Path(path), Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        return _sent(place, write)
    path = path.resolve() if path.is_symlink() else path
    temporary = _temporary_beside(path)
    try:
        write(temporary)
        _sync(temporary)
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"cannot write {path}", got=error.strerror or str(error), expected="a writable place",
                        do="check permissions and free space, or choose another path") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    with suppress(OSError):  # the rename itself must reach the disk; some systems cannot sync a folder
        _sync(path.parent)
    return place


def _sent(path: Path, write: Callable[[Path], object]) -> Path:
    """The path of a pipe or device, after the bytes that ``write`` made elsewhere went there."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"whole{path.suffix}"
        write(whole)
        try:
            with whole.open("rb") as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except OSError as error:
            raise FileError(f"cannot write {path}", got=error.strerror or str(error), expected="a writable place",
                            do="choose another path") from error
    return path


def write_bytes(path: str | Path, content: bytes) -> Path:
    """The path, after the bytes were written to it atomically.

    Example
    -------
    >>> import tempfile
    >>> write_bytes(Path(tempfile.mkdtemp()) / "a.bin", b"abc").read_bytes()
    b'abc'
    """
    return atomic_write(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: str | Path, content: str) -> Path:
    """The path, after the text was written to it atomically, as UTF-8 with the line ends given.

    Example
    -------
    >>> import tempfile
    >>> write_text(Path(tempfile.mkdtemp()) / "a.txt", "µK").read_text(encoding="utf-8")
    'µK'
    """
    return write_bytes(path, content.encode("utf-8"))


def check_place(path: str | Path) -> Path:
    """The path, if a file can be written there: known before the work, not after it.

    Raises
    ------
    FileError : the folder is missing or not writable, or the path is a folder.

    Example
    -------
    >>> import tempfile
    >>> check_place(Path(tempfile.mkdtemp()) / "later.txt").exists()
    False
    """
    path = Path(path)
    if not path.exists() or path.is_file() or path.is_dir():  # else a pipe or device: opening it would wait
        _temporary_beside(path.resolve() if path.is_symlink() else path).unlink()
    return path


def check_folder(path: str | Path) -> Path:
    """The path, if it is a folder that can be written to, or if one can be made there.

    Raises
    ------
    FileError : a file is in the way, or a place above is not writable.
    """
    path = Path(path)
    above = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists() or place.is_symlink())
    if not above.is_dir():
        raise FileError(f"cannot write to {path}", got=f"{above} is a file", expected="a folder",
                        do="choose another name")
    _temporary_beside(above / f".{os.getpid()}").unlink()
    return path


@contextmanager
def alone_in(folder: Path | None) -> Iterator[None]:
    """Inside, no other process is in the same block with this folder; the system frees it when a process dies.

    Raises
    ------
    RunError : another process is in it. FileError : the folder cannot be written to.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with alone_in(folder):
    ...     try:
    ...         alone_in(folder).__enter__()
    ...     except RunError as error:
    ...         print(str(error)[:33])
    another process works on this fol
    """
    if folder is None or fcntl is None:
        yield
        return
    path = folder / LOCK
    handle = _locked(path)
    try:
        yield
    finally:
        with suppress(OSError):  # while still locked: who opens it after this makes a new one
            path.unlink()
        os.close(handle)


def _locked(path: Path) -> int:
    """Handle of the locked file, made if it is not there."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise FileError(f"cannot write to {path.parent}", got=error.strerror, expected="a writable folder",
                            do="choose another folder") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BlockingIOError:
            os.close(handle)
            raise RunError(f"another process works on this folder: {path.parent}", got="a folder in use",
                           expected="one process per folder",
                           do="wait until it ends, or choose another folder") from None
        os.close(handle)  # the one before has just taken the file away


def _temporary_beside(path: Path) -> Path:
    """An empty file in the same folder, because a rename is atomic only within one file system."""
    if path.is_dir():
        raise FileError(f"cannot write {path}", got="a folder", expected="the path of a file",
                        do="add a file name")
    try:
        handle, name = tempfile.mkstemp(f".part{path.suffix}", f".{path.stem}-", path.parent)
    except OSError as error:
        raise FileError(f"cannot write {path}", got=error.strerror or str(error),
                        expected="a writable folder",
                        do=f"create {path.parent} or choose another path") from error
    os.close(handle)
    return Path(name)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(path: Path) -> int:
    """The mode of the file to be replaced, else what ``open`` would give: mkstemp's 0600 hides results."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
