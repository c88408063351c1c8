"""Small images and videos for tests, made here."""

from __future__ import annotations

import fractions
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

__all__ = ["frames_of", "image", "video"]


def image(path: Path, size: tuple[int, int] = (64, 48), **options: Any) -> Path:
    """Write an image."""
    Image.new("RGB", size, "red").save(path, **options)
    return path


def video(
    path: Path,
    frames: int = 25,
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    times: Sequence[int] | None = None,
) -> Path:
    """Write a video whose frame n has the grey 8n; `times` are in milliseconds, by default 25 a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for number in range(frames):
            grey = np.full((size[1], size[0], 3), 8 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts = times[number] if times is not None else number * 40
            frame.time_base = fractions.Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def frames_of(path: Path) -> list[tuple[int, int, int, int]]:
    """Return width, height, grey and time in units of the stream, of each frame."""
    with av.open(str(path)) as container:
        shown = []
        for frame in container.decode(video=0):
            grey = round(float(frame.to_ndarray(format="gray").mean()))
            shown.append((frame.width, frame.height, grey, frame.pts))
        return shown
