"""What was found to be damaged in an overlay, in words: for errors, for the log, and for `status`.

`DamageLog` belongs to one overlay and may be told from any thread.
"""

from __future__ import annotations

import os
import threading

from penstock.errors import IntegrityError
from penstock.manifest.entry import display_path

from .schema import GRAFTS, INODES, META, NAMES, ORDER, RANGES, SUMS, TABLES

__all__ = ["DamageLog", "damaged_record", "damaged_tables", "record_text", "ways_out"]

_MOST = 100


class DamageLog:
    """Damage that was met, the first hundred, in words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, None] = {}

    def note(self, text: str) -> None:
        """Remember it; once, however often it is met."""
        with self._lock:
            if len(self._found) < _MOST:
                self._found[text] = None

    def found(self) -> list[str]:
        """Return what was met."""
        with self._lock:
            return list(self._found)


def record_text(table: int, key: bytes) -> str:
    """Return what a record is called: its key may be damaged, too."""
    number = int.from_bytes(key[:8], "big")
    if table == META:
        return f"the record {key.decode('utf-8', 'backslashreplace')!r}"
    if table == NAMES:
        return f"the name {display_path((key[8:],))!r} in directory {number}"
    if table == ORDER:
        return f"the place of a name in directory {number}"
    if table in (INODES, GRAFTS):
        return f"the record of inode {number}" + (" as a directory of another version" if table == GRAFTS else "")
    if table in (RANGES, SUMS):
        return f"a record of the {'bytes' if table == RANGES else 'checksums'} of inode {number}"
    return "the state of the tables" if table >= len(TABLES) else f"a record of {TABLES[table].decode()}"


def damaged_record(path: str, table: int, key: bytes, damage: DamageLog) -> IntegrityError:
    """Note a record of the tables in `path` that is not what was written; return what to raise."""
    text = record_text(table, key)
    damage.note(text)
    return IntegrityError(
        f"{text} in {path} is damaged", why="it does not match its checksum", fix=ways_out(os.path.dirname(path))
    )


def damaged_tables(path: str, why: str) -> IntegrityError:
    """Return what to raise when the tables in `path` are not what they should be."""
    return IntegrityError(f"the overlay's tables in {path} are damaged", why=why, fix=ways_out(os.path.dirname(path)))


def ways_out(directory: str) -> str:
    """Return what can be done with an overlay that is damaged."""
    return (
        f"penstock overlay check {directory} says what is whole, penstock overlay rescue {directory} TO takes that out"
    )
