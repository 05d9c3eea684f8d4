"""The command line: the words of the library on files. The library loads inside the words, so --help is quick."""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from sundog import __version__
from sundog.checks import memory_left
from sundog.cli import (
    anomaly,
    demo,
    design,
    emulate,
    example,
    judge,
    learn,
    public,
    quiz,
    radio,
    scan,
    separate,
    simulate,
    sky,
)
from sundog.cli.options import Stopped, as_options
from sundog.errors import SundogError

app = typer.Typer(
    name="sundog", no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for word in (learn.info, learn.families, learn.fit, learn.sample, judge.judge, judge.bias, simulate.simulate,
             design.design, quiz.quiz, separate.separate, emulate.emulate, demo.demo, example.example):
    # a word of its own
    app.command()(word)
app.command(cls=scan.Scan)(scan.scan)
_RESERVED = 1 << 30  # bytes that pyarrow reserves and never touches, which count as taken
GROUPS = {group.__name__.rpartition(".")[2]: group for group in (public, anomaly, radio, sky)}  # of words
for name, group in GROUPS.items():
    app.add_typer(group.app, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the command line: 0 fine, 1 failed, 2 the user's error, 130 interrupted, 143 terminated."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or (len(words) == 1 and words[0] in GROUPS):
        words.append("--help")
    try:
        with _terminable(), _within_memory():
            code = app(words, prog_name="sundog", standalone_mode=False)
        sys.stdout.flush()  # a full disk behind it is told here, not by the interpreter on its way out
        if code == 130:  # what typer makes of a KeyboardInterrupt
            return _stopped(130)
        return code if isinstance(code, int) else 0
    except Stopped as told:
        return int(told.code or 130)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(130)
    except SystemExit as stop:
        return _stopped(143) if stop.code == 143 else int(stop.code or 0)
    except BrokenPipeError:  # `sundog info file | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error, words)


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM unwinds the command as Ctrl-C does, so that nothing half-written stays behind."""
    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _within_memory() -> Iterator[None]:
    """Inside, what is more than the machine has free ends the command with a MemoryError, not the machine."""
    try:
        import resource

        held = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    except (ImportError, OSError):  # systems without such limits
        held = None
    left = memory_left()
    if held is None or left == math.inf:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = 1024 * int(held[1]) + int(left) + _RESERVED
    if before == resource.RLIM_INFINITY or most < before:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _stopped(code: int) -> int:
    """The code, after the line of a command that keeps nothing unless it ends; others say themselves what goes on."""
    typer.echo("sundog: stopped; this command saves at its end only, and nothing half-written is left; give it again "
               "to begin anew", err=True)
    return code


def _explain(error: Exception, words: Sequence[str]) -> int:
    """Exit code of an error, after one clear line about it on stderr."""
    if isinstance(error, SundogError):
        said = str(error).removesuffix(error.do)
        line, code = f"error: {as_options(said)}{as_options(error.do, _options(words))}", 2
    elif hasattr(error, "format_message"):  # what typer raises for a wrong option or argument
        where = getattr(getattr(error, "ctx", None), "command_path", "sundog")
        line, code = f"error: {error.format_message()} See: {where} --help", 2
    elif isinstance(error, MemoryError) or "allocate memory" in str(error):
        line, code = f"error: not enough memory: {memory_left() / 1e9:.3g} GB are free; ask for less at a time", 2
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  what is left for the full one would be tried once more
        line, code = "error: no space left where the output goes; free some, or write elsewhere", 2
    else:
        first = (str(error).splitlines() or [""])[0]
        line, code = f"unexpected {type(error).__name__}: {first}; run it again with --debug to see where", 1
    typer.echo("sundog: " + " ".join(line.split()), err=True)
    return code


def _options(words: Sequence[str]) -> set[str]:
    """The options of the command that was given."""
    command = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return {name.lstrip("-").replace("-", "_") for option in command.params for name in option.opts if name[:2] == "--"}


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
) -> None:
    """Learn a distribution from limited scientific data, generate fakes, judge them with error bars.

    \b
    sundog demo                                    the whole way, three minutes
    sundog fit flow events.npz -c m_jj             learn
    sundog sample run -n 10000 --out fakes.npz     generate
    sundog judge events.npz fakes.npz --held-out   judge
    """
