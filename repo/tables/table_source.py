"""Tables in files: batches of rows, one after the other, and single rows by their numbers.

    .parquet         columns with types; read by pyarrow, a batch at a time
    .csv, .tsv       a header, and columns of bytes as they stand there; read by pyarrow
    .jsonl, .ndjson  an object in each line; a member is a column of canonical JSON, missing where it is not there

What a file holds comes from anybody: rows of a batch are bounded in number and in bytes, and what does not parse is a
UsageError that names the file. Needs ``penstock[parquet]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec

from penstock.errors import UsageError

__all__ = ["TableSource", "is_table", "open_table"]

_ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
_ROWS = 1 << 17
_BYTES = 64 << 20
_CSV_BLOCK = 8 << 20
_MOST_LINE = 64 << 20
_MOST_COLUMNS = 4096

Opened = Callable[[], BinaryIO]


def is_table(path: str) -> bool:
    """Whether a name ends as those of tables do."""
    return path.lower().endswith(_ENDINGS)


def open_table(path: str, opened: Opened) -> TableSource:
    """Return the table in a file, which `opened` opens whenever it is gone through. UsageError: it does not parse."""
    try:
        import numpy as np  # noqa: F401  # pyright: ignore[reportMissingImports]  # an extra
        import pyarrow as pa  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "rows cannot be compared", why=f"{error.name} is not installed", fix="pip install 'penstock[parquet]'"
        ) from error
    ending = path.lower().rpartition(".")[2]
    kind = {"parquet": _ParquetTable, "csv": _CsvTable, "tsv": _CsvTable}.get(ending, _LinesTable)
    with _parsing(path):
        return kind(path, opened)


@contextmanager
def _parsing(path: str) -> Iterator[None]:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    try:
        yield
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, OSError, MemoryError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{path!r} cannot be read as a table",
            why=" ".join(str(error).split())[:500] or type(error).__name__,
            fix="Compare it without --rows, or mend it.",
        ) from error


class TableSource:
    """One table. `columns` by name: their types, in Arrow's words; empty where each row has its own."""

    def __init__(self, path: str, opened: Opened) -> None:
        self.path = path
        self._opened = opened
        self.columns: dict[str, str] = {}

    @property
    def most_rows(self) -> int:
        """About as many rows as there may be."""
        raise NotImplementedError

    def batches(self) -> Iterator[Any]:
        """Yield the rows as batches of Arrow, in their order. UsageError: it does not parse."""
        with _parsing(self.path):
            yield from self._batches()

    def rows(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return some rows by their numbers, ascending, from 0: values by column, as plain ones."""
        found: dict[int, dict[str, Any]] = {}
        with _parsing(self.path):
            for first, batch in self._batches_with(numbers):
                wanted = [number for number in numbers if first <= number < first + batch.num_rows]
                if wanted:
                    taken = batch.take([number - first for number in wanted]).to_pylist()
                    found.update(zip(wanted, map(self._shown, taken), strict=True))
                if numbers and first + batch.num_rows > numbers[-1]:
                    break
        return found

    def _batches(self) -> Iterator[Any]:
        raise NotImplementedError

    def _batches_with(self, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yield batches that these rows are in, each with the number of its first row; others may come, too."""
        first = 0
        for batch in self._batches():
            yield first, batch
            first += batch.num_rows
            if not numbers or first > numbers[-1]:
                return

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: _plain(value) for name, value in row.items()}

    def _check(self, names: Sequence[str]) -> None:
        if len(names) > _MOST_COLUMNS:
            raise ValueError(f"it has {len(names):,} columns, and may have {_MOST_COLUMNS:,}")
        if len(set(names)) < len(names):
            doubled = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two of its columns are called {doubled!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


class _ParquetTable(TableSource):
    def __init__(self, path: str, opened: Opened) -> None:
        super().__init__(path, opened)
        with self._file() as file:
            schema = file.schema_arrow
            self._check(schema.names)
            self.columns = {field.name: str(field.type) for field in schema}
            self._groups = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
            sizes = [file.metadata.row_group(at).total_byte_size for at in range(len(self._groups))]
        widest = max((size // max(1, rows) for size, rows in zip(sizes, self._groups, strict=True)), default=1)
        self._step = max(1, min(_ROWS, _BYTES // max(1, widest)))

    @contextmanager
    def _file(self) -> Iterator[Any]:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]

        with self._opened() as stream, parquet.ParquetFile(stream, pre_buffer=False) as file:
            yield file

    @property
    def most_rows(self) -> int:
        return sum(self._groups)

    def _batches(self) -> Iterator[Any]:
        with self._file() as file:
            yield from file.iter_batches(batch_size=self._step)

    def _batches_with(self, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        first = 0
        with self._file() as file:
            for at, count in enumerate(self._groups):
                if any(first <= number < first + count for number in numbers):
                    inside = first
                    for batch in file.iter_batches(batch_size=self._step, row_groups=[at]):
                        yield inside, batch
                        inside += batch.num_rows
                first += count


class _CsvTable(TableSource):
    def __init__(self, path: str, opened: Opened) -> None:
        super().__init__(path, opened)
        with opened() as stream:
            self._size = stream.seek(0, 2)
        with self._reader({}) as reader:
            names = reader.schema.names
        self._check(names)
        self.columns = dict.fromkeys(names, "text")

    @contextmanager
    def _reader(self, types: dict[str, Any]) -> Iterator[Any]:
        from pyarrow import csv  # pyright: ignore[reportMissingImports]

        tab = self.path.lower().endswith(".tsv")
        with self._opened() as stream:
            yield csv.open_csv(
                stream,
                read_options=csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False),
                parse_options=csv.ParseOptions(delimiter="\t" if tab else ",", newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=types, strings_can_be_null=False, null_values=[], check_utf8=False
                ),
            )

    @property
    def most_rows(self) -> int:
        return self._size // max(2, 2 * len(self.columns))

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        # As bytes: what is a number to one file is none to the next, and 1.0 is not what 1 was.
        with self._reader(dict.fromkeys(self.columns, pa.binary())) as reader:
            yield from reader


class _LinesTable(TableSource):
    @property
    def most_rows(self) -> int:
        with self._opened() as stream:
            return stream.seek(0, 2) // 8

    def _batches(self) -> Iterator[Any]:
        lines: list[dict[str, Any]] = []
        size = 0
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise ValueError(f"line {number} is no JSON object: {error}") from error
            lines.append(row)
            size += len(line)
            if len(lines) >= _ROWS // 8 or size >= _BYTES // 4:
                yield self._batch(lines)
                lines, size = [], 0
        if lines:
            yield self._batch(lines)

    def _lines(self) -> Iterator[bytes]:
        with self._opened() as stream:
            while line := stream.readline(_MOST_LINE + 1):
                if len(line) > _MOST_LINE:
                    raise ValueError(f"a line has more than {_MOST_LINE:,} bytes")
                yield line

    def _batch(self, lines: list[dict[str, Any]]) -> Any:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        names = list(dict.fromkeys(name for row in lines for name in row))
        if len(names) > _MOST_COLUMNS:
            raise ValueError(f"its objects have {len(names):,} different members, and may have {_MOST_COLUMNS:,}")
        encode = msgspec.json.Encoder(order="sorted").encode
        columns = [
            pa.array([encode(row[name]) if name in row else None for row in lines], pa.large_binary()) for name in names
        ]
        return pa.RecordBatch.from_arrays(columns, names)

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: msgspec.json.decode(value) for name, value in row.items() if value is not None}
