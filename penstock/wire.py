"""Messages between the processes of one machine: msgspec structs as one line of JSON, in ASCII.

Paths are bytes, so text may hold surrogate escapes, which neither msgspec's JSON nor its MessagePack can carry; the
standard library's JSON escapes them. What comes in is decoded strictly: a field of another type, or a tag that is not
known, is no message. Who reads bounds the size first (`MOST`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["MOST", "NoMessageError", "checked", "decode_message", "encode_message", "parse"]

MOST = 16 << 20
"""Bytes of one message that anybody reads."""


class NoMessageError(ValueError):
    """Bytes that are no message of the wanted type; whoever reads them says what that means."""


def encode_message(message: msgspec.Struct) -> bytes:
    """Return a message as a line."""
    return json.dumps(msgspec.to_builtins(message, enc_hook=_plain)).encode("ascii") + b"\n"


def parse(body: bytes | bytearray) -> Any:
    """Return what JSON says, as plain values. NoMessageError: it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoMessageError(str(error)) from error


def checked(value: object, type: Any) -> Any:  # noqa: A002  # as msgspec calls it
    """Return plain values as `type`: a struct, a union of tagged ones, a list. NoMessageError: they are none."""
    try:
        return msgspec.convert(value, type, dec_hook=_path)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise NoMessageError(str(error)) from error


def decode_message(body: bytes | bytearray, type: Any) -> Any:  # noqa: A002  # as msgspec calls it
    """Return the message in a line. NoMessageError: it is none of this type."""
    return checked(parse(body), type)


def _plain(value: object) -> object:
    """Return what msgspec does not know by itself."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is in no message")


def _path(type: Any, value: object) -> object:  # noqa: A002  # as msgspec calls it
    if issubclass(type, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is no {type.__name__}")
