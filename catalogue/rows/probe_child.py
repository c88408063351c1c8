"""The process that looks into files that come from outside: ``python -m penstock.catalogue.rows.probe_child BYTES``.

Decoders are large programs in C, and files come from anybody. So this process has bounds on memory, time and files,
and asks the one that started it for bytes by offset and length; it has nothing else of the file. What kills it kills
nothing else. It answers one question after another on standard output, and ends with standard input.
"""

from __future__ import annotations

import io
import sys
from typing import Any, BinaryIO

from penstock.catalogue.rows.asked_file import AskedFile, asker, bound_process, demuxing_options
from penstock.catalogue.rows.probe_messages import Facts, Probe, Unknown, read_message, write_message

__all__ = ["main"]

_CPU_SECONDS = 600


def main() -> None:
    """Answer questions until there are no more."""
    bound_process(int(sys.argv[1]), _CPU_SECONDS, 0)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    fetch = asker(source, target)
    while (question := read_message(source, Probe)) is not None:
        stream = io.BufferedReader(AskedFile(question.size, fetch), 1 << 16)
        write_message(target, _answer(question, stream))


def _answer(question: Probe, stream: BinaryIO) -> Facts | Unknown:
    reasons = []
    for probe in (_image, _dicom, _video):
        stream.seek(0)
        try:
            found = probe(stream, question.exact)
        except (MemoryError, RecursionError) as error:
            return Unknown(f"it needs too much: {type(error).__name__}")
        except Exception as error:  # noqa: BLE001  # decoders raise what they like
            reasons.append(f"{type(error).__name__}: {error}"[:200])
            continue
        if found is not None:
            return found
    return Unknown("; ".join(reasons) or "it is no image, video or DICOM file that is known")


def _image(stream: BinaryIO, _: bool) -> Facts | None:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # only headers are read here: a large image is no bomb until it is decoded
    try:
        with Image.open(stream) as image:
            width, height = image.size
            tags = getattr(image, "tag_v2", None)
            if tags is not None:  # some releases have turned the size of a TIFF already
                width, height = int(tags[256]), int(tags[257])
            if _orientation(image) in (5, 6, 7, 8):
                width, height = height, width
            return Facts("image", width, height, codec=(image.format or "").lower())
    except UnidentifiedImageError:
        return None


def _orientation(image: Any) -> int:
    """Return EXIF's orientation without decoding the image, which `getexif` would do for PNG."""
    from PIL import Image

    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        return int(tags.get(274, 1))
    if "exif" not in image.info:
        return 1
    exif = Image.Exif()
    exif.load(image.info["exif"])
    return int(exif.get(274, 1))


def _dicom(stream: BinaryIO, _: bool) -> Facts | None:
    stream.seek(128)
    if stream.read(4) != b"DICM":
        return None
    stream.seek(0)
    from pydicom import dcmread
    from pydicom.filebase import DicomFileLike

    found = dcmread(DicomFileLike(stream), stop_before_pixels=True)  # of a buffered reader it wants to know the name
    return Facts(
        "dicom",
        int(found.get("Columns", 0)) or None,
        int(found.get("Rows", 0)) or None,
        frames=int(found.get("NumberOfFrames", 1) or 1),
        codec=str(found.file_meta.get("TransferSyntaxUID", "")),
        series=str(found.get("SeriesInstanceUID", "")),
    )


def _video(stream: BinaryIO, exact: bool) -> Facts | None:
    import av

    with av.open(stream, "r", options=demuxing_options()) as container:
        streams = container.streams.video
        if not streams:
            return None
        video = streams[0]
        rate = video.average_rate or video.base_rate
        duration = float(video.duration * video.time_base) if video.duration and video.time_base else None
        if duration is None and container.duration:
            duration = container.duration / 1_000_000
        frames = int(video.frames) or None
        if frames is None and duration and rate:
            frames = round(duration * float(rate))
        width, height, counted = int(video.width), int(video.height), 0
        if not width or not height:
            return None
        for frame in container.decode(video):
            if counted == 0 and int(frame.rotation) % 180:
                width, height = height, width
            counted += 1
            if not exact:
                break
        return Facts(
            "video",
            width,
            height,
            duration,
            float(rate) if rate else None,
            counted if exact else frames,
            exact,
            str(video.codec_context.name),
        )


if __name__ == "__main__":
    main()
