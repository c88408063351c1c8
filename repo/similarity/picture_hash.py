"""What a picture shows, in 64 bits: the perceptual hash of its brightness, as pHash makes it. Called in a child alone.

The picture is made 32 pixels wide and high; of its cosine transform the lowest 8 by 8 frequencies say by a bit each
whether they are above their median. Pictures that look alike differ in few bits, whatever their size, format and
compression. One without detail (a colour, a line) has no such hash: all of those would be alike.

Needs Pillow and numpy: ``penstock[similarity]``.
"""

from __future__ import annotations

import io
from typing import Any, cast

__all__ = ["MOST_PIXELS", "TooLargeError", "difference", "hash_of", "small_picture"]

MOST_PIXELS = 64_000_000
"""Pixels that are decoded: of JPEG files, which can be decoded at an eighth, the picture may have 64 times as many."""
_SIDE, _KEPT = 32, 8
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "ICO", "TGA")
"""No format whose decoder is another program (EPS), or reads other files."""
_FLAT = 3.0
"""Standard deviation of brightness, of 255, below which a picture has no detail."""
_WIDTH = 240


class TooLargeError(ValueError):
    """A picture has more pixels than are decoded."""


def _opened(body: bytes, size: int) -> tuple[Any, tuple[int, int], str]:
    """Return a picture upright, within a square of `size` pixels, its own size, and its mode as it was."""
    from PIL import Image, ImageOps  # pyright: ignore[reportMissingImports]  # an extra

    Image.MAX_IMAGE_PIXELS = None  # what is too large is said here, for each format as it is
    with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
        pixels, mode = image.size, image.mode
        image.draft("RGB", (size, size))  # of JPEG files alone
        if image.size[0] * image.size[1] > MOST_PIXELS:
            raise TooLargeError(f"{pixels[0] * pixels[1] / 1e6:,.0f} megapixels are too many to decode")
        if image.mode.startswith(("I", "F")):
            low, high = cast("tuple[float, float]", image.getextrema())  # of one band
            scale = 255 / ((high - low) or 1)
            image = image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
        elif image.mode in ("P", "PA", "LA", "1", "CMYK", "YCbCr", "LAB", "HSV"):
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            image = image.convert("RGBA" if has_alpha else "RGB")
        image.thumbnail((size, size), reducing_gap=2.0)
        return ImageOps.exif_transpose(image), pixels, mode


def _on(image: Any, colour: int) -> Any:
    """Return a picture without transparency: what is behind it has this brightness."""
    from PIL import Image  # pyright: ignore[reportMissingImports]

    if "A" not in image.getbands():
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, (colour, colour, colour, 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def hash_of(body: bytes) -> int | None:
    """Return the hash of a picture; None: it has no detail. TooLargeError, and whatever a decoder raises."""
    import numpy as np  # pyright: ignore[reportMissingImports]
    from PIL import Image  # pyright: ignore[reportMissingImports]

    image, _, _ = _opened(body, 4 * _SIDE)
    values = np.zeros((_SIDE, _SIDE))
    for colour in (255, 0):  # white on nothing shows on black alone
        grey = _on(image, colour).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        values = np.asarray(grey, dtype=np.float64)
        if values.std() >= _FLAT:
            break
    else:
        return None
    at = np.arange(_SIDE)
    waves = np.cos(np.pi * (2 * at[None, :] + 1) * at[:_KEPT, None] / (2 * _SIDE))
    low = (waves @ values @ waves.T).ravel()
    bits = low > np.median(low[1:])  # the first is the mean, which says nothing of what is shown
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def small_picture(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return a picture as a small PNG, and its width, height and mode."""
    image, (width, height), mode = _opened(body, _WIDTH)
    return _png(image), {"width": width, "height": height, "mode": mode}


def difference(before: bytes, after: bytes) -> tuple[bytes, float]:
    """Return what differs between two pictures as a small PNG (black: nothing does), and the share of such pixels.

    Both are made as large as the second one is small; what is transparent is taken as white.
    """
    import numpy as np  # pyright: ignore[reportMissingImports]
    from PIL import Image, ImageChops  # pyright: ignore[reportMissingImports]

    new = _on(_opened(after, _WIDTH)[0], 255)
    old = _on(_opened(before, _WIDTH)[0], 255).resize(new.size, Image.Resampling.BOX)
    changed = ImageChops.difference(old, new)
    strongest = np.asarray(changed).max(axis=2)
    share = float((strongest > 8).mean())
    return _png(changed.point([min(255, value * 3) for value in range(256)] * 3)), share


def _png(image: Any) -> bytes:
    out = io.BytesIO()
    image.convert("RGBA" if "A" in image.getbands() else "RGB").save(out, "PNG")
    return out.getvalue()
