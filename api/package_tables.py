"""A version as a table of its entries: one row an entry, written as it is read. One part of `Package`."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from penstock.errors import AccessError, UsageError

from .package_entries import PackageEntries

if TYPE_CHECKING:
    from .entry import Entry

__all__ = ["PackageTables"]

_BATCH_ROWS = 10_000
_BATCH_BYTES = 16 << 20


class PackageTables(PackageEntries):
    """What a `Package` writes of its entries."""

    __slots__ = ()

    def export(
        self, *, jsonl: str | os.PathLike[str] | None = None, parquet: str | os.PathLike[str] | None = None
    ) -> int:
        """Write a file with one row an entry, in tree order, the dataset itself first; return how many there are.

        `jsonl`: lines of JSON. `parquet`: the same, with metadata and places as columns of JSON text, for which there
        is ``penstock[parquet]``; bytes of names that are not UTF-8 are escaped there. Memory does not grow with the
        version. The file is there when it is whole, in place of one that was.

        UsageError: no file, or both; the extra is not installed. AccessError: it cannot be written.

        >>> import penstock
        >>> penstock.open("demo/photos").export(jsonl="photos.jsonl")
        5
        """
        if (jsonl is None) == (parquet is None):
            raise UsageError("name one file to write", fix="Say jsonl=FILE or parquet=FILE.")
        rows = map(_row, chain((self.entry(""),), self))
        if jsonl is not None:
            with _made(os.fspath(jsonl)) as file:
                return sum(1 for row in rows if file.write(json.dumps(row, allow_nan=False).encode() + b"\n"))
        assert parquet is not None
        return _write_parquet(os.fspath(parquet), rows)


def _row(entry: Entry) -> dict[str, Any]:
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


def _write_parquet(path: str, rows: Iterator[dict[str, Any]]) -> int:
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
    count = 0
    with _made(path) as file, parquet.ParquetWriter(file, pa.schema(list(columns.items()))) as writer:
        batch: list[dict[str, Any]] = []
        held = 0

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(batch, schema=writer.schema))
            batch.clear()

        for row in rows:
            for name in ("path", "target"):
                row[name] = row[name].encode("utf-8", "backslashreplace").decode()
            for name in ("metadata", "physical_keys"):
                row[name] = json.dumps(row[name], allow_nan=False)
                held += len(row[name])
            batch.append(row)
            count += 1
            if len(batch) >= _BATCH_ROWS or held >= _BATCH_BYTES:
                flush()
                held = 0
        flush()
    return count


@contextmanager
def _made(path: str) -> Iterator[BinaryIO]:
    """Open a file beside a path, which becomes it at the end of the block, if that ends well."""
    partial = f"{path}.{secrets.token_hex(8)}.partial"
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise AccessError(f"cannot write {path!r}", why=error.strerror or str(error)) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
