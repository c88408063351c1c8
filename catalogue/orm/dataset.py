"""Datasets, their rows, and tasks, as programs meet them: frozen values that print as they are documented.

Times are in UTC. Hashes of datasets, rows and users are names, not hashes of content; `DataRow.content_hash` is one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from .shown_enum import ShownEnum, ShownNumber

__all__ = [
    "CloudIntegration",
    "CreatedDataset",
    "DataRow",
    "DataType",
    "DatasetInfo",
    "DatasetPage",
    "DatasetScope",
    "DatasetUserRole",
    "FramesSource",
    "ListedDataset",
    "PrivateDataReport",
    "ReEncodeVideoTask",
    "ReEncodeVideoTaskResult",
    "RowPage",
    "StorageLocation",
]


class StorageLocation(ShownNumber):
    """Where the bytes of a dataset lie: `CORD_STORAGE` is a directory, `AWS` any store that speaks S3."""

    CORD_STORAGE = 0
    AWS = 1
    GCP = 2
    AZURE = 3


class DatasetUserRole(ShownNumber):
    """What one may do with a dataset: an ADMIN can write into its bucket."""

    ADMIN = 0
    USER = 1


class DatasetScope(ShownEnum):
    """What a key allows."""

    READ = "dataset.read"
    WRITE = "dataset.write"


class DataType(ShownEnum):
    """What a data row is."""

    VIDEO = "video"
    IMG_GROUP = "img_group"
    IMAGE = "image"
    DICOM = "dicom"


class FramesSource(ShownEnum):
    """Where the number of a row's frames is from: the header's word, or all were decoded and counted."""

    HEADER = "header"
    DECODED = "decoded"


class CreatedDataset(TypedDict):
    """What `create_dataset` answers."""

    title: str
    type: int
    dataset_hash: str
    user_hash: str


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset. `type` is a `StorageLocation`; `user_hash` is of who made it; `name` is its handle's."""

    dataset_hash: str
    user_hash: str
    title: str
    description: str
    type: int
    created_at: dt.datetime
    last_edited_at: dt.datetime
    name: str = field(default="", repr=False)
    bucket: str = field(default="", repr=False)
    entries: int = field(default=0, repr=False)
    bytes: int = field(default=0, repr=False)
    top_hash: str = field(default="", repr=False)
    author: str = field(default="", repr=False)


class ListedDataset(TypedDict):
    """One row of a list of datasets."""

    dataset: DatasetInfo
    user_role: DatasetUserRole


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A page of a list of datasets; `cursor` asks for the next one, None: it was the last.

    `roles` says what one may do in each of their buckets.
    """

    datasets: tuple[DatasetInfo, ...]
    cursor: str | None
    roles: Mapping[str, DatasetUserRole] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class DataRow:
    """An image, a video, an ordered group of images, or a DICOM series.

    `uid` names it for as long as it is in the dataset. `size` in bytes, `width` and `height` in pixels, as they are
    shown (EXIF's rotation is applied), `duration` in seconds. What is not known is None. `frames_source` says whether
    `frames` was counted. `path` is its key in the version; `content_hash` is of its bytes.
    """

    uid: str
    title: str
    data_type: DataType
    created_at: dt.datetime
    size: int
    path: str
    storage_location: StorageLocation
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    frames_source: FramesSource | None = None
    codec: str | None = None
    content_hash: str = ""
    client_metadata: Mapping[str, Any] = field(default_factory=dict)
    derived_from: str | None = None
    problem: str = ""

    @property
    def data_hash(self) -> str:
        """The same as `uid`."""
        return self.uid


@dataclass(frozen=True, slots=True)
class RowPage:
    """A page of rows; `cursor` asks for the next one, None: it was the last. `total` counts all that fit."""

    rows: tuple[DataRow, ...]
    cursor: str | None
    total: int


@dataclass(frozen=True, slots=True)
class CloudIntegration:
    """A remote of the settings, from which data can be registered where it lies."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class PrivateDataReport:
    """What came of registering data where it lies: `added` rows, `present` ones, and what is wrong with items."""

    added: tuple[str, ...]
    present: tuple[str, ...]
    errors: Mapping[str, str]
    top_hash: str = ""


@dataclass(frozen=True, slots=True)
class ReEncodeVideoTaskResult:
    """A video that was re-encoded: its new row, where it lies, and a URL that can be read for a while."""

    data_hash: str
    signed_url: str | None
    bucket_path: str


@dataclass(frozen=True, slots=True)
class ReEncodeVideoTask:
    """How a task is doing: ``SUBMITTED``, ``DONE`` or ``ERROR``. `errors` are by the hash of the video."""

    status: str
    result: list[ReEncodeVideoTaskResult] | None = None
    progress: float = field(default=0.0, repr=False)
    errors: Mapping[str, str] = field(default_factory=dict, repr=False)
