"""Small pictures of images, kept on this disk by what the images hold.

A picture is made once for a content, whatever it is called and in how many versions. That none can be made is kept as
well, unless it took too long: then a quicker moment may come. What was not used longest goes when the folder is full.
Any thread, and several processes on one folder: files are written aside and renamed.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from penstock.api.packages.entry import Entry
from penstock.errors import AccessError

from .decoders import PICTURE_SIZES
from .decoding_pool import MOST_SENT, DecodingPool
from .decoding_process import read_frame, write_frame

__all__ = ["Picture", "Pictures"]

_FORM = 2
"""Counted up when pictures are made in another way."""
_MOST_BYTES = 1 << 30
_LOOK_AFTER = 2000
_SMALL = 2 << 20
"""Bytes of an image that is fetched while others are decoded."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture (WebP), empty where there is none, and `note` says why. Pixels are of the image, upright."""

    body: bytes
    width: int
    height: int
    note: str = ""
    frames: int = 1


class Pictures:
    """The pictures of a server, in a folder of its own."""

    def __init__(self, folder: str, pool: DecodingPool) -> None:
        self._folder = folder
        self._pool = pool
        self._written = count(1)
        self._trimming = threading.Lock()

    def of(self, entry: Entry, size: int, frame: int = 0) -> Picture:
        """Return the picture of an image that fits a square of `size` pixels, one of `PICTURE_SIZES`.

        `frame` is which one of a DICOM file that has several.
        """
        assert size in PICTURE_SIZES
        name = hashlib.sha256(f"{_FORM} {size} {frame} {entry.hash}".encode()).hexdigest()
        path = os.path.join(self._folder, name[:2], name[2:])
        kept = self._kept(path)
        if kept is not None:
            return kept
        if entry.size > MOST_SENT:
            return Picture(b"", 0, 0, "the file is too large to be shown small")
        source = entry.read() if entry.size <= _SMALL else entry.read
        head, body = self._pool.ask({"task": "picture", "size": size, "frame": frame}, source)
        made = _picture(head, body)
        if not head.get("is_late"):
            self._keep(path, made)
        return made

    def _kept(self, path: str) -> Picture | None:
        try:
            with open(path, "rb") as file:
                found = read_frame(file)
            os.utime(path)
        except (OSError, ValueError):  # not there, or not whole: it is made anew
            return None
        if found is None:
            return None
        return _picture(*found)

    def _keep(self, path: str, made: Picture) -> None:
        frame = io.BytesIO()
        head = {"width": made.width, "height": made.height, "note": made.note, "frames": made.frames}
        write_frame(frame, head, made.body)
        aside = f"{path}.{os.getpid()}.{threading.get_ident()}"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(aside, "wb") as file:
                file.write(frame.getvalue())
            os.replace(aside, path)
        except OSError:  # a disk that is full makes it slower, no more
            with suppress(OSError):
                os.unlink(aside)
        if next(self._written) % _LOOK_AFTER == 0:
            self.trim()

    def trim(self, most: int = _MOST_BYTES) -> int:
        """Remove what was not used longest until `most` bytes are left; return how many files went."""
        if not self._trimming.acquire(blocking=False):
            return 0
        try:
            files: list[tuple[float, int, str]] = []
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    path = os.path.join(folder, name)
                    with suppress(FileNotFoundError):
                        facts = os.lstat(path)
                        files.append((facts.st_mtime, facts.st_size, path))
            files.sort(reverse=True)
            total = gone = 0
            for _, length, path in files:
                total += length
                if total > most:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                        gone += 1
            return gone
        except OSError as error:
            raise AccessError(f"{self._folder} cannot be tidied", why=str(error), fix="Check its disk.") from error
        finally:
            self._trimming.release()


def _picture(head: dict[str, Any], body: bytes) -> Picture:
    return Picture(
        body,
        int(head.get("width", 0)),
        int(head.get("height", 0)),
        str(head.get("note", "")),
        int(head.get("frames", 1)),
    )
