"""Small images and videos for tests, made here."""

from __future__ import annotations

import fractions
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

__all__ = ["film", "frames_of", "image", "samples_of", "video"]


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


def film(path: Path, sound: str, *, frames: int = 25, start: int = 0) -> Path:
    """Write a video with sound of a codec, loud in its second half; it begins `start` ms before the pictures."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        pictures.codec_context.time_base = fractions.Fraction(1, 1000)
        voice: Any = container.add_stream(sound, rate=rate, layout="stereo")
        early = rate * start // 1000
        total = early + frames * rate // 25
        wave = np.zeros((1, 2 * total), np.int16)
        wave[0, total:] = (9000 * np.sin(np.arange(total) / 20)).astype(np.int16)
        part = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
        part.sample_rate, part.pts, part.time_base = rate, 0, fractions.Fraction(1, rate)
        packets = [*voice.encode(part), *voice.encode(None)]
        for number in range(frames):
            grey = np.full((48, 64, 3), 8 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = start + number * 40, fractions.Fraction(1, 1000)
            packets += pictures.encode(frame)
        for packet in [*packets, *pictures.encode(None)]:
            container.mux(packet)
    return path


def samples_of(path: Path) -> tuple[str, float, float]:
    """Return the codec of a file's sound, how long it lasts, and when it becomes loud, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        parts = [
            frame.to_ndarray()[0].astype(float) for frame in container.decode(stream)
        ]  # one channel, or all in turn
        whole = np.abs(np.concatenate(parts))
        if not stream.format.is_planar:
            whole = whole[:: stream.channels]
        loud = int(np.argmax(whole > whole.max() / 4))
        return stream.codec_context.name, len(whole) / stream.rate, loud / stream.rate
