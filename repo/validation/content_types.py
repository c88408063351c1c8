"""What a file is, by its first bytes and not by its name. Pure; a table of what datasets are made of.

No library: `filetype` has had no release for years, `puremagic` looks at suffixes and guesses, `python-magic` needs
libmagic, whose parsers have been attacked before. What these few rows tell apart is what a training job would trip
over.
"""

from __future__ import annotations

import codecs
import fnmatch

__all__ = ["HEAD_BYTES", "content_type", "fits"]

HEAD_BYTES = 512
"""Bytes from the start of a file that are looked at."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0+", "image/tiff"),
    (0, b"BM", "image/bmp"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (128, b"DICM", "application/dicom"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"(\xb5/\xfd", "application/zstd"),
    (0, b"7z\xbc\xaf'\x1c", "application/x-7z-compressed"),
    (257, b"ustar", "application/x-tar"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
    (0, b"Obj\x01", "application/avro"),
    (0, b"ORC", "application/orc"),
    (0, b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (0, b"CDF\x01", "application/x-netcdf"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\x1aE\xdf\xa3", "video/x-matroska"),
    (0, b"\x7fELF", "application/x-elf"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {b"qt  ": "video/quicktime", b"heic": "image/heic", b"avif": "image/avif", b"M4A ": "audio/mp4"}


def content_type(head: bytes) -> str:
    """Return what begins with these bytes, as a media type; `application/octet-stream` for what is not known.

    Text is UTF-8 without control characters; of it, `application/json` begins like an object or an array.
    """
    if not head:
        return "application/x-empty"
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "application/octet-stream"
    if any(each < " " and each not in "\t\n\r\f" for each in text):
        return "application/octet-stream"
    return "application/json" if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[") else "text/plain"


def fits(kind: str, wanted: str) -> bool:
    """Whether a media type is one that is wanted: ``image/png``, ``image/*``; JSON is text too."""
    return fnmatch.fnmatchcase(kind, wanted) or (kind == "application/json" and wanted in ("text/plain", "text/*"))
