"""What the process that decodes pictures is asked, and what it answers: a length, then msgpack."""

from __future__ import annotations

from typing import IO, Any

import msgspec

__all__ = ["MOST_SENT", "CompareTask", "DecodedPicture", "HashTask", "NotMade", "ShowTask", "Task", "receive", "send"]

MOST_SENT = 64 << 20
"""Bytes of a file that is decoded."""
_MOST = 2 * MOST_SENT + (1 << 20)


class HashTask(msgspec.Struct, frozen=True, tag="hash"):
    """The perceptual hash of a picture is wanted."""

    body: bytes


class ShowTask(msgspec.Struct, frozen=True, tag="show"):
    """A small picture is wanted."""

    body: bytes


class CompareTask(msgspec.Struct, frozen=True, tag="compare"):
    """A small picture of what differs is wanted."""

    before: bytes
    after: bytes


Task = HashTask | ShowTask | CompareTask


class DecodedPicture(msgspec.Struct, frozen=True, tag="made"):
    """The answer: a hash (None: there is no detail), or a small picture with what is known of it."""

    hash: int | None = None
    picture: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    share: float = 0.0


class NotMade(msgspec.Struct, frozen=True, tag="not"):
    """Why there is no answer. `is_final`: it would be the same the next time."""

    why: str
    is_final: bool = True


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def receive(stream: IO[bytes], kind: Any) -> Any:
    """Read one message; None: the other end is gone. msgspec.DecodeError: it is none."""
    head = stream.read(4)
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > _MOST:
        return None
    body = stream.read(length)
    return msgspec.msgpack.decode(body, type=kind) if len(body) == length else None
