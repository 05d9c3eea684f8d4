"""Downloads: whole and checked, or an error that says what to fetch by hand and where to put it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from sundog.data.atomic import atomic_write, write_text
from sundog.errors import FileError, OfflineError

_TIMEOUT_S = 30.0
_PIECE = 1 << 20
_NETWORK = (URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the internet.

    Attributes
    ----------
    name : of the local copy
    url : where it lies
    checksum : "sha256:..." or "md5:...", or None where nobody published one that we could verify
    checksum_url : address of a Zenodo record (JSON) that publishes the MD5 of its files, or None
    """

    name: str
    url: str
    checksum: str | None = None
    checksum_url: str | None = None


def cache_folder() -> Path:
    """Where downloads go: SUNDOG_CACHE, or ~/.cache/sundog."""
    return Path(os.environ.get("SUNDOG_CACHE") or Path.home() / ".cache" / "sundog")


def download(remote: RemoteFile, folder: Path, progress: bool = False) -> Path:
    """The local copy of the file, downloaded at most once and verified every time.

    Verified against the checksum of the registry; without one, against the MD5 that Zenodo publishes (when its
    interface answers); and always against the SHA-256 noted beside the file (``name.sha256``) when it first
    arrived. That last check detects change and damage since, not a wrong first download.

    Raises
    ------
    OfflineError : no connection, no such page, a body cut short, a wrong checksum. Nothing is left behind.
    FileError : the local copy changed since it was fetched.
    """
    path = folder / remote.name
    if path.exists():
        _verify_copy(path, remote)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot create {folder}", got=error.strerror, expected="a writable place",
                        do="set SUNDOG_CACHE to another folder") from error
    checksum = remote.checksum or _published(remote)

    def write(temporary: Path) -> None:
        try:
            _stream(remote, temporary, checksum, progress)
        except _NETWORK as error:
            raise _offline(remote, path, getattr(error, "reason", None) or error) from error

    atomic_write(path, write)
    write_text(_note(path), _digest(path, "sha256") + "\n")
    return path


def _stream(remote: RemoteFile, temporary: Path, checksum: str | None, progress: bool) -> None:
    with _open(remote.url) as response, temporary.open("wb") as file:
        announced = int(response.headers.get("Content-Length") or 0)
        with _bar(remote.name, announced, progress) as advance:
            while piece := response.read(_PIECE):
                file.write(piece)
                advance(len(piece))
    size = temporary.stat().st_size
    if announced and size != announced:  # urllib ends a cut connection without a word
        raise URLError(f"the connection ended after {size} of {announced} bytes")
    if checksum is not None:
        method, expected = checksum.split(":")
        got = _digest(temporary, method)
        if got != expected:
            raise URLError(f"{method} {got} where {expected} was published")


def _open(url: str) -> Any:
    return urlopen(Request(url, headers={"User-Agent": "sundog"}), timeout=_TIMEOUT_S)


def _published(remote: RemoteFile) -> str | None:
    """"md5:..." from the Zenodo record, or None when it cannot be asked: the file itself may still be there."""
    if remote.checksum_url is None:
        return None
    try:
        with _open(remote.checksum_url) as response:
            files = json.load(response)["files"]
        return next((str(f["checksum"]) for f in files if f["key"] == remote.name), None)
    except (*_NETWORK, ValueError, KeyError, TypeError):
        return None


def _verify_copy(path: Path, remote: RemoteFile) -> None:
    """Compare with what was published, else with what was noted at the first fetch; a file put there by hand is noted.

    The note lies beside the file: whoever changes one can change the other.
    """
    note = _note(path)
    known = remote.checksum or (f"sha256:{note.read_text().strip()}" if note.exists() else None)
    if known is not None:
        method, expected = known.split(":")
        got = _digest(path, method)
        if got != expected:
            raise FileError(f"{path} is not the file that was published or fetched", got=f"{method} {got[:12]}...",
                            expected=f"{expected[:12]}...", do=f"delete {path} and {note.name}, then fetch again")
    if not note.exists():
        write_text(note, _digest(path, "sha256") + "\n")


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _digest(path: Path, method: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, method).hexdigest()


def _offline(remote: RemoteFile, path: Path, reason: object) -> OfflineError:
    return OfflineError(f"cannot fetch {remote.name}", got=str(reason) or type(reason).__name__,
                        expected=f"the whole file from {remote.url}",
                        do=f"download it by hand and put it at {path}")


@contextmanager
def _bar(name: str, total: int, progress: bool) -> Iterator[Any]:
    """A function that takes the bytes arrived; shows them if asked."""
    if not progress:
        yield lambda size: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(name, total=total or None)
        yield lambda size: bar.update(task, advance=size)
