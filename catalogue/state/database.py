"""The SQLite file of a server: connections, transactions, and the steps from one schema to the next.

One file for all processes of a server, in write-ahead mode. Any thread: each has a connection of its own.

**Invariant:** a schema step is applied once, whole, and never edited after it was released: a change is a new step.
**Invariant:** what is written within `transaction` is there whole, or not at all, whatever dies.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import AccessError, FormatTooNewError
from penstock.repo.settings.user_folders import make_user_folder

__all__ = ["Database", "open_database"]

_WAIT = 20.0
"""Seconds for which a writer waits for another."""

_STEPS = (
    """
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE api_key (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, title TEXT NOT NULL, scopes TEXT NOT NULL, dataset TEXT NOT NULL,
        is_admin INTEGER NOT NULL, is_master INTEGER NOT NULL, created REAL NOT NULL, expires REAL, revoked REAL
    );
    CREATE INDEX api_key_dataset ON api_key (dataset);
    CREATE TABLE ssh_key (
        fingerprint TEXT PRIMARY KEY, public TEXT NOT NULL, title TEXT NOT NULL, scopes TEXT NOT NULL,
        dataset TEXT NOT NULL, is_admin INTEGER NOT NULL, created REAL NOT NULL, revoked REAL
    );
    CREATE TABLE nonce (value TEXT PRIMARY KEY, until REAL NOT NULL);
    CREATE INDEX nonce_until ON nonce (until);
    CREATE TABLE session (
        digest BLOB PRIMARY KEY, key_id TEXT NOT NULL, csrf TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL
    );
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, owner TEXT NOT NULL, dataset TEXT NOT NULL,
        request BLOB NOT NULL, status TEXT NOT NULL, progress REAL NOT NULL, result BLOB, error TEXT NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL, holder TEXT, lease_until REAL, attempts INTEGER NOT NULL,
        cancelled INTEGER NOT NULL
    );
    CREATE INDEX job_status ON job (status, id);
    CREATE TABLE upload (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, dataset TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
        created REAL NOT NULL
    );
    CREATE TABLE grant_range (
        dataset TEXT NOT NULL, object TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
        PRIMARY KEY (dataset, object, start)
    ) WITHOUT ROWID;
    CREATE TABLE grant_node (
        dataset TEXT NOT NULL, object TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, ref BLOB NOT NULL,
        is_open INTEGER NOT NULL, PRIMARY KEY (dataset, object, start)
    ) WITHOUT ROWID;
    CREATE INDEX grant_node_closed ON grant_node (dataset) WHERE NOT is_open;
    CREATE TABLE grant_version (
        dataset TEXT NOT NULL, top_hash BLOB NOT NULL, PRIMARY KEY (dataset, top_hash)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE job ADD COLUMN once TEXT NOT NULL DEFAULT '';
    CREATE UNIQUE INDEX job_once ON job (owner, once) WHERE once != '';
    ALTER TABLE upload ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
    CREATE INDEX upload_owner ON upload (owner, created);
    CREATE TABLE reader_lease (
        name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX reader_lease_owner ON reader_lease (owner, until);
    """,
)


class Database:
    """The file at `path`, made if it is not there."""

    def __init__(self, path: str) -> None:
        """Open it, and bring its schema up to date. FormatTooNewError: a later Penstock wrote it."""
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._migrate()

    def _migrate(self) -> None:
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(_STEPS):
                raise FormatTooNewError(
                    f"{self.path} was written by a later Penstock",
                    why=f"its schema is number {version}, and this one knows {len(_STEPS)}",
                    fix="Upgrade Penstock, or name another folder with --state.",
                )
            for number in range(version, len(_STEPS)):
                for statement in filter(str.strip, _STEPS[number].split(";")):
                    connection.execute(statement)
            if version < len(_STEPS):
                connection.execute(f"PRAGMA user_version = {len(_STEPS)}")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                _make_file(self.path)
                connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            except (OSError, sqlite3.Error) as error:
                raise AccessError(
                    f"{self.path} cannot be used", why=str(error), fix="Name a folder of yours with --state."
                ) from error
            connection.row_factory = sqlite3.Row
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that may write; what was written stays when the block ends without an error."""
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # some errors have ended it already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise AccessError(f"{self.path} cannot be used", why=str(error), fix="Check its disk.") from error

    def read(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows that a statement finds."""
        try:
            return self._connection().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise AccessError(f"{self.path} cannot be used", why=str(error), fix="Check its disk.") from error

    def close(self) -> None:
        """Close the connections of all threads, none of which uses it any more."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()


def _make_file(path: str) -> None:
    """Make the file, for its owner alone, if it is not there. AccessError: it is something else.

    One that is there is not opened: to close it again would take away the locks that other connections of this process
    have on it, as POSIX has it, and another process would then delete the log that they write to.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
            raise AccessError(f"{path} is no file", fix="Name a folder of yours with --state.") from None


def open_database(folder: str | None = None) -> Database:
    """Open the state of a server in a folder, by default the user's own. AccessError: it cannot be used."""
    if folder is None:
        folder = make_user_folder("state", "catalogue")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise AccessError(f"{folder} cannot be made", why=str(error), fix="Name another folder: --state.") from error
    return Database(os.path.join(folder, "catalogue.sqlite"))
