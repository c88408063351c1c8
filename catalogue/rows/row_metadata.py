"""How a version keeps a data row: as the member ``row`` of the metadata of a file, or of a group's directory. Pure.

So it travels with the version, is compared and merged as all metadata is, and can be read without this package.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.catalogue.orm.dataset import DataRow, DataType, FramesSource, StorageLocation

from .probe_messages import Facts

__all__ = ["ROW", "StoredRow", "new_row", "row_of", "stored_row"]

ROW = "row"


class StoredRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a row. `frames_counted`: they were decoded, and not taken from a header.

    `derived_from` is the row that this one was made of, `source` the address where it was registered.
    """

    uid: str
    type: DataType
    title: str
    created: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    frames_counted: bool = False
    codec: str | None = None
    client_metadata: dict[str, Any] = {}
    derived_from: str | None = None
    source: str | None = None
    data_sequence: list[str] = []


def new_row(facts: Facts, title: str, now: dt.datetime, *, uid: str = "", **more: Any) -> StoredRow:
    """Return the row of a file that was just found to be something; without a `uid` it gets a new one."""
    return StoredRow(
        uid=uid or str(uuid.UUID(bytes=os.urandom(16), version=4)),
        type=DataType(facts.kind),
        title=title,
        created=now.astimezone(dt.UTC).isoformat(timespec="microseconds"),
        width=facts.width,
        height=facts.height,
        duration=facts.duration,
        fps=facts.fps,
        frames=facts.frames,
        frames_counted=facts.is_counted,
        codec=facts.codec,
        **more,
    )


def stored_row(metadata: Mapping[str, Any]) -> StoredRow | None:
    """Return the row in metadata; None: there is none, or nothing that is one."""
    try:
        return msgspec.convert(metadata.get(ROW), StoredRow)
    except msgspec.ValidationError:
        return None


def row_of(stored: StoredRow, path: str, size: int, content_hash: str, storage: StorageLocation) -> DataRow:
    """Return a row as programs meet it."""
    try:
        created = dt.datetime.fromisoformat(stored.created)
    except ValueError:  # somebody else wrote it
        created = dt.datetime.fromtimestamp(0, dt.UTC)
    source = FramesSource.DECODED if stored.frames_counted else FramesSource.HEADER
    return DataRow(
        uid=stored.uid,
        title=stored.title,
        data_type=stored.type,
        created_at=created if created.tzinfo is not None else created.replace(tzinfo=dt.UTC),
        size=size,
        path=path,
        storage_location=storage,
        width=stored.width,
        height=stored.height,
        duration=stored.duration,
        fps=stored.fps,
        frames=stored.frames,
        frames_source=source if stored.frames is not None else None,
        codec=stored.codec,
        content_hash=content_hash,
        client_metadata=stored.client_metadata,
        derived_from=stored.derived_from,
    )
