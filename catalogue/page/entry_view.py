"""What the page of one entry shows: a picture with its labels, sound, a table, text; or that it is to be saved.

At most a few hundred kilobytes of an entry are read for its page; what a decoder has to look at is decoded by the pool.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from penstock.api.packages.entry import Entry
from penstock.catalogue.page.content.decoding_pool import MOST_SENT
from penstock.catalogue.page.content.file_kinds import kind_of_file, type_sent
from penstock.catalogue.page.content.image_labels import DOCUMENTS, Shape, shapes_of_document, shapes_of_metadata
from penstock.catalogue.page.content.pictures import Picture
from penstock.catalogue.page.content.shown_text import sized
from penstock.catalogue.page.content.table_rows import MOST_ROWS, TableRows, rows_of_records, rows_of_text
from penstock.catalogue.rows.row_metadata import StoredRow, stored_row
from penstock.errors import PenstockError

from .place import Place

__all__ = ["EntryView", "shapes_of", "view_of"]

_HEAD = 256 << 10
_MOST_DOCUMENT = 8 << 20


@dataclass(frozen=True, slots=True)
class EntryView:
    """`kind` says which of the others there are. `source` is what a browser shows; `note` what is missing, and why."""

    kind: str
    source: str = ""
    picture: Picture | None = None
    shapes: tuple[Shape, ...] = ()
    table: TableRows | None = None
    text: str = ""
    note: str = ""
    media_type: str = ""
    frame: int = 0
    tags: tuple[tuple[str, str], ...] = ()
    row: StoredRow | None = None
    metadata: dict[str, object] = field(default_factory=dict)

    @property
    def metadata_text(self) -> str:
        """The metadata as it is edited."""
        return json.dumps(self.metadata, indent=2, ensure_ascii=False) if self.metadata else ""


def view_of(place: Place, entry: Entry, frame: int = 0) -> EntryView:
    """Return what is shown of an entry; `frame` is which picture of a DICOM file."""
    metadata = entry.metadata
    if not entry.is_file():
        return EntryView("symlink", text=entry.target, metadata=metadata)
    kind = kind_of_file(entry.name)
    raw = place.exact_url("raw", entry.key)
    if kind in ("image", "svg"):
        return _image(place, entry, kind, raw, metadata)
    if kind in ("video", "audio"):
        row = stored_row(metadata)
        return EntryView(kind, raw, media_type=type_sent(entry.name) or "", metadata=metadata, row=row)
    if kind == "dicom":
        return _dicom(place, entry, metadata, frame)
    if kind == "table":
        return _table(place, entry, metadata)
    if kind == "json" and entry.size <= _HEAD * 4:
        return _json(entry, metadata)
    head = _head(entry)
    if kind == "other" and head[128:132] == b"DICM":
        return _dicom(place, entry, metadata, frame)
    if kind == "other" and b"\0" in head[:4096]:
        return EntryView(
            "other", note="There is no view of such files; save it, or mount the version.", metadata=metadata
        )
    return EntryView("text", text=head.decode("utf-8", "replace"), note=_cut(entry), metadata=metadata)


def shapes_of(place: Place, entry: Entry, metadata: dict[str, object]) -> tuple[Shape, ...]:
    """Return the labels of an image: of its metadata, of a JSON beside it, of a document of its directory."""
    found = shapes_of_metadata(metadata)
    if found:
        return tuple(found)
    folder, slash, name = entry.key.rpartition("/")
    stem = name.rpartition(".")[0] or name
    for beside in (f"{stem}.json", f"{name}.json", *DOCUMENTS):
        document = place.package.find(f"{folder}{slash}{beside}")
        if document is None or not document.is_file() or document.size > _MOST_DOCUMENT:
            continue
        try:
            found = shapes_of_document(json.loads(document.read()), name)
        except (ValueError, RecursionError):  # it is not about labels
            continue
        if found:
            return tuple(found)
    return ()


def _head(entry: Entry) -> bytes:
    return bytes(next(entry.some_blocks(0, 1), b""))[:_HEAD] if entry.size else b""


def _cut(entry: Entry) -> str:
    return f"The first {sized(_HEAD)} of {sized(entry.size)} are shown." if entry.size > _HEAD else ""


def _image(place: Place, entry: Entry, kind: str, raw: str, metadata: dict[str, object]) -> EntryView:
    shapes = shapes_of(place, entry, metadata)
    if kind == "svg":
        return EntryView("svg", raw, metadata=metadata)
    try:
        picture = place.pages.pictures.of(entry, 1600)
    except PenstockError as error:
        return EntryView("image", note=str(error), metadata=metadata)
    source = place.exact_url("picture", entry.key, size=1600) if picture.body else ""
    return EntryView("image", source, picture, shapes, note=picture.note, metadata=metadata)


def _dicom(place: Place, entry: Entry, metadata: dict[str, object], frame: int) -> EntryView:
    picture = place.pages.pictures.of(entry, 1600, frame)
    source = place.exact_url("picture", entry.key, size=1600, frame=frame) if picture.body else ""
    if entry.size > MOST_SENT:
        return EntryView("dicom", note=picture.note, metadata=metadata)
    head, _ = place.pages.pool.ask({"task": "tags"}, entry.read)
    tags = tuple((str(name), str(value)) for name, value in head.get("tags", ()))
    note = picture.note or str(head.get("note", ""))
    shapes = shapes_of(place, entry, metadata)
    return EntryView("dicom", source, picture, shapes, note=note, frame=frame, tags=tags, metadata=metadata)


def _table(place: Place, entry: Entry, metadata: dict[str, object]) -> EntryView:
    suffix = entry.name.rpartition(".")[2].lower()
    if suffix != "parquet":
        table = rows_of_text(_head(entry), suffix, is_whole=entry.size <= _HEAD)
        note = table.note or ("" if table.is_whole else f"The first {len(table.rows)} rows are shown.")
        return EntryView("table", table=table, note=note, metadata=metadata)
    if entry.size > MOST_SENT:
        return EntryView("other", note=f"Tables of up to {sized(MOST_SENT)} are shown here.", metadata=metadata)
    head, body = place.pages.pool.ask({"task": "table", "rows": MOST_ROWS}, entry.read)
    if "note" in head:
        return EntryView("other", note=str(head["note"]), metadata=metadata)
    rows = int(head["rows"])
    table = rows_of_records(json.loads(body), is_whole=rows <= MOST_ROWS)
    note = "" if table.is_whole else f"The first {len(table.rows)} of {rows:,} rows are shown."
    return EntryView("table", table=table, note=note, metadata=metadata)


def _json(entry: Entry, metadata: dict[str, object]) -> EntryView:
    body = entry.read()
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        text = body[:_HEAD].decode("utf-8", "replace")
        return EntryView("text", text=text, note=f"It is no JSON: {error}", metadata=metadata)
    if isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
        return EntryView("table", table=rows_of_records(found, is_whole=True), metadata=metadata)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    note = f"The first {sized(_HEAD)} are shown." if len(text) > _HEAD else ""
    return EntryView("text", text=text[:_HEAD], note=note, metadata=metadata)
