"""What a file is to the page, by its name, and as what it is sent to a browser. Pure.

**Invariant:** only what a browser does not run is sent as what it is: pictures, sound, video. A page (HTML, XML, PDF)
is sent as bytes to be saved. SVG may run scripts when it is opened on its own, so all that is sent has a policy which
takes scripts, plugins and the server's own address away from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from .shown_text import written_key

__all__ = ["RAW_POLICY", "FileKind", "disposition", "has_thumbnail", "kind_of_file", "type_sent"]

FileKind = Literal["image", "svg", "video", "audio", "dicom", "table", "json", "text", "other"]

RAW_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src 'self'"

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "gif": "image/gif",
        "webp": "image/webp",
        "avif": "image/avif",
        "bmp": "image/bmp",
        "svg": "image/svg+xml",
        "mp4": "video/mp4",
        "m4v": "video/mp4",
        "webm": "video/webm",
        "mov": "video/quicktime",
        "mkv": "video/x-matroska",
        "ogv": "video/ogg",
        "mp3": "audio/mpeg",
        "wav": "audio/wav",
        "flac": "audio/flac",
        "ogg": "audio/ogg",
        "opus": "audio/ogg",
        "m4a": "audio/mp4",
    }
)
_IMAGES_OF_THUMBNAILS = frozenset({"tif", "tiff", "ppm", "pgm", "pbm", "ico", "tga"})
_DICOM = frozenset({"dcm", "dicom", "ima"})
_TABLES = frozenset({"csv", "tsv", "parquet", "jsonl", "ndjson"})
_TEXTS = frozenset(
    (
        *("txt", "md", "rst", "log", "ini", "cfg", "conf", "toml", "yaml", "yml", "xml", "html", "htm", "xhtml", "css"),
        *("js", "ts", "py", "sh", "c", "h", "cc", "cpp", "rs", "go", "java", "r", "sql", "tex", "bib", "srt", "vtt"),
        *(
            "names",
            "list",
            "diff",
            "patch",
            "gitignore",
            "penstockignore",
            "makefile",
            "dockerfile",
            "license",
            "readme",
        ),
    )
)


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def kind_of_file(name: str) -> FileKind:
    """Return what a file is, by its name alone: nothing is read for it."""
    suffix = _suffix(name)
    if suffix == "svg":
        return "svg"
    if suffix in _IMAGES_OF_THUMBNAILS:
        return "image"
    family = _TYPES.get(suffix, "").partition("/")[0]
    if family == "image":
        return "image"
    if family in ("video", "audio"):
        return "video" if family == "video" else "audio"
    if suffix in _DICOM:
        return "dicom"
    if suffix in _TABLES:
        return "table"
    if suffix in ("json", "geojson", "ipynb"):
        return "json"
    return "text" if suffix in _TEXTS else "other"


def has_thumbnail(name: str) -> bool:
    """Whether a small picture can be made of a file."""
    return kind_of_file(name) in ("image", "dicom")


def type_sent(name: str) -> str | None:
    """Return the type that a file is sent as to be shown; None: it is sent as bytes to be saved."""
    return _TYPES.get(_suffix(name))


def disposition(name: str, *, inline: bool) -> str:
    """Return the header that names a file, and says whether it is shown or saved."""
    return f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(written_key(name), safe='%')}"
