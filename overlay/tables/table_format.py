"""The number of the format that the tables of an overlay have, as it is noted among them. Pure.

Up to the format of today it is a digit, which a flipped bit makes another one. So later formats are to note theirs with
a checksum, as all records have it: what has none and is not known is damage, and nothing of a newer Penstock.
"""

from __future__ import annotations

from penstock.errors import FormatTooNewError

from .checksum import CHECKSUM_BYTES, is_whole
from .schema import TABLES

__all__ = ["FORMAT", "FORMAT_KEY", "UNCHECKED_FORMATS", "is_damaged_format"]

FORMAT = 4
"""2: data files may have heads (`heads`), where who knows 1 alone would look for bytes in other files. 3: checksums.
4: an inode may have several names, or be a pipe or a socket."""
FORMAT_KEY = b"format"
UNCHECKED_FORMATS = (b"1", b"2")
"""Formats whose records have no checksums."""
_KNOWN = (*UNCHECKED_FORMATS, b"3", b"%d" % FORMAT)


def is_damaged_format(stored: bytes, path: str) -> bool:
    """Whether a format that is noted in the tables at `path` is none that anybody noted.

    Raises:
        FormatTooNewError: a newer Penstock noted it.
    """
    if stored in _KNOWN:
        return False
    if not is_whole(len(TABLES), FORMAT_KEY, stored):
        return True
    number = stored[:-CHECKSUM_BYTES].decode("ascii", "replace")
    raise FormatTooNewError(
        f"the overlay's tables in {path} were written by a newer Penstock",
        why=f"they have format {number}, this Penstock reads up to {FORMAT}",
        fix="Upgrade Penstock",
    )
