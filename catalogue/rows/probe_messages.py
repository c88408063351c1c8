"""What the process that looks into files is asked, what it asks, and what it answers: length, then msgpack."""

from __future__ import annotations

from typing import IO, Any

import msgspec

__all__ = ["Facts", "Probe", "Reply", "Unknown", "WantedBytes", "read_message", "write_message"]

_MOST = 64 << 20


class Probe(msgspec.Struct, frozen=True):
    """What is this file of `size` bytes? `exact`: its frames are to be decoded and counted."""

    size: int
    exact: bool = False


class WantedBytes(msgspec.Struct, frozen=True, tag="wanted"):
    """Bytes of the file that are needed to say."""

    offset: int
    length: int


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    """What it is. `is_counted`: `frames` were decoded. `series`: what a DICOM file belongs to."""

    kind: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    is_counted: bool = False
    codec: str | None = None
    series: str = ""


class Unknown(msgspec.Struct, frozen=True, tag="failed"):
    """It is nothing that is known, and why."""

    why: str


Reply = WantedBytes | Facts | Unknown


def write_message(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def read_message(stream: IO[bytes], kind: Any) -> Any:
    """Read one message; None: the other end is gone. msgspec.DecodeError: it is none."""
    head = _exactly(stream, 4)
    if head is None or int.from_bytes(head, "big") > _MOST:
        return None
    body = _exactly(stream, int.from_bytes(head, "big"))
    return msgspec.msgpack.decode(body, type=kind) if body is not None else None


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
