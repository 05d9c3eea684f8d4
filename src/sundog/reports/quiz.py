"""Real or fake? A game on one self-contained page: the test that no statistic replaces, with its error bar.

Every round is a coin of its own: in pairs, on which side the fake lies; with single images, whether the image is
one. The coins are independent, so whoever guesses, by whatever rule, has Binomial(n, 1/2) right answers, even when
shown the answer after every round. (With a fixed number of fakes a player could count them.)

Real and fake are drawn with one stretch and one palette, into one picture of tiles in the order of the game, so
that neither file names nor sizes tell them apart. The answers stand scrambled in the page: enough against a
glance at its source, not against somebody who wants to cheat.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from scipy.stats import binomtest
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.errors import DataError, FileError, OptionError, SampleSizeError, ShapeError
from sundog.reports.html import render

MODES, SCALES, STRETCHES = ("pairs", "single"), ("set", "image"), ("asinh", "linear")
COLOURS = ("inferno", "viridis", "cividis", "gray")
ROUNDS = 20  # unless asked for another number, or there are fewer images
FEWEST = 5  # rounds: 5 of 5 right is the first score that guessing reaches in less than 5 % of the games
COLUMNS = 8  # tiles side by side in the picture
HASHED = 4096  # last characters of the picture that seed the scrambling of the answers


@dataclass(frozen=True)
class Quiz:
    """A game and its answers.

    Attributes
    ----------
    html : the page
    truth : of each round, in pairs the side of the fake (0 left, 1 right), with single images 1 for a fake
    rows : of each round, the rows of the files that are shown: [real, fake] in pairs, [row] for single images
    """

    html: str
    truth: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]


def write_quiz(real: Dataset, fake: Dataset, path: str | Path, **options: object) -> Path:
    """The path, after the page of `make_quiz` was written to it."""
    return write_text(path, make_quiz(real, fake, **options).html)  # type: ignore[arg-type]


def make_quiz(
    real: Dataset,
    fake: Dataset,
    *,
    mode: str = "pairs",
    rounds: int | None = None,
    seed: int = 0,
    channel: int = 0,
    scale: str = "set",
    stretch: str = "asinh",
    colours: str = "inferno",
    title: str = "Real or fake?",
) -> Quiz:
    """A game made of images drawn at random, none shown twice; the same seed gives the same page.

    Parameters
    ----------
    real, fake : images of one size and unit
    mode : ``pairs`` (one of each side by side) or ``single``
    rounds : 20, or as many as the images allow
    seed : of the images, their order and the coins
    channel : which one is shown of images that have several
    scale : ``set`` shows all on one brightness scale; ``image`` divides each by its own peak first
    stretch : ``asinh`` (linear in the noise, logarithmic above) or ``linear``
    colours : one of COLOURS: all rise evenly in lightness, so that colour-blind players see the same

    Raises
    ------
    ShapeError : no images, or of different size or unit.
    OptionError : an unknown word.
    DataError : an image that stands on both sides.
    SampleSizeError : fewer images than rounds, or fewer than 5 rounds.

    Example
    -------
    >>> x = torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> quiz = make_quiz(Dataset.from_arrays(x[:6]), Dataset.from_arrays(x[6:]), rounds=6)
    >>> len(quiz.truth), "</html>" in quiz.html
    (6, True)
    """
    for what, word, known in (("mode", mode, MODES), ("scale", scale, SCALES), ("stretch", stretch, STRETCHES),
                              ("colours", colours, COLOURS)):
        if word not in known:
            raise OptionError(f"unknown {what} of a quiz", got=word, expected=" | ".join(known), do="choose one")
    _check_pair(real, fake)
    n = _rounds(len(real), len(fake), rounds)
    a, b, truth = _deal(real, fake, n, f"{seed} {mode}")
    # Both modes set the brightness by n images of each kind, whatever the coins say.
    maps = [_channel(data, channel) for data in (real, fake)]
    if same := len(set.intersection(*({x.numpy().tobytes() for x in some} for some in maps))):
        raise DataError("images stand on both sides", got=f"{same} equal ones", expected="none",
                        do="check the two files: nobody can say which of two equal images is the fake")
    shown = torch.cat([maps[0][a], maps[1][b]])
    rows: list[tuple[int, ...]]
    if mode == "pairs":
        rows, tiles = list(zip(a, b)), [i + n * (side == t) for i, t in enumerate(truth) for side in (0, 1)]
    else:
        rows, tiles = [((b if t else a)[i],) for i, t in enumerate(truth)], [i + n * t for i, t in enumerate(truth)]
    picture = _sheet(brightness(shown, scale=scale, stretch=stretch)[tiles], colours)
    answers = {"truth": truth, "rows": rows}
    facts = {
        "mode": mode, "rounds": n, "seed": seed, "title": title, "width": shown.shape[2], "height": shown.shape[1],
        "columns": COLUMNS, "hashed": HASHED, "real": _source(real), "fake": _source(fake),
        "scale": "each image on its own scale" if scale == "image" else "all images on one brightness scale",
        "answers": scrambled(json.dumps(answers), picture),
    }
    html = render("quiz.html", facts, facts=facts, picture=picture)
    return Quiz(html, tuple(truth), tuple(rows))


def brightness(images: Tensor, *, scale: str = "set", stretch: str = "asinh") -> np.ndarray:
    """Images (n, ny, nx) as bytes 0 to 255, all by one rule that does not know which are real.

    With ``image`` each one first loses its median and is divided by its peak. Black and white are then the 0.5 % and
    the 99.95 % quantile of all pixels. asinh is linear up to three times the robust noise, 1.4826 MAD, which counts
    as one thousandth of the range at least.

    Example
    -------
    >>> brightness(torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), stretch="linear").tolist()
    [[[0, 63], [127, 255]]]
    """
    x = images.double().numpy()
    if scale == "image":
        x = x - np.median(x, axis=(1, 2), keepdims=True)
        peak = x.max((1, 2), keepdims=True)
        x = x / np.where(peak > 0, peak, 1.0)
    low, high = np.quantile(x, [0.005, 0.9995])
    if not high > low:
        low, high = x.min(), max(x.max(), x.min() + 1e-30)
    y = np.clip((x - low) / (high - low), 0, 1)
    if stretch == "asinh":
        noise = 1.4826 * np.median(np.abs(y - np.median(y)))
        soft = 3 * max(float(noise), 1e-3)
        y = np.arcsinh(y / soft) / np.arcsinh(1 / soft)
    return (255 * y).astype(np.uint8)


def scrambled(text: str, picture: str) -> str:
    """Base64 of the text XOR a stream of numbers seeded by the end of the picture: unreadable at a glance, no secret.

    The stream is mulberry32, one byte of each number; its seed is FNV-1a of the last 4096 characters.

    Example
    -------
    >>> scrambled("10", "abc")
    'WME='
    """
    state = 2166136261
    for code in picture[-HASHED:].encode():
        state = (state ^ code) * 16777619 & 0xFFFFFFFF
    out = bytearray()
    for byte in text.encode():
        state = state + 0x6D2B79F5 & 0xFFFFFFFF
        t = (state ^ state >> 15) * (1 | state) & 0xFFFFFFFF
        t = (t + ((t ^ t >> 7) * (61 | t) & 0xFFFFFFFF) & 0xFFFFFFFF) ^ t
        out.append(byte ^ (t ^ t >> 14) & 0xFF)
    return base64.b64encode(bytes(out)).decode("ascii")


@dataclass(frozen=True)
class Score:
    """What players reached together.

    Attributes
    ----------
    right, n, players : right answers of all answers, saved games
    rate, interval_95 : share of right answers with Clopper and Pearson's interval, which takes the answers of
        different players to the same round for independent
    p_value : probability of at least as many right answers had every round's coin fallen at random; exact even when
        players agree with each other for reasons that have nothing to do with the truth
    """

    right: int
    n: int
    players: int
    rate: float
    interval_95: tuple[float, float]
    p_value: float

    def __str__(self) -> str:
        low, high = self.interval_95
        told = "they can be told apart" if self.p_value < 0.05 else "no evidence that they can be told apart"
        return (f"{self.right} of {self.n} right in {self.players} game{'s' * (self.players > 1)}: "
                f"{100 * self.rate:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %), "
                f"p = {self.p_value:.2g} against guessing; {told}")


def pooled_score(results: Sequence[Mapping[str, Any]]) -> Score:
    """The score of saved games taken together.

    For one round let d = (players right) - (players wrong). Had its coin fallen the other way, d would be -d; so the
    p-value is the share of all sign flips of the rounds with a sum >= that found, counted exactly by
    convolution. With one player this is the binomial test.

    Errors: FileError for what is no saved game, or a game repeated on a page whose answers the player had seen.

    Example
    -------
    >>> game = {"sundog_quiz": 1, "quiz": {"seed": 0}, "game": 1, "rounds": [{"round": i, "right": i < 9}
    ...         for i in range(10)]}
    >>> pooled_score([game]).p_value == 11 / 1024
    True
    """
    votes: dict[tuple[str, int], int] = {}
    right = n = 0
    for i, result in enumerate(results):
        if result.get("sundog_quiz") != 1 or not result.get("rounds"):
            raise FileError(f"file {i + 1} is no saved quiz", got=", ".join(list(result)[:4]) or "nothing",
                            expected="the file that the page saves at its end", do="leave it out")
        if result.get("game", 1) > 1:
            raise FileError(f"file {i + 1} is a repeated game", got=f"game {result['game']}",
                            expected="the first game of a player", do="leave it out: its answers were known")
        for answer in result["rounds"]:
            key = json.dumps(result["quiz"], sort_keys=True), int(answer["round"])
            votes[key] = votes.get(key, 0) + (1 if answer["right"] else -1)
            right, n = right + bool(answer["right"]), n + 1
    law = np.ones(1)  # of sum d + sum |d|, which steps by 2 |d|
    for d in map(abs, votes.values()):
        step = np.zeros(2 * d + 1)
        step[0] += 0.5
        step[-1] += 0.5
        law = np.convolve(law, step)
    reached = sum(votes.values()) + sum(map(abs, votes.values()))
    interval = binomtest(right, n).proportion_ci(0.95, "exact")
    return Score(right, n, len(results), right / n, (float(interval.low), float(interval.high)),
                 float(law[reached:].sum()))


def _check_pair(real: Dataset, fake: Dataset) -> None:
    for role, data in (("real", real), ("fake", fake)):
        if data.kind != "images":
            raise ShapeError(f"the {role} data are not images", got=str(data), expected="(n, ny, nx)",
                             do="a quiz shows pictures; judge events with sundog.judge")
    if real.values.shape[1:] != fake.values.shape[1:]:
        raise ShapeError("real and fake differ in size", got=f"{tuple(real.values.shape[1:])} and "
                         f"{tuple(fake.values.shape[1:])}", expected="one size", do="cut or resize them alike")
    if real.units != fake.units and any(real.units) and any(fake.units):
        raise ShapeError("real and fake differ in units", got=f"{real.units} and {fake.units}", expected="one unit",
                         do="convert one of them: a difference in scale would give the fakes away")


def _rounds(n_real: int, n_fake: int, asked: int | None) -> int:
    """How many rounds are played; single images need as many of each kind too, as the coins may all fall alike."""
    most = min(n_real, n_fake)
    n = min(ROUNDS, most) if asked is None else asked
    if n < FEWEST:
        raise SampleSizeError("too few rounds for a test", got=n, expected=f"{FEWEST} or more",
                              do="with fewer even a perfect score says nothing; add images")
    if n > most:
        raise SampleSizeError("too few images for that many rounds", got=f"{n_real} real and {n_fake} fakes",
                              expected=f"{n} of each", do=f"ask for {most} rounds, or add images")
    return n


def _deal(real: Dataset, fake: Dataset, n: int, seed: str) -> tuple[list[int], list[int], list[int]]:
    """Rows of n real and n fake images, and the coin of each round; other data or another mode, other coins."""
    text = f"{seed} {real.fingerprint()} {fake.fingerprint()}"
    g = torch.Generator().manual_seed(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))
    truth = torch.randint(2, (n,), generator=g).tolist()
    a, b = (torch.randperm(count, generator=g)[:n].tolist() for count in (len(real), len(fake)))
    return a, b, truth


def _sheet(tiles: np.ndarray, colours: str) -> str:
    """All tiles in one PNG with the palette, as base64 text; nothing but pixels, so that no size tells anything."""
    n, ny, nx = tiles.shape
    sheet = np.zeros((-(-n // COLUMNS) * ny, COLUMNS * nx), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, COLUMNS)
        sheet[y * ny : (y + 1) * ny, x * nx : (x + 1) * nx] = tile[::-1]  # the first row of a map is its lowest
    palette = (colormaps[colours](np.arange(256))[:, :3] * 255).astype(np.uint8)
    lines = np.pad(sheet, ((0, 0), (1, 0)))  # every line starts with the number of its filter: none
    parts = [(b"IHDR", struct.pack(">IIBBBBB", sheet.shape[1], sheet.shape[0], 8, 3, 0, 0, 0)),
             (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts)
    return base64.b64encode(png).decode("ascii")


def _channel(data: Dataset, channel: int) -> Tensor:
    if data.values.ndim == 3:
        return data.values
    if not 0 <= channel < data.values.shape[1]:
        raise OptionError("no such channel", got=channel, expected=f"0 to {data.values.shape[1] - 1}", do="pass 0")
    return data.values[:, channel]


def _source(data: Dataset) -> dict[str, object]:
    return {"images": len(data), "fingerprint": data.fingerprint()}
