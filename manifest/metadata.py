"""Metadata of entries and of datasets: JSON objects, as bytes that are equal when the values are.

Bounded in size, depth and the range of integers, so that whoever reads it gets back what was written.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from penstock.errors import IntegrityError, UsageError

from .entry import MAX_METADATA

__all__ = ["MAX_METADATA_DEPTH", "canonical_json", "parse_metadata"]

MAX_METADATA_DEPTH = 64
"""Objects and arrays within each other, the outermost counted."""
_LEAST = -(1 << 63)
_MOST = (1 << 64) - 1
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
"""Made once: `json.dumps` makes an encoder for every call that has options of its own."""
_decoder = msgspec.json.Decoder(dict[str, Any])


def canonical_json(value: Any) -> bytes:
    """Encode metadata so that equal values give equal bytes: sorted keys, no white space, UTF-8, no NaN.

    Empty metadata (None or {}) is the empty string of bytes. UsageError: not JSON, NaN or infinite, keys that are
    not text, integers of more than 64 bits, nested deeper than MAX_METADATA_DEPTH, larger than MAX_METADATA.
    """
    if value is None or value == {}:
        return b""
    if not isinstance(value, dict):
        raise UsageError(
            "metadata that is no JSON object",
            why=f"it is a {type(value).__name__}",
            fix='Give names and values: {"label": "cat"}.',
        )
    try:
        body = _encode(value).encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        fix = "Use text, numbers that are finite, true, false, null, lists, and objects of these."
        raise UsageError("metadata that is not JSON", why=str(error), fix=fix) from error
    if problem := _problem(value):  # json turns numbers into keys; it has also made sure that there is no cycle
        raise UsageError("metadata that cannot be kept", why=problem, fix="Change that, or leave it out.")
    if len(body) > MAX_METADATA:
        raise UsageError(
            f"metadata of {len(body)} bytes",
            why=f"the most is {MAX_METADATA}",
            fix="Put it into a file of the dataset.",
        )
    return body


def parse_metadata(body: bytes) -> dict[str, Any]:
    """Return what `canonical_json` wrote; of no bytes, an empty dict. IntegrityError: something else wrote it."""
    if not body:
        return {}
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError("metadata is malformed", why=str(error)) from error
    if not _is_small(body) and (problem := _problem(value)):
        raise IntegrityError("metadata is malformed", why=problem)
    return value


def _is_small(body: bytes) -> bool:
    """Whether JSON cannot be nested too deep, nor hold too large an integer, as a look at its bytes tells.

    Nearly all is so small, and a node has hundreds: to walk through each value took most of a node's time.
    """
    return body.count(b"{") + body.count(b"[") <= MAX_METADATA_DEPTH and _LONG_NUMBER.search(body) is None


def _problem(value: dict[Any, Any]) -> str:
    containers: list[Any] = [value]
    for _ in range(MAX_METADATA_DEPTH):
        below: list[Any] = []
        for container in containers:
            if isinstance(container, dict):
                for key in container:
                    if not isinstance(key, str):
                        return f"the key {key!r} is not text, as keys of a JSON object are"
                items: Any = container.values()
            else:
                items = container
            for item in items:
                if isinstance(item, (dict, list, tuple)):
                    below.append(item)
                elif isinstance(item, int) and not _LEAST <= item <= _MOST:
                    return "an integer takes more than 64 bits"
        if not below:
            return ""
        containers = below
    return f"it is nested more than {MAX_METADATA_DEPTH} deep"
