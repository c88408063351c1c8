"""Keys: made, looked up, listed, revoked. A key is ``psk_<id>_<secret>``; only a hash of the secret is kept.

A secret has 256 bits of chance, so that one round of SHA-256 is enough; it is compared in constant time. What is
wrong with a key is told to nobody: unknown, revoked and expired are one answer.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.errors import NotFoundError, UsageError

from .caller import Caller
from .database import Database

__all__ = ["KeyTable", "utc"]

_KEY = re.compile(r"psk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOBODY = b"\0" * 32
_MOST_TITLE = 200


class KeyTable:
    """The keys of a server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        title: str,
        scopes: Iterable[DatasetScope],
        dataset: str = "",
        *,
        lifetime: float | None = None,
        is_admin: bool = False,
    ) -> DatasetAPIKey:
        """Make a key; `lifetime` in seconds, None: until it is revoked. UsageError: it would allow nothing."""
        return self._insert(title, scopes, dataset, lifetime, is_admin, is_master=False)

    def master(self, dataset: str) -> DatasetAPIKey:
        """Make the master key of a dataset, which may read and write; the one before is revoked."""
        return self._insert("", DatasetScope, dataset, None, is_admin=False, is_master=True)

    def _insert(
        self,
        title: str,
        scopes: Iterable[DatasetScope],
        dataset: str,
        lifetime: float | None,
        is_admin: bool,
        *,
        is_master: bool,
    ) -> DatasetAPIKey:
        allowed = sorted({DatasetScope(each) for each in scopes}, key=list(DatasetScope).index)
        if not allowed:
            raise UsageError("a key that allows nothing", fix="Give it a scope: READ, WRITE, or both.")
        if len(title) > _MOST_TITLE:
            raise UsageError(f"a title of {len(title)} characters", why=f"{_MOST_TITLE} are the most")
        if lifetime is not None and not 0 < lifetime < 10**10:
            raise UsageError("the key would never be valid", why=f"it expires in {lifetime:g} seconds")
        name, secret, now = secrets.token_hex(8), secrets.token_urlsafe(32), time.time()
        expires = now + lifetime if lifetime is not None else None
        with self._database.transaction() as connection:
            if is_master:
                connection.execute(
                    "UPDATE api_key SET revoked = ? WHERE dataset = ? AND is_master AND revoked IS NULL", (now, dataset)
                )
            connection.execute(
                "INSERT INTO api_key VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    name,
                    _digest(secret),
                    title,
                    json.dumps([each.value for each in allowed]),
                    dataset,
                    is_admin,
                    is_master,
                    now,
                    expires,
                ),
            )
        return DatasetAPIKey(
            dataset, name, title, allowed, f"psk_{name}_{secret}", utc(expires), utc(now), is_master, is_admin
        )

    def caller(self, key: str) -> Caller | None:
        """Return who has a key; None: nobody has it, or has it any more."""
        parts = _KEY.fullmatch(key)
        rows = self._database.read("SELECT * FROM api_key WHERE id = ?", (parts[1] if parts else "",))
        kept = rows[0]["digest"] if rows else _NOBODY
        is_right = hmac.compare_digest(kept, _digest(parts[2] if parts else ""))
        return _caller(rows[0]) if rows and is_right and _is_valid(rows[0]) else None

    def caller_of_id(self, name: str) -> Caller | None:
        """Return whose key has this id, for a session that was begun with it; None: it is valid no more."""
        rows = self._database.read("SELECT * FROM api_key WHERE id = ?", (name,))
        return _caller(rows[0]) if rows and _is_valid(rows[0]) else None

    def list(self, dataset: str | None = None) -> list[DatasetAPIKey]:
        """Return the keys that are valid, of one dataset, or all."""
        rows = self._database.read(
            "SELECT * FROM api_key WHERE (? IS NULL OR dataset = ?) ORDER BY created, id", (dataset, dataset)
        )
        return [_shown(row) for row in rows if _is_valid(row)]

    def find(self, name: str) -> DatasetAPIKey:
        """Return a valid key by its id. NotFoundError: there is none."""
        rows = self._database.read("SELECT * FROM api_key WHERE id = ?", (name,))
        if not rows or not _is_valid(rows[0]):
            raise NotFoundError(f"no key {name!r}", fix="`penstock key list` shows those that there are.")
        return _shown(rows[0])

    def revoke(self, name: str) -> None:
        """Let a key open nothing from now on. NotFoundError: there is none, or it is revoked already."""
        with self._database.transaction() as connection:
            done = connection.execute(
                "UPDATE api_key SET revoked = ? WHERE id = ? AND revoked IS NULL", (time.time(), name)
            )
            connection.execute("DELETE FROM session WHERE key_id = ?", (name,))
        if not done.rowcount:
            raise NotFoundError(f"no key {name!r}", fix="`penstock key list` shows those that there are.")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _is_valid(row: sqlite3.Row) -> bool:
    return row["revoked"] is None and (row["expires"] is None or time.time() < row["expires"])


def _scopes(row: sqlite3.Row) -> list[DatasetScope]:
    return [DatasetScope(each) for each in json.loads(row["scopes"])]


def _caller(row: sqlite3.Row) -> Caller:
    return Caller(row["id"], row["title"] or row["id"], frozenset(_scopes(row)), row["dataset"], bool(row["is_admin"]))


def _shown(row: sqlite3.Row) -> DatasetAPIKey:
    return DatasetAPIKey(
        row["dataset"],
        row["id"],
        row["title"],
        _scopes(row),
        "",
        utc(row["expires"]),
        utc(row["created"]),
        bool(row["is_master"]),
        bool(row["is_admin"]),
    )


def utc(seconds: float | None) -> dt.datetime | None:
    """Return a time as a value."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds is not None else None
