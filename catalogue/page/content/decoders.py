"""What the decoding process makes of files that users sent, called in that process alone.

Decoders are large programs in C: whatever they do wrong is to happen where memory, time and files are bounded.

Each returns a head, which is JSON, and bytes. A ``note`` in the head says why there are none.
"""

from __future__ import annotations

import io
import json
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from penstock.catalogue.rows.asked_file import demuxing_options

from .table_rows import cell_text

if TYPE_CHECKING:
    from PIL import Image
    from pydicom import Dataset

__all__ = [
    "AROUND",
    "LAST_FRAME",
    "MOST_PIXELS",
    "PICTURE_SIZES",
    "dicom_tags",
    "dimensions",
    "picture",
    "table",
    "video_frames",
]

MOST_PIXELS = 64_000_000
"""Pixels that are decoded: of JPEG files, which can be decoded at an eighth, the image may have 64 times as many."""
PICTURE_SIZES = (320, 1600)
LAST_FRAME = 6000
"""Frames are counted from the first one on, for that is what their number means; behind this one nobody looks."""
AROUND = 2
"""Frames on each side that are sent along, to be compared with."""
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "ICO", "TGA")
"""No format whose decoder is another program (EPS), or reads other files."""
_FRAME_WIDTH = 320
_MOST_TAGS = 80

Decoded = tuple[dict[str, Any], bytes]


def picture(body: bytes, size: int, frame: int = 0) -> Decoded:
    """Return an image, or a frame of a DICOM file, upright and within a square of `size` pixels."""
    if body[128:132] == b"DICM":
        return _dicom_picture(body, size, frame)
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # what is too large is said below, for each format as it is
    with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
        width, height = image.size
        head: dict[str, Any] = {"width": width, "height": height}
        image.draft("RGB", (size, size))  # of JPEG files alone, which can be decoded at an eighth
        if image.size[0] * image.size[1] > MOST_PIXELS:
            return {**head, "note": _too_large(width, height)}, b""
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
        return head, _webp(small.convert("RGBA" if has_alpha else "RGB"))


def _too_large(width: int, height: int) -> str:
    return f"too large to be shown small: {width * height / 1e6:,.0f} megapixels"


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=82, method=1)
    return out.getvalue()


def dimensions(body: bytes) -> Decoded:
    """Return the width and height that the first bytes of an image tell, as it lies there."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # nothing is decoded
    with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
        return {"width": image.size[0], "height": image.size[1]}, b""


def _dicom_picture(body: bytes, size: int, frame: int) -> Decoded:
    from PIL import Image
    from pydicom import dcmread

    found = dcmread(io.BytesIO(body))
    width, height = int(found.get("Columns") or 0), int(found.get("Rows") or 0)
    frames = int(found.get("NumberOfFrames") or 1)
    head: dict[str, Any] = {"width": width, "height": height, "frames": frames}
    if not width or not height or not 0 <= frame < frames:
        return {**head, "note": "it holds no such picture"}, b""
    if width * height > MOST_PIXELS:
        return {**head, "note": _too_large(width, height)}, b""
    image = Image.fromarray(_pixels(found, frame))
    image.thumbnail((size, size), reducing_gap=2.0)
    return head, _webp(image.convert("RGB"))


def _pixels(found: Dataset, frame: int) -> Any:
    """Return a frame as bytes of grey or colour: by its window, or from its darkest to its lightest."""
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    values: Any = pixel_array(found, index=frame)
    kind = str(found.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, found)
    if values.ndim == 3:
        return (values >> (8 * (values.itemsize - 1))).astype("uint8")
    values = apply_voi_lut(apply_modality_lut(values, found), found).astype("float32")
    low, high = (float(each) for each in np.percentile(values, (0.5, 99.5)))
    if "WindowWidth" in found or "VOILUTSequence" in found:
        low, high = float(values.min()), float(values.max())
    shown = np.clip((values - low) / ((high - low) or 1), 0, 1)
    return ((1 - shown if kind == "MONOCHROME1" else shown) * 255).astype("uint8")


def dicom_tags(body: bytes) -> Decoded:
    """Return the elements at the top of a DICOM file as pairs of name and text, without those that are bytes."""
    from pydicom import dcmread

    found = dcmread(io.BytesIO(body), stop_before_pixels=True)
    tags = [
        (str(each.name)[:80], str(each.value)[:300])
        for each in found
        if each.VR not in ("OB", "OW", "OD", "OF", "OL", "OV", "UN", "SQ") and str(each.value)
    ]
    return {"frames": int(found.get("NumberOfFrames") or 1), "tags": tags[:_MOST_TAGS]}, b""


def table(body: bytes, rows: int) -> Decoded:
    """Return the first rows of a Parquet file as JSON objects."""
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]  # an extra

    file = parquet.ParquetFile(io.BytesIO(body))
    groups = file.iter_batches(batch_size=rows, columns=file.schema_arrow.names[:60], use_threads=False)
    first = next(groups, None)
    records = [
        {name: cell_text(value) for name, value in record.items()}  # a value may be as long as memory is large
        for record in (first.to_pylist() if first is not None else ())
    ]
    said = {"rows": file.metadata.num_rows, "columns": len(file.schema_arrow.names)}
    return said, json.dumps(records, default=str).encode()


def video_frames(stream: BinaryIO, number: int) -> Decoded:
    """Return frame `number`, counted by decoding all before it, and those around it, one below the other.

    The head says the number of the `first` of them, how many there are, the rate, and how many frames were `counted`
    where the video ended before.
    """
    import av
    from PIL import Image

    with av.open(stream, "r", options=demuxing_options()) as container:
        streams = container.streams.video
        if not streams:
            return {"note": "it has no pictures"}, b""
        video = streams[0]
        video.thread_type = "AUTO"
        rate = video.average_rate or video.base_rate
        head: dict[str, Any] = {"fps": float(rate) if rate else 0.0, "frames": int(video.frames)}
        kept: deque[tuple[int, Any]] = deque(maxlen=2 * AROUND + 1)
        counted = 0
        for frame in container.decode(video):
            kept.append((counted, frame))
            counted += 1
            if counted > number + AROUND or counted > LAST_FRAME + AROUND:
                break
        if counted <= number:
            return {**head, "counted": counted, "note": f"the video ends after {counted:,} frames"}, b""
        # What fell out of the queue in front is not asked for; what lies too far behind is not in it.
        near = [(place, frame) for place, frame in kept if abs(place - number) <= AROUND]
        images = []
        for _, frame in near:
            image: Image.Image = frame.to_image()
            image.thumbnail((_FRAME_WIDTH, _FRAME_WIDTH))
            images.append(image.rotate(frame.rotation, expand=True) if frame.rotation else image)
    width, height = images[0].size
    strip = Image.new("RGB", (width, height * len(images)))
    for row, image in enumerate(images):
        strip.paste(image.resize((width, height)), (0, row * height))
    return {**head, "first": near[0][0], "count": len(images), "width": width, "height": height}, _webp(strip)
