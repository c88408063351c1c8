"""A version as a table of its entries: one row an entry, written as it is read. One part of `Package`."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from penstock.errors import UsageError

from .package_entries import PackageEntries

if TYPE_CHECKING:
    from penstock.repo.export.entry_row import EntryRow

    from .entry import Entry

__all__ = ["PackageExport"]


class PackageExport(PackageEntries):
    """What a `Package` writes of its entries."""

    __slots__ = ()

    def export(
        self,
        *,
        jsonl: str | os.PathLike[str] | BinaryIO | None = None,
        parquet: str | os.PathLike[str] | None = None,
    ) -> int:
        """Write a file with one row an entry, in tree order, the dataset itself first; return how many there are.

        `jsonl`: lines of JSON, in a file or to a stream of bytes that is open. `parquet`: the same, with metadata and
        places as columns of JSON text, and fields of metadata that have one type as columns besides,
        ``metadata.label``; for it there is ``penstock[parquet]``. Bytes of names that are not UTF-8 are escaped there.
        Memory does not grow with the version. The file is there when it is whole, in place of one that was.

        UsageError: no file, or both; the extra is not installed. AccessError: it cannot be written.

        >>> import penstock
        >>> penstock.open("demo/photos").export(jsonl="photos.jsonl")
        5
        """
        from penstock.repo.export.finished_file import whole_file
        from penstock.repo.export.jsonl_file import write_jsonl
        from penstock.repo.export.metadata_columns import metadata_columns
        from penstock.repo.export.parquet_file import write_parquet
        from penstock.repo.query.summary import summarize
        from penstock.repo.read.entry_records import EntryRecords

        if (jsonl is None) == (parquet is None):
            raise UsageError("name one file to write", fix="Say jsonl=FILE or parquet=FILE.")
        rows = map(_row, chain((self.entry(""),), self))
        if jsonl is not None:
            if not isinstance(jsonl, (str, os.PathLike)):
                return write_jsonl(jsonl, rows)
            with whole_file(os.fspath(jsonl)) as file:
                return write_jsonl(file, rows)
        assert parquet is not None
        summary = summarize(record.metadata for record in EntryRecords(self._snapshot, ""))
        return write_parquet(os.fspath(parquet), rows, metadata_columns(summary.fields()))


def _row(entry: Entry) -> EntryRow:
    return {
        "path": entry.key,
        "kind": entry.kind,
        "size": entry.size,
        "hash": entry.hash,
        "modified": entry.modified,
        "target": entry.target,
        "metadata": entry.metadata,
        "physical_keys": [
            {"uri": each.uri, "offset": each.offset, "length": each.length} for each in entry.physical_keys
        ],
    }
