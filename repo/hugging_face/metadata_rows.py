"""What metadata files say of the files beside them: ``metadata.csv``, ``metadata.jsonl``, ``metadata.parquet``.

A row is of the file that its column ``file_name`` names, relative to the folder of the metadata file, or of each that a
column ``…_file_name`` or a list ``…_file_names`` does. (https://huggingface.co/docs/datasets/image_dataset) Rows are
read one after the other, however many there are.
"""

from __future__ import annotations

import csv
import json
import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.errors import UsageError
from penstock.manifest.entry import MAX_METADATA

__all__ = ["METADATA_FILES", "file_rows"]

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def file_rows(key: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key of a file, and what a row of the metadata file says of it.

    UsageError: a row is malformed, or names no file or one outside of the folder; the extra for Parquet is missing.
    """
    kind = os.path.basename(path) if os.path.basename(path) in METADATA_FILES else posixpath.basename(key)
    rows = {"metadata.csv": _csv_rows, "metadata.jsonl": _json_rows, "metadata.parquet": _parquet_rows}[kind](path, key)
    folder = posixpath.dirname(key)
    for number, row in enumerate(rows, 1):
        names: list[str] = []
        for column, value in row.items():
            if column == "file_name" or column.endswith("_file_name"):
                names += [value] if value else []
            elif column == "file_names" or column.endswith("_file_names"):
                names += value or []
        if not names or not all(isinstance(name, str) for name in names):
            raise _bad(key, number, "it names no file: there is no text in a column file_name or …_file_name")
        said = {
            column: value
            for column, value in row.items()
            if value is not None and not column.endswith(("file_name", "file_names"))
        }
        for name in names:
            where = posixpath.normpath(posixpath.join(folder, name))
            if name.startswith("/") or where.startswith("../") or where in ("..", "."):
                raise _bad(key, number, f"{name!r} leads out of the data set")
            yield where, said


def _csv_rows(path: str, key: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        number = 0
        try:
            for row in reader:
                number += 1
                if None in row or None in row.values():
                    raise _bad(key, number, "it has more or fewer columns than the first line")
                yield {
                    column: text if column.endswith("file_name") else _number(text)
                    for column, text in row.items()
                    if text
                }
        except (csv.Error, UnicodeDecodeError) as error:
            raise _bad(key, number + 1, str(error)) from error


def _number(text: str) -> Any:
    """Return a number that is written as one, else the text: ``007`` is a name."""
    if text in ("true", "True"):
        return True
    if text in ("false", "False"):
        return False
    try:
        found = int(text)
        return found if str(found) == text and abs(found) < 1 << 63 else text
    except ValueError:
        pass
    try:
        real = float(text)
    except ValueError:
        return text
    return real if math.isfinite(real) and text[0] in "-.0123456789" and "_" not in text else text


def _json_rows(path: str, key: str) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_METADATA + 1):
            number += 1
            if not line.strip():
                continue
            if len(line) > MAX_METADATA:
                raise _bad(key, number, f"it has more than {MAX_METADATA} bytes")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _bad(key, number, str(error)) from error
            if not isinstance(row, dict):
                raise _bad(key, number, "it is no object")
            yield row


def _parquet_rows(path: str, key: str) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]  # an extra
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            f"{key!r} cannot be read", why="that takes pyarrow", fix="pip install 'penstock[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UsageError(f"{key!r} cannot be read", why=str(error), fix="Mend the file.") from error


def _bad(key: str, number: int, why: str) -> UsageError:
    return UsageError(f"row {number} of {key!r} cannot be metadata", why=why, fix="Mend the file, and run it again.")
