"""The process that decodes what users sent: small pictures of images, the first rows of Parquet files.

It is started by `decoding_pool` and may be ended at any moment. Its memory, its time and what it may write are bounded
before it reads a byte; it has no file, no key and no connection. What it is asked and answers are frames on its
standard input and output: the length of a JSON head (4 bytes, big-endian), the head, and as many bytes as that says.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from typing import Any, BinaryIO, cast

__all__ = ["MOST_PIXELS", "PICTURE_SIZES", "read_frame", "write_frame"]

MOST_PIXELS = 64_000_000
"""Pixels that are decoded: of JPEG files, which can be decoded at an eighth, the image may have 64 times as many."""
PICTURE_SIZES = (320, 1600)
_MEMORY = 2 << 30
_CPU_SECONDS = 120
_MOST_HEAD = 1 << 20
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "ICO", "TGA")
"""No format whose decoder is another program (EPS), or reads other files."""


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Return a head and the bytes behind it; None: the stream has ended."""
    start = stream.read(4)
    if len(start) < 4:
        return None
    length = int.from_bytes(start, "big")
    if length > _MOST_HEAD:
        raise ValueError("the head of a frame is too large")
    raw = stream.read(length)
    head = json.loads(raw)
    if len(raw) < length or not isinstance(head, dict) or not isinstance(head.get("length"), int):
        raise ValueError("this is no frame")
    body = stream.read(head["length"])
    if len(body) < head["length"]:
        raise ValueError("a frame was cut short")
    return head, body


def write_frame(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    """Write a head, with the length of what is behind it, and that."""
    raw = json.dumps({**head, "length": len(body)}).encode()
    stream.write(len(raw).to_bytes(4, "big") + raw)
    stream.write(body)
    stream.flush()


def _picture(body: bytes, size: int) -> tuple[dict[str, Any], bytes]:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # what is too large is said below, for each format as it is
    with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
        width, height = image.size
        head: dict[str, Any] = {"width": width, "height": height}
        image.draft("RGB", (size, size))  # of JPEG files alone, which can be decoded at an eighth
        if image.size[0] * image.size[1] > MOST_PIXELS:
            return {**head, "note": f"too large to be shown small: {width * height / 1e6:,.0f} megapixels"}, b""
        # Not earlier: to look for it, a PNG file is decoded whole.
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            head = {"width": height, "height": width}
        image.thumbnail((size, size), reducing_gap=2.0)
        small: Image.Image = ImageOps.exif_transpose(image)
        has_alpha = "A" in small.getbands() or "transparency" in small.info
        if small.mode.startswith(("I", "F")):
            low, high = cast("tuple[float, float]", small.getextrema())  # of one band
            scale = 255 / ((high - low) or 1)
            small = small.convert("F").point(lambda value: value * scale - low * scale).convert("L")
        small = small.convert("RGBA" if has_alpha else "RGB")
        out = io.BytesIO()
        small.save(out, "WEBP", quality=82, method=1)
        return head, out.getvalue()


def _table(body: bytes, rows: int) -> tuple[dict[str, Any], bytes]:
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]  # an extra

    file = parquet.ParquetFile(io.BytesIO(body))
    groups = file.iter_batches(batch_size=rows, columns=file.schema_arrow.names[:60], use_threads=False)
    first = next(groups, None)
    records = first.to_pylist() if first is not None else []
    said = {"rows": file.metadata.num_rows, "columns": len(file.schema_arrow.names)}
    return said, json.dumps(records, default=str).encode()


def _answer(head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        if head["task"] == "picture":
            return _picture(body, int(head["size"]))
        return _table(body, int(head["rows"]))
    except MemoryError:
        return {"note": "it takes more memory to decode than is allowed"}, b""
    except Exception as error:  # noqa: BLE001  # a decoder raises anything over what is hostile, and is told apart by nobody
        return {"note": f"it cannot be decoded: {type(error).__name__}: {str(error)[:200]}"}, b""


def main() -> None:
    """Bound what may be used, and answer until the other end is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    os.nice(5)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    while (asked := read_frame(requests)) is not None:
        write_frame(answers, *_answer(*asked))


if __name__ == "__main__":
    main()
