"""Mutations: from something valid, something that is nearly so. All by one random source: a seed gives the same again.

Two shapes. Bytes are flipped, cut, doubled, spliced and peppered with words that mean something in many formats. Values
(what JSON and MessagePack hold) are bent in their structure, and encoded again, so that what is behind a parser or a
checksum is reached too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

__all__ = ["mutate_bytes", "mutate_value"]

_EDGES = (0, 1, -1, 2, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31)
_LARGE = ((1 << 32) - 1, 1 << 32, 1 << 48, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63))
_WORDS = (
    *(b"", b"\0", b"/", b"..", b"../../etc/passwd", b".", b"\n", b"\r\n", b"\x1b[31m", b"\xff\xfe", b"\xed\xa0\x80"),
    *(b"%00", b"%2e%2e/", b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"0x10", b"{}", b"[]", b'"', b"'"),
    *(b"[" * 200, b"{" * 200, b"*a" * 20, b"**/a/" * 12, b"[a-", b"!", b"\\", b"#", b"x" * 300, b"\xf0\x9f\x92\xa9"),
    *(b"s3://", b"file:///", b"http://", b"penstock", b".penstock/", b"<", b">", b"&lt;", b"<!ENTITY a 'b'>", b"]]>"),
    *(b"9" * 30, b"-9223372036854775809", b"18446744073709551616", "ünïcode".encode(), b"\x00\x00\x00\x00", b"=", b":"),
)


def mutate_bytes(rng: random.Random, samples: Sequence[bytes], most: int = 1 << 20) -> bytes:
    """Return one of the samples with a few things wrong with it, at most `most` bytes."""
    body = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        _mangle(rng, body, samples)
    return bytes(body[:most])


def _mangle(rng: random.Random, body: bytearray, samples: Sequence[bytes]) -> None:
    at = rng.randrange(len(body) + 1)
    end = min(len(body), at + rng.choice((1, 1, 2, 4, 8, 32, 256)))
    match rng.randrange(10):
        case 0 | 1 if body:
            body[at % len(body)] ^= 1 << rng.randrange(8)
        case 2 if body:
            body[at % len(body)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        case 3:
            del body[at:end]
        case 4:
            del body[at:]
        case 5:
            body[at:at] = body[at:end] * rng.choice((1, 1, 2, 50))
        case 6:
            body[at:at] = rng.choice(_WORDS)
        case 7:
            body[at:end] = rng.choice(_WORDS)
        case 8:
            other = rng.choice(samples)
            body[at:] = other[rng.randrange(len(other) + 1) :]
        case _:
            number = rng.choice(_EDGES + _LARGE)
            body[at:end] = rng.choice(
                (b"%d" % number, (number & (1 << 64) - 1).to_bytes(8, rng.choice(("little", "big"))))
            )


def mutate_value(rng: random.Random, value: Any) -> Any:
    """Return the value with a few things wrong with it; what it holds is copied, not changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _bend(rng, value, depth=0)
    return value


def _bend(rng: random.Random, value: Any, depth: int) -> Any:
    deeper = isinstance(value, list | dict) and value and rng.random() < 0.85
    if not deeper:
        return _replaced(rng, value)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {**value, _text(rng): _junk(rng, depth)}
        return {**value, key: _bend(rng, value[key], depth + 1)}
    at = rng.randrange(len(value))
    match rng.randrange(12):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return [*value, *value]
        case 2:
            return [*value[:at], value[at], *value[at:]]
        case 3:
            return [*value[:at], value[-1], *value[at + 1 : -1], value[at]]
        case 4:
            return [*value, _junk(rng, depth)]
    return [*value[:at], _bend(rng, value[at], depth + 1), *value[at + 1 :]]


def _replaced(rng: random.Random, value: Any) -> Any:
    """Return something in place of a value: most often of the same kind."""
    if rng.random() < 0.2:
        return _junk(rng, 0)
    if isinstance(value, bool) or value is None:
        return rng.choice((True, False, None))
    if isinstance(value, int):
        return rng.choice((value + rng.choice((1, -1)), -value, *_EDGES, *_LARGE))
    if isinstance(value, float):
        return rng.choice((-value, 0.0, 1e308, -1e308, 1e-308, value * 1e6))
    if isinstance(value, bytes):
        return mutate_bytes(rng, [value])
    if isinstance(value, str):
        return mutate_bytes(rng, [value.encode("utf-8", "surrogatepass")]).decode("utf-8", "replace")
    return _junk(rng, 0)


def _text(rng: random.Random) -> str:
    return rng.choice(_WORDS).decode("utf-8", "replace")


def _junk(rng: random.Random, depth: int) -> Any:
    match rng.randrange(9 if depth < 3 else 6):
        case 0:
            return rng.choice(_EDGES + _LARGE[:7])
        case 1:
            return rng.choice(_WORDS)
        case 2:
            return _text(rng)
        case 3:
            return rng.choice((True, False, None))
        case 4:
            return rng.choice((0.5, -1.0, 1e308))
        case 5:
            return rng.randbytes(rng.choice((0, 1, 31, 32, 33)))
        case 6:
            return {_text(rng): _junk(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [_junk(rng, depth + 1) for _ in range(rng.randrange(4))]
