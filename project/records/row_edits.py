"""From rows that changed to edits of a version's tree: records, files of fields, folders that come and go.

Work goes by the rows that changed. A folder that is renamed moves by reference.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from penstock.errors import IntegrityError
from penstock.manifest.build import with_blocks
from penstock.manifest.entry import Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.metadata import canonical_json
from penstock.manifest.update import Edit
from penstock.repo.write.version_content import VersionContent

from .changed_rows import ChangedRows
from .data_record import RECORDS, DataRecord, encode_record, file_name
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

    def plan(self) -> None:
        """Note which paths are touched: see `ChangedRows.note_edit`."""
        note = self._rows.note_edit
        if self._rows.base is None:
            note(RECORDS, b"", "")
        for folder in (*self._gone, *self._new, *self._moved):
            note(folder.encode(), b"", "")
        for identity, before, now in self._rows.changed():
            note(RECORDS, identity.encode(), identity)
            old = before.renamed(self._names) if before is not None else DataRecord("")
            new = now if now is not None else DataRecord("")
            for name in self._files:
                one, other = old.files.get(name), new.files.get(name)
                if one is None and other is None:
                    continue
                told = _told(old, name) != _told(new, name)
                if one is not None and (other is None or other != one):
                    note(name.encode(), file_name(identity, one).encode(), identity)
                if other is not None and (one != other or told):
                    note(name.encode(), file_name(identity, other).encode(), identity)

    def edits(self, content: VersionContent) -> Generator[Edit, None, None]:
        """Yield the edits, in tree order."""
        for folder, name, identity in self._rows.edits():
            if not name:
                yield self._folder(folder)
            elif folder == RECORDS:
                yield Edit((RECORDS, name), self._record(name, identity), missing_ok=True)
            else:
                yield Edit((folder, name), self._file(folder, name, identity, content), missing_ok=True)

    def _folder(self, folder: bytes) -> Edit:
        name = folder.decode()
        if name in self._gone:
            return Edit((folder,), None, missing_ok=True)
        old = self._moved.get(name)
        base = self._rows.base
        directory = base.folder(old.encode()) if old is not None and base is not None else None
        return Edit((folder,), TreeEntry(folder, Kind.DIRECTORY, directory=directory))

    def _record(self, name: bytes, identity: str) -> TreeEntry | None:
        record = self._rows.get(identity)
        if record is None:
            return None
        return TreeEntry(name, Kind.FILE, 0, content_hash(b""), metadata=encode_record(record))

    def _file(self, folder: bytes, name: bytes, identity: str, content: VersionContent) -> TreeEntry | None:
        record = self._rows.get(identity)
        field = folder.decode()
        value = record.files.get(field) if record is not None else None
        if record is None or value is None or file_name(identity, value).encode() != name:
            return None
        metadata = canonical_json({"record": identity, **_told(record, field)})
        old = self._moved.get(field, field).encode()
        for version in self._versions:
            found = version.find(old, name) or (version.find(folder, name) if folder != old else None)
            if found is not None and found.hash.hex() == value.hash:
                return structs.replace(found, metadata=metadata)
        stored = self._kept.stored(value)
        if stored is None:
            raise IntegrityError(
                f"it is not known where {field}/{name.decode()} lies",
                why="what this machine remembers of it is gone",
                fix="Run the ingest again: git datasets run --again",
            )
        entry = stored.entry(name, metadata)
        return with_blocks(entry, stored.blocks, content.write) if stored.blocks else entry


def _told(record: DataRecord, field: str) -> dict[str, Any]:
    """Return what the metadata of a file says of its record, beside the id: its values, and how the file was made."""
    made = record.made.get(field)
    told: dict[str, Any] = {"values": record.values} if record.values else {}
    return {**told, "made": msgspec.to_builtins(made)} if made is not None else told
