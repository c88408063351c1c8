"""From rows that changed to edits of a version's tree: records, files of fields, folders that come and go.

Work goes by the rows that changed. A folder that is renamed moves by reference.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from penstock.errors import IntegrityError
from penstock.manifest.build import with_blocks
from penstock.manifest.entry import Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.update import Edit
from penstock.repo.write.version_content import VersionContent

from .changed_rows import ChangedRows, FileEdit
from .data_record import RECORDS, DataRecord, encode_record, file_name, plain_json
from .dataset_schema import Schema
from .kept_work import KeptWork
from .versions import Version

__all__ = ["RowEdits"]


class RowEdits:
    """The edits that make a new version of the base of `rows`. `others`: versions that hold files of it as well.

    `names`: fields that are called otherwise now.
    """

    def __init__(
        self,
        rows: ChangedRows,
        schema: Schema,
        names: Mapping[str, str],
        kept: KeptWork,
        others: Sequence[Version],
    ) -> None:
        self._rows = rows
        self._names = dict(names)
        self._kept = kept
        self._versions = [each for each in (rows.base, *others) if each is not None]
        before = {each.name for each in rows.base.schema.fields if each.is_file} if rows.base is not None else set()
        now = {each.name for each in schema.fields if each.is_file}
        moved = {old: new for old, new in self._names.items() if old in before and new in now}
        self._gone = sorted(before - now)
        self._new = sorted(now - before - set(moved.values()))
        self._moved = {new: old for old, new in moved.items()}
        self._files = sorted(now)

    def edits(self, content: VersionContent) -> Generator[Edit, None, None]:
        """Yield the edits, in tree order: records, whose folder is the first one, and then what they said of files."""
        rows = self._rows
        if rows.base is None:
            yield self._folder(RECORDS)
        folders = {each.encode() for each in (*self._gone, *self._new, *self._moved)}
        rows.note_edits(FileEdit(each, b"") for each in sorted(folders))
        for identity, before, now in rows.changed():
            rows.note_edits(self._of_files(identity, before, now))
            name = identity.encode()
            entry = _record_entry(name, now) if now is not None else None
            yield Edit((RECORDS, name), entry, missing_ok=True)
        for edit in rows.edits():
            if edit.name:
                yield Edit((edit.folder, edit.name), self._file(edit, content), missing_ok=True)
            else:
                yield self._folder(edit.folder)

    def _of_files(self, identity: str, before: DataRecord | None, now: DataRecord | None) -> Iterator[FileEdit]:
        old = before if before is not None else _NOTHING
        if self._names:
            old = old.renamed(self._names)
        new = now if now is not None else _NOTHING
        for name in self._files:
            one, other = old.files.get(name), new.files.get(name)
            if one is not None and one != other:
                yield FileEdit(name.encode(), file_name(identity, one).encode())
            if other is not None and (one != other or _told(old, name) != _told(new, name)):
                metadata = plain_json({"record": identity, **_told(new, name)}, *_given(new, name))
                yield FileEdit(name.encode(), file_name(identity, other).encode(), other, metadata)

    def _folder(self, folder: bytes) -> Edit:
        name = folder.decode()
        if name in self._gone:
            return Edit((folder,), None, missing_ok=True)
        old = self._moved.get(name)
        base = self._rows.base
        directory = base.folder(old.encode()) if old is not None and base is not None else None
        return Edit((folder,), TreeEntry(folder, Kind.DIRECTORY, directory=directory))

    def _file(self, edit: FileEdit, content: VersionContent) -> TreeEntry | None:
        value = edit.file
        if value is None:
            return None
        field, folder, name = edit.folder.decode(), edit.folder, edit.name
        old = self._moved.get(field, field).encode()
        for version in self._versions:
            found = version.find(old, name) or (version.find(folder, name) if folder != old else None)
            if found is not None and found.hash.hex() == value.hash:
                return structs.replace(found, metadata=edit.metadata)
        stored = self._kept.stored(value)
        if stored is None:
            raise IntegrityError(
                f"it is not known where {field}/{name.decode()} lies",
                why="what this machine remembers of it is gone",
                fix="Run the ingest again: git datasets run --again",
            )
        entry = stored.entry(name, edit.metadata)
        return with_blocks(entry, stored.blocks, content.write) if stored.blocks else entry


_NOTHING = DataRecord("")
_EMPTY = content_hash(b"")


def _record_entry(name: bytes, record: DataRecord) -> TreeEntry:
    return TreeEntry(name, Kind.FILE, 0, _EMPTY, metadata=encode_record(record))


def _told(record: DataRecord, field: str) -> dict[str, Any]:
    """Return what the metadata of a file says of its record, beside the id: its values, and how the file was made."""
    told: dict[str, Any] = {"values": record.values} if record.values else {}
    if (made := record.made.get(field)) is not None:
        told["made"] = made
    return told


def _given(record: DataRecord, field: str) -> Iterator[dict[str, Any]]:
    """Yield the mappings in it whose values are anybody's."""
    yield record.values
    if (made := record.made.get(field)) is not None:
        yield made.of
