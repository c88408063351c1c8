"""What the process that re-encodes videos is asked, and what it tells, beside what it asks of the file."""

from __future__ import annotations

import msgspec

from penstock.catalogue.rows.probe_messages import Unknown, WantedBytes

__all__ = ["Encode", "EncodeReply", "Encoded", "Frames"]


class Encode(msgspec.Struct, frozen=True):
    """Encode the video in this file of `size` bytes, into the open file with this number."""

    size: int
    target: int


class Frames(msgspec.Struct, frozen=True, tag="frames"):
    """So many frames are encoded by now."""

    count: int


class Encoded(msgspec.Struct, frozen=True, tag="encoded"):
    """It is done. `lost`: parts of the source that could not be decoded."""

    frames: int
    width: int
    height: int
    rate: float
    lost: int = 0


EncodeReply = WantedBytes | Frames | Encoded | Unknown
