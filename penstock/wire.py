"""Messages between the processes of one machine: msgspec structs as one line of JSON, in ASCII.

Paths are bytes, so text may hold surrogate escapes, which neither msgspec's JSON nor its MessagePack can carry; the
standard library's JSON escapes them. What comes in is decoded strictly: a field of another type, or a tag that is not
known, is no message. Who reads bounds the size first (`MOST`).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["MOST", "NoMessageError", "decode_message", "encode_message"]

MOST = 16 << 20
"""Bytes of one message that anybody reads."""


class NoMessageError(ValueError):
    """Bytes that are no message of the wanted type; whoever reads them says what that means."""


def encode_message(message: msgspec.Struct) -> bytes:
    """Return a message as a line."""
    return json.dumps(msgspec.to_builtins(message)).encode("ascii") + b"\n"


def decode_message(body: bytes | bytearray, type: Any) -> Any:  # noqa: A002  # as msgspec calls it
    """Return the message in a line; `type` is a struct, or a union of tagged ones. NoMessageError: it is none."""
    try:
        return msgspec.convert(json.loads(body), type)
    except (ValueError, RecursionError) as error:  # msgspec's own errors and those of JSON are ValueErrors
        raise NoMessageError(str(error)) from error
