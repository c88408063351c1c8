"""Rows of versions in SQLite beside the cache: so that a hundred thousand are filtered without reading the version.

It is made of the version's metadata, and can be deleted at any time. One file a dataset holds the rows of the version
that was asked for last; another version is reached by what differs. Blocking, thread-safe; other processes wait.

What is filtered and sorted by stands in a narrow table of its own, which is gone through in some 20 ms; what is not
known of a row is 0 there. All else of a row is read of those alone that are shown.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import msgspec

from penstock.catalogue.orm.dataset import DataRow, DataType, StorageLocation
from penstock.errors import AccessError, NotFoundError, UsageError

from .row_metadata import StoredRow, row_of

__all__ = ["ROW_SORTS", "IndexedRow", "RowFilter", "RowIndex"]

ROW_SORTS = ("path", "title", "created", "size", "width", "duration")
_SCHEMA = 4
_NUMBERS = frozenset({"size", "width", "duration"})
_MOST = 1000
_WHOLE = "SELECT row.path, row.size, body.content_hash, body.stored FROM row JOIN body ON body.path = row.path"
_FIRST = """
CREATE TABLE about (top_hash TEXT NOT NULL);
CREATE TABLE row (
    path TEXT PRIMARY KEY, uid TEXT NOT NULL, type TEXT NOT NULL, title TEXT NOT NULL, created TEXT NOT NULL,
    size INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, duration REAL NOT NULL, source TEXT
) WITHOUT ROWID;
CREATE TABLE body (path TEXT PRIMARY KEY, content_hash TEXT NOT NULL, stored BLOB NOT NULL) WITHOUT ROWID;
"""
_INDEXES = {
    "row_source": "row (source) WHERE source IS NOT NULL",
    "row_uid": "row (uid)",
    **{f"row_{each}": f"row ({each}, path)" for each in ROW_SORTS if each != "path"},
}


@dataclass(frozen=True, slots=True)
class IndexedRow:
    """A row, and what its entry says."""

    path: str
    size: int
    content_hash: str
    stored: StoredRow


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What has to hold of a row; None: anything. ``%`` and ``_`` in `title_like` stand for text and a letter."""

    data_type: DataType | None = None
    title_like: str | None = None
    title_eq: str | None = None
    min_width: int | None = None
    min_height: int | None = None
    min_duration: float | None = None
    below: str | None = None

    def condition(self) -> tuple[str, list[object]]:
        """Return it as SQL with its values.

        Bounds are held against all rows (``+``): an index would lead to half of them, one by one.
        """
        parts: list[tuple[str, object]] = [
            ("type = ?", self.data_type.value if self.data_type is not None else None),
            ("title LIKE ? ESCAPE '\\'", self.title_like),
            ("title = ?", self.title_eq),
            ("+width >= ?", self.min_width),
            ("+height >= ?", self.min_height),
            ("+duration >= ?", self.min_duration),
            ("path >= ?", f"{self.below.rstrip('/')}/" if self.below else None),
            ("path < ?", f"{self.below.rstrip('/')}0" if self.below else None),
        ]
        said = [(text, value) for text, value in parts if value is not None]
        return " AND ".join(text for text, _ in said) or "TRUE", [value for _, value in said]


class RowIndex:
    """The rows of one dataset, in a file that is made when it is missing."""

    def __init__(self, path: str, storage: StorageLocation) -> None:
        self._path = path
        self._storage = storage

    def _open(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # it can be made again
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError):  # somebody else is at it for long, or the disk is full
                raise AccessError(f"{self._path} cannot be used", why=str(error), fix="Try again.") from error
            os.unlink(self._path)  # torn by a crash
            return self._open()
        if version != _SCHEMA:
            connection.execute("BEGIN IMMEDIATE")
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                connection.execute(f'DROP TABLE "{name}"')
            for statement in filter(str.strip, _FIRST.split(";")):
                connection.execute(statement)
            _make_indexes(connection)
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            connection.execute("COMMIT")
        return connection

    def top_hash(self) -> str | None:
        """Return the version whose rows are here; None: of none."""
        with closing(self._open()) as connection:
            found = connection.execute("SELECT top_hash FROM about").fetchone()
            return found[0] if found else None

    def replace(self, before: str | None, top_hash: str, gone: Iterable[str], rows: Iterable[IndexedRow]) -> bool:
        """Hold the rows of another version: without those at paths that are gone, and with others.

        `before` None: with these alone. False: somebody else has changed it since, and nothing was done.
        """
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT top_hash FROM about").fetchone()
            if before is not None and (found is None or found[0] != before):
                connection.execute("ROLLBACK")
                return False
            if before is None:
                connection.execute("DELETE FROM row")
                connection.execute("DELETE FROM body")
                for name in _INDEXES:  # to make them of all rows at once takes a third of the time
                    connection.execute(f"DROP INDEX {name}")
            for path in gone:
                connection.execute("DELETE FROM row WHERE path = ?", (path,))
                connection.execute("DELETE FROM body WHERE path = ?", (path,))
            for row in rows:
                connection.execute("INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(row))
                body = msgspec.msgpack.encode(row.stored)
                connection.execute("INSERT OR REPLACE INTO body VALUES (?, ?, ?)", (row.path, row.content_hash, body))
            if before is None:
                _make_indexes(connection)
            connection.execute("DELETE FROM about")
            connection.execute("INSERT INTO about VALUES (?)", (top_hash,))
            connection.execute("COMMIT")
            return True

    def find(self, uids: Iterable[str]) -> dict[str, DataRow]:
        """Return rows by their names; those that there are not are left out."""
        found = {}
        with closing(self._open()) as connection:
            for uid in uids:
                row = connection.execute(f"{_WHOLE} WHERE row.uid = ?", (uid,)).fetchone()
                if row is not None:
                    found[uid] = self._row(row)
        return found

    def find_sources(self, sources: Iterable[str]) -> dict[str, str]:
        """Return the names of rows by the addresses where they were registered; without those that there are not."""
        found = {}
        with closing(self._open()) as connection:
            for source in sources:
                row = connection.execute("SELECT uid FROM row WHERE source = ?", (source,)).fetchone()
                if row is not None:
                    found[source] = str(row[0])
        return found

    def require(self, uid: str) -> DataRow:
        """Return a row by its name. NotFoundError: there is none."""
        found = self.find([uid])
        if uid not in found:
            raise NotFoundError(f"no data row {uid[:100]!r}", fix="`penstock rows` lists those that there are.")
        return found[uid]

    def page(
        self, wanted: RowFilter, sort: str, limit: int, after: tuple[str, str] | None
    ) -> tuple[list[DataRow], int, tuple[str, str] | None]:
        """Return rows, how many fit in all, and where the next page begins; `after` is where the one before ended.

        `sort` is one of `ROW_SORTS`, with a ``-`` before it from the largest on. UsageError: there is no such order.
        """
        column, is_down = sort.removeprefix("-"), sort.startswith("-")
        if column not in ROW_SORTS:
            raise UsageError(f"rows cannot be sorted by {column!r}", fix=f"By one of {', '.join(ROW_SORTS)}.")
        if not 0 < limit <= _MOST:
            raise UsageError(f"a page of {limit}", fix=f"1 to {_MOST}.")
        where, values = wanted.condition()
        turn = "<" if is_down else ">"
        more, last = "", []
        if after is not None:
            more = f" AND ({'' if where == 'TRUE' else '+'}{column}, path) {turn} (?, ?)"
            last = [_number(after[0]) if column in _NUMBERS else after[0], after[1]]
        # By an index only where all of it fits: else each row would be looked up that the index leads to.
        by = column if where == "TRUE" else f"+{column}"
        order = f"ORDER BY {by} {'DESC' if is_down else 'ASC'}, path {'DESC' if is_down else 'ASC'}"
        with closing(self._open()) as connection:
            total = connection.execute(f"SELECT count(*) FROM row WHERE {where}", values).fetchone()[0]  # noqa: S608  # no value
            places = connection.execute(
                f"SELECT {column}, path FROM row WHERE {where}{more} {order} LIMIT ?",  # noqa: S608  # no value
                (*values, *last, limit + 1),
            ).fetchall()
            found = [
                connection.execute(f"{_WHOLE} WHERE row.path = ?", (path,)).fetchone() for _, path in places[:limit]
            ]
        shown = [self._row(row) for row in found]
        end = (str(places[limit - 1][0]), str(places[limit - 1][1])) if len(places) > limit else None
        return shown, total, end

    def _row(self, row: tuple[object, ...]) -> DataRow:
        path, size, content_hash, body = row
        assert isinstance(body, bytes)
        stored = msgspec.msgpack.decode(body, type=StoredRow)
        return row_of(stored, str(path), int(str(size)), str(content_hash), self._storage)


def _make_indexes(connection: sqlite3.Connection) -> None:
    for name, columns in _INDEXES.items():
        connection.execute(f"CREATE INDEX {name} ON {columns}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError("this is no cursor of this list", fix="Give back the one of the page before.") from error


def _values(row: IndexedRow) -> tuple[object, ...]:
    stored = row.stored
    return (
        row.path,
        stored.uid,
        stored.type.value,
        stored.title,
        stored.created,
        row.size,
        stored.width or 0,
        stored.height or 0,
        stored.duration or 0.0,
        stored.source,
    )
