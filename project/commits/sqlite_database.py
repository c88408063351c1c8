"""``dataset.sqlite``: a table for each dataset, a row for each record, made of what versions say. Plain SQLite.

Columns are as declared: files are paths relative to the database, moments are ISO 8601, enumerations their values, JSON
is text. What two versions differ in is changed, in one transaction; another table is made when columns have changed.
Equal versions give equal rows in equal order: tables are ordered by id.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

from penstock.errors import AccessError, ConflictError, IntegrityError
from penstock.project.declared.declaration import FieldKind
from penstock.project.records.data_record import DataRecord, file_name
from penstock.project.records.dataset_schema import Schema, SchemaField
from penstock.project.records.versions import Version, record_changes

__all__ = ["DATABASE", "is_alike", "is_ours", "update_database"]

DATABASE = "dataset.sqlite"
_PATIENCE = 5.0
_MARK = 0x50454E44
"""`PRAGMA application_id` of a database that we have made."""
_TYPES = {
    FieldKind.FILE: "TEXT",
    FieldKind.STR: "TEXT",
    FieldKind.INT: "INTEGER",
    FieldKind.FLOAT: "REAL",
    FieldKind.BOOL: "BOOLEAN",
    FieldKind.DATETIME: "TIMESTAMP",
    FieldKind.ENUM: "TEXT",
    FieldKind.JSON: "TEXT",
}


def is_ours(path: str) -> bool:
    """Whether there is no file, or one that we have made."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(100)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not head or int.from_bytes(head[68:72], "big") == _MARK


def update_database(
    path: str,
    before: Mapping[str, Version] | None,
    now: Mapping[str, Version],
    *,
    anew: bool = False,
    ready: str | None = None,
) -> None:
    """Bring a database from some versions to others, by the names of datasets; with none left, remove it.

    `anew`: whatever it holds is made again. `ready`: a database of `now`, which is copied where all would be made.

    ConflictError: somebody else's file is there, or a program holds it.
    """
    if not is_ours(path):
        raise ConflictError(
            f"{path} is there already",
            why="it is no database that was made of a dataset",
            fix="Move it away, then: git datasets checkout",
        )
    try:
        if not now:
            _remove(path)
            return
        if anew or before is None or not os.path.exists(path):
            _remove(path)
            before = {}
        with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=OFF")
            if ready is not None and not all(is_alike(before.get(name), version) for name, version in now.items()):
                _copy(ready, database)
                return
            database.execute(f"PRAGMA application_id={_MARK}")
            database.execute("BEGIN IMMEDIATE")
            for name in sorted(before.keys() - now.keys()):
                database.execute(f"DROP TABLE IF EXISTS {_quoted(before[name].schema.table)}")
            for name, version in now.items():
                _update_table(database, before.get(name), version)
            database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise ConflictError(
            f"{path} cannot be changed",
            why=str(error),
            fix="End the program that has it open, then: git datasets checkout",
        ) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(
            f"{path} is damaged", why=str(error), fix="git datasets checkout makes it anew."
        ) from error
    except OSError as error:
        raise AccessError(f"{path} cannot be changed", why=error.strerror or str(error)) from error


def _remove(path: str) -> None:
    for each in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        try:
            os.unlink(each)
        except FileNotFoundError:
            continue


def is_alike(before: Version | None, now: Version) -> bool:
    """Whether two versions have one table, whose rows alone differ."""
    return before is not None and (before.schema.table, before.schema.fields) == (now.schema.table, now.schema.fields)


def _copy(ready: str, database: sqlite3.Connection) -> None:
    """Copy a database over another one, page by page. sqlite3.OperationalError: a program holds that."""
    until = time.monotonic() + _PATIENCE

    def watch(status: int, _left: int, _all: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise sqlite3.OperationalError("database is locked")

    with closing(sqlite3.connect(f"file:{quote(ready)}?immutable=1", uri=True)) as source:
        source.backup(database, pages=4096, progress=watch)


def _update_table(database: sqlite3.Connection, before: Version | None, now: Version) -> None:
    schema = now.schema
    table = _quoted(schema.table)
    if before is None or not is_alike(before, now):
        if before is not None:
            database.execute(f"DROP TABLE IF EXISTS {_quoted(before.schema.table)}")
        database.execute(f"DROP TABLE IF EXISTS {table}")
        columns = ", ".join(f"{_quoted(each.name)} {_type(each)}" for each in schema.fields)
        database.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY NOT NULL, {columns}) WITHOUT ROWID")
        database.executemany(_insert(schema), (_row(schema, *each) for each in now.records()))
        return
    database.executemany(_insert(schema), _changed(database, table, schema, before, now))


def _changed(
    database: sqlite3.Connection, table: str, schema: Schema, before: Version, now: Version
) -> Iterator[tuple[Any, ...]]:
    for change in record_changes(before, now):
        if change.new is None:
            database.execute(f"DELETE FROM {table} WHERE id = ?", (change.id,))  # noqa: S608  # a quoted name
        else:
            yield _row(schema, change.id, change.new)


def _insert(schema: Schema) -> str:
    marks = ", ".join("?" * (1 + len(schema.fields)))
    return f"INSERT OR REPLACE INTO {_quoted(schema.table)} VALUES ({marks})"  # noqa: S608  # a quoted name


def _row(schema: Schema, identity: str, record: DataRecord) -> tuple[Any, ...]:
    return (identity, *(_cell(identity, each, record) for each in schema.fields))


def _cell(identity: str, field: SchemaField, record: DataRecord) -> Any:
    if field.is_file:
        value = record.files.get(field.name)
        return f"{field.name}/{file_name(identity, value)}" if value is not None else None
    found = record.values.get(field.name)
    if field.kind is FieldKind.JSON and found is not None:
        return json.dumps(found, ensure_ascii=False, sort_keys=True)
    return found


def _type(field: SchemaField) -> str:
    if field.kind is FieldKind.ENUM and all(isinstance(each, int) for each in field.choices):
        return "INTEGER"
    return _TYPES[field.kind]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
