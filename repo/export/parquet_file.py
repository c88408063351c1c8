"""Entries as a Parquet file: metadata and places are columns of JSON text, fields of one type have columns besides.

Needs ``penstock[parquet]``. Rows are held for one group at a time, bounded in number and in bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.errors import UsageError

from .entry_row import EntryRow
from .finished_file import whole_file
from .metadata_columns import MetadataColumn, column_values

__all__ = ["write_parquet"]

_BATCH_ROWS = 10_000
_BATCH_BYTES = 16 << 20


def write_parquet(path: str, rows: Iterable[EntryRow], fields: Mapping[str, MetadataColumn]) -> int:
    """Write a file with one row an entry, and return how many there are. `fields` of metadata are columns, too.

    UsageError: the extra is not installed.
    """
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]  # an extra
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "a Parquet file cannot be written",
            why="the library pyarrow is not installed",
            fix="pip install 'penstock[parquet]'",
        ) from error
    text = pa.string()
    columns = {"path": text, "kind": text, "size": pa.int64(), "hash": text, "modified": pa.float64()}
    columns |= {"target": text, "metadata": text, "physical_keys": text}
    kinds = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "string": text}
    columns |= {
        _column(name): pa.list_(kinds[field.kind]) if field.is_list else kinds[field.kind]
        for name, field in fields.items()
    }
    count = 0
    with whole_file(path) as file, parquet.ParquetWriter(file, pa.schema(list(columns.items()))) as writer:
        batch: list[dict[str, Any]] = []
        held = 0

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(batch, schema=writer.schema))
            batch.clear()

        for row in rows:
            metadata, places = (json.dumps(row[name], allow_nan=False) for name in ("metadata", "physical_keys"))
            values = {_column(name): value for name, value in column_values(row["metadata"], fields).items()}
            names = {"path": _utf8(row["path"]), "target": _utf8(row["target"])}
            batch.append({**row, **names, "metadata": metadata, "physical_keys": places, **values})
            held += 2 * len(metadata) + len(places)
            count += 1
            if len(batch) >= _BATCH_ROWS or held >= _BATCH_BYTES:
                flush()
                held = 0
        flush()
    return count


def _column(name: str) -> str:
    return f"metadata.{_utf8(name)}"


def _utf8(name: str) -> str:
    """Escape bytes of a name that are not UTF-8: columns of text hold nothing else."""
    return name.encode("utf-8", "backslashreplace").decode()
