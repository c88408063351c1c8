"""What each kind of job asks for and comes to: JSON in the table of jobs, and on the wire. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "AddRequest",
    "AddResult",
    "IndexRequest",
    "IndexResult",
    "PrivateRequest",
    "PrivateResult",
    "ReencodeRequest",
    "ReencodeResult",
    "Reencoded",
    "UploadedFile",
]


class ReencodeRequest(msgspec.Struct, frozen=True):
    """Videos by the names of their rows. `author`: who the versions are by."""

    videos: tuple[str, ...]
    author: str = ""


class Reencoded(msgspec.Struct, frozen=True):
    """The row of a video that was made, and its key in the version."""

    data_hash: str
    path: str


class ReencodeResult(msgspec.Struct, frozen=True):
    """By the name of the source: what was made of it, or why nothing was."""

    done: dict[str, Reencoded] = {}
    errors: dict[str, str] = {}


class PrivateRequest(msgspec.Struct, frozen=True):
    """Data to be registered where it lies: `spec` as users give it."""

    integration: str
    spec: dict[str, Any]
    ignore_errors: bool = False
    author: str = ""


class PrivateResult(msgspec.Struct, frozen=True):
    """What came of it; see `PrivateDataReport`."""

    added: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    errors: dict[str, str] = {}
    top_hash: str = ""


class UploadedFile(msgspec.Struct, frozen=True):
    """A file that was uploaded. `key`: where it is to be, of a commit or a folder."""

    upload: str
    title: str = ""
    client_metadata: dict[str, Any] = {}
    key: str = ""


class AddRequest(msgspec.Struct, frozen=True):
    """Files to be added in one version: as rows of a kind, or of a commit, which also deletes, as what they are."""

    kind: Literal["video", "image", "file", "image_group", "dicom_series", "folder", "commit"]
    files: tuple[UploadedFile, ...] = ()
    title: str = ""
    folder: str = ""
    deleted: tuple[str, ...] = ()
    message: str = ""
    author: str = ""


class AddResult(msgspec.Struct, frozen=True):
    """Names of the rows that were made, and the version."""

    rows: tuple[str, ...] = ()
    top_hash: str = ""


class IndexRequest(msgspec.Struct, frozen=True):
    """Rows are to be made of files that are none yet; `exact`: videos are decoded, and their frames counted."""

    exact: bool = False
    author: str = ""


class IndexResult(msgspec.Struct, frozen=True):
    """How many became rows, and those that are none, with why, as far as they are few."""

    indexed: int
    unknown: dict[str, str]
    top_hash: str
