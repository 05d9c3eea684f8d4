"""Pictures: .png, .jpg, .tif, .bmp and .gif as maps of one or three channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sundog.data.formats.raw import Raw, guard, unreadable


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The picture as (ny, nx), or (1, 3, ny, nx) with channels R, G, B; pages of a TIFF as (n, ny, nx).

    Palettes become colours, transparency is left out, and a camera's orientation is undone. Numbers stay as they are
    stored: 0 to 255 where there are eight bits.

    Raises
    ------
    FileError : damaged, or no picture.
    """
    from PIL import Image, ImageOps, ImageSequence

    try:
        with Image.open(path) as image:
            guard(path, image.width * image.height * getattr(image, "n_frames", 1) * 4)
            mode, notes = image.mode, []
            if mode in ("P", "CMYK", "YCbCr", "HSV", "LAB", "PA"):
                notes.append("the palette was turned into colours" if mode in ("P", "PA") else f"{mode} became RGB")
            pages = [np.asarray(_plain(ImageOps.exif_transpose(frame) or frame))
                     for frame in ImageSequence.Iterator(image)]
    except (OSError, ValueError, SyntaxError, TypeError, EOFError, Image.DecompressionBombError) as error:
        raise unreadable(path, f"a truncated or damaged picture ({error})") from error
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        notes.append("left out the transparency")
    stack = np.stack(pages) if len({page.shape for page in pages}) == 1 else pages[0][None]
    if stack.dtype == np.uint8:
        notes.append("numbers from 0 to 255, as stored")
    if stack.ndim == 4:
        return Raw(np.moveaxis(stack, -1, 1), facts={"names": ("R", "G", "B")}, image=True).noted(*notes)
    return Raw(stack if len(stack) > 1 else stack[0], image=True).noted(*notes)


def _plain(frame: object) -> object:
    """The frame with one or three channels."""
    from PIL import Image

    assert isinstance(frame, Image.Image)
    if frame.mode in ("LA", "La"):
        return frame.convert("L")
    return frame if frame.mode in ("1", "L", "I", "F", "RGB") or frame.mode.startswith("I;") else frame.convert("RGB")
