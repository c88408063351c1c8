"""The checksum of a record in the tables: LMDB checks none of its pages. Pure.

A value is stored with the CRC-32 of its table's name, its key and itself behind it, little-endian. So a record that
stands where another one belongs is noticed, and the CRC of all three with their checksum is `WHOLE`, whatever they are:
to check takes 0.3 us. The *tally* of a table is how many records it has, and the sum of their checksums: kept up with
each change, it tells when one is missing.
"""

from __future__ import annotations

from zlib import crc32

from .schema import TABLES

__all__ = ["CHECKSUM_BYTES", "MODULUS", "SEEDS", "WHOLE", "Tally", "checksum_of", "is_whole", "with_checksum"]

CHECKSUM_BYTES = 4
SEEDS = tuple(crc32(name) for name in (*TABLES, b"journal"))
"""By table; the last is that of the tables' own state (`tables`)."""
WHOLE = 0x2144DF1C
MODULUS = 1 << 64

Tally = tuple[int, int]
"""Number of records, and the sum of their checksums, modulo 2**64."""


def with_checksum(table: int, key: bytes, value: bytes) -> bytes:
    """Return a value as it is stored."""
    return value + crc32(value, crc32(key, SEEDS[table])).to_bytes(CHECKSUM_BYTES, "little")


def is_whole(table: int, key: bytes, stored: bytes) -> bool:
    """Whether a record is what was stored."""
    return crc32(stored, crc32(key, SEEDS[table])) == WHOLE


def checksum_of(stored: bytes) -> int:
    """Return the checksum that a stored value ends with."""
    return int.from_bytes(stored[-CHECKSUM_BYTES:], "little")
