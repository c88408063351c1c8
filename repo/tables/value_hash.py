"""Hashes of 64 bits of the values of a column, a batch at a time: vectors of numpy, no row is ever an object. Pure.

Two values hash alike where they are equal: of integers and floats the number counts, of text the bytes. A hash is of
one comparison alone: each begins with a random number of its own, so that nobody can write a row that hides behind
another. Needs pyarrow and numpy: ``penstock[parquet]``.
"""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3

__all__ = ["column_hashes", "mixed"]

_FIRST, _SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
_STEP = 0x9E3779B97F4A7C15
_NULL = 0x6A09E667F3BCC909
_LONG = 256
"""Bytes from which on a text is hashed alone: for the others, eight bytes of each are a step."""


def mixed(values: Any) -> Any:
    """Return numbers of which each bit depends on each bit of what was given, an array of uint64."""
    import numpy as np  # pyright: ignore[reportMissingImports]  # an extra

    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(_FIRST)
    values ^= values >> np.uint64(29)
    values *= np.uint64(_SECOND)
    values ^= values >> np.uint64(32)
    return values


def column_hashes(column: Any, seed: int) -> Any:
    """Return the hashes of a column's values, an array of Arrow: uint64, as many as there are rows."""
    import numpy as np  # pyright: ignore[reportMissingImports]
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    kind = column.type
    start = np.uint64(seed)
    if pa.types.is_dictionary(kind):
        found = column_hashes(column.dictionary, seed)
        indices = column.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        hashes = found[indices] if len(found) else np.zeros(len(column), np.uint64)
    elif pa.types.is_null(kind):
        hashes = np.zeros(len(column), np.uint64)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        hashes = mixed(values.astype(np.int64 if kind != pa.uint64() else np.uint64).view(np.uint64) ^ start)
    elif pa.types.is_floating(kind):
        values = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0  # -0.0 is 0.0
        values[np.isnan(values)] = np.nan
        hashes = mixed(values.view(np.uint64) ^ start)
    elif pa.types.is_temporal(kind) and kind.bit_width in (32, 64) and not pa.types.is_interval(kind):
        plain = column.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
        hashes = mixed(plain.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64) ^ start)
    else:
        hashes = _text_hashes(_as_bytes(column), start)
    if column.null_count:
        missing = mixed(start ^ np.array([_NULL], np.uint64))
        hashes = np.where(column.is_null().to_numpy(zero_copy_only=False), missing, hashes)
    return hashes


def _as_bytes(column: Any) -> Any:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    kind = column.type
    if pa.types.is_large_binary(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary()).cast(pa.large_binary())
    if pa.types.is_decimal(kind):
        return column.cast(pa.string()).cast(pa.large_binary())
    # Lists, structs, maps: as JSON, row by row.
    texts = [
        None if value is None else json.dumps(value, default=str, sort_keys=True).encode()
        for value in column.to_pylist()
    ]
    return pa.array(texts, pa.large_binary())


def _text_hashes(column: Any, start: Any) -> Any:
    import numpy as np  # pyright: ignore[reportMissingImports]

    count = len(column)
    _, places, data = column.buffers()
    if count == 0 or places is None:
        return np.zeros(count, np.uint64)
    offsets = np.frombuffer(places, np.int64, count + 1, column.offset * 8)
    begin, end = int(offsets[0]), int(offsets[-1])
    body = np.zeros(end - begin + 8, np.uint8)
    if end > begin:
        body[:-8] = np.frombuffer(data, np.uint8, end - begin, begin)
    words = np.ndarray((len(body) - 7,), "<u8", body, 0, (1,))
    starts = offsets[:-1] - begin
    lengths = np.diff(offsets)
    hashes = mixed(lengths.astype(np.uint64) * np.uint64(_STEP) ^ start)
    masks = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
    rows = np.flatnonzero((lengths > 0) & (lengths <= _LONG))
    at = 0
    while len(rows):
        left = lengths[rows] - at
        taken = words[starts[rows] + at] & masks[np.minimum(left, 8)]
        hashes[rows] = mixed(hashes[rows] * np.uint64(_STEP) ^ taken)
        rows = rows[left > 8]
        at += 8
    for row in np.flatnonzero(lengths > _LONG).tolist():
        text = body[starts[row] : starts[row] + lengths[row]].tobytes()
        told = blake3(text, key=int(start).to_bytes(8, "big") * 4).digest(8)
        hashes[row] = np.uint64(int.from_bytes(told, "big"))
    return hashes
