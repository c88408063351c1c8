"""File types that fields can have, told by what is in a file and never by its name.

Each type has a test of the first bytes; where those are not enough (text, JSON, CSV, DICOM) it says what more it
looks at. A type of one's own, ``File["ext"]``, takes any content: nothing is known of it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.errors import UsageError

__all__ = ["FORMATS", "LOOKED_AT", "FileFormat", "check_format", "suffix_of"]

LOOKED_AT = 64 << 10
"""Bytes at the start of a file that its type is told by."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A file type. `suffix`: of the files' names; `fits(head)`: whether a file that begins so is one."""

    name: str
    suffix: str
    fits: Callable[[bytes], bool]


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def _riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


def _is_mp3(head: bytes) -> bool:
    # A tag, or the eleven bits of a frame of layer III.
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] == b"ftyp"


def _decoded(head: bytes) -> str | None:
    """Return text; None for what is none. The last character may be cut off."""
    if b"\0" in head:
        return None
    for left in range(4):
        try:
            return head[: len(head) - left].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    return None


def _is_text(head: bytes) -> bool:
    return _decoded(head) is not None


def _is_json(head: bytes) -> bool:
    """Whether it parses, or, of a longer file, begins like JSON."""
    text = _decoded(head)
    if text is None:
        return False
    if len(head) >= LOOKED_AT:
        return text.lstrip()[:1] in set('[{"-0123456789tfn')
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_csv(head: bytes) -> bool:
    text = _decoded(head)
    if text is None:
        return False
    try:
        return next(csv.reader(io.StringIO(text), strict=True), None) is not None or not text
    except csv.Error:
        return len(head) >= LOOKED_AT


def _is_nifti(head: bytes) -> bool:
    # Of a compressed one the header is not looked into.
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0" or head[:2] == b"\x1f\x8b"


FORMATS: dict[str, FileFormat] = {
    each.name: each
    for each in (
        FileFormat("png", "png", _starts(b"\x89PNG\r\n\x1a\n")),
        FileFormat("jpg", "jpg", _starts(b"\xff\xd8\xff")),
        FileFormat("tif", "tif", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        FileFormat("webp", "webp", _riff(b"WEBP")),
        FileFormat("wav", "wav", _riff(b"WAVE")),
        FileFormat("mp3", "mp3", _is_mp3),
        FileFormat("mp4", "mp4", _is_mp4),
        FileFormat("json", "json", _is_json),
        FileFormat("csv", "csv", _is_csv),
        FileFormat("parquet", "parquet", _starts(b"PAR1")),
        FileFormat("npy", "npy", _starts(b"\x93NUMPY")),
        FileFormat("txt", "txt", _is_text),
        FileFormat("pdf", "pdf", _starts(b"%PDF-")),
        FileFormat("dicom", "dcm", lambda head: head[128:132] == b"DICM"),
        FileFormat("nifti", "nii", _is_nifti),
    )
}
"""The file types that have a name, by it."""


def check_format(head: bytes, formats: Sequence[str]) -> str:
    """Return which of the formats a file is that begins so. UsageError: none of them; says what it looks like."""
    known = [FORMATS[name] for name in formats if name in FORMATS]
    for each in known:
        if each.fits(head):
            return each.name
    for name in formats:
        if name not in FORMATS:
            return name
    looks = next(
        (each.name for each in FORMATS.values() if each.name not in ("txt", "csv", "json") and each.fits(head)), ""
    )
    wanted = " or ".join(formats)
    if not head:
        why = "it is empty"
    elif looks:
        why = f"its content is {looks}"
    else:
        why = f"it begins with {head[:8]!r}"
    raise UsageError(
        f"the file is no {wanted}", why=why, fix="Return a file of the type that the field has, or change the field."
    )


def suffix_of(name: str, head: bytes) -> str:
    """Return what follows the dot in names of files of a format."""
    if name == "nifti" and head[:2] == b"\x1f\x8b":
        return "nii.gz"
    return FORMATS[name].suffix if name in FORMATS else name
