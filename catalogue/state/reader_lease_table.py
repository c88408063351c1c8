"""Leases that a server has put into buckets for readers who have nothing but a key: whose each is, and until when.

**Invariant:** a reader renews and gives back leases of their own alone, and has a bounded number. Any thread.
"""

from __future__ import annotations

import hashlib
import time

from penstock.errors import ConflictError

from .database import Database

__all__ = ["ReaderLeaseTable"]

_MOST = 1000
"""Leases of one key at a time: one a mount."""


class ReaderLeaseTable:
    """The leases of a server's readers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, owner: str, bucket: str, name: str, seconds: float) -> str:
        """Note a lease that is taken or renewed; return its name in the bucket. ConflictError: there are too many."""
        stored, now = _stored(owner, bucket, name), time.time()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM reader_lease WHERE until < ?", (now,))
            held = "SELECT count(*) FROM reader_lease WHERE owner = ? AND name != ?"
            if connection.execute(held, (owner, stored)).fetchone()[0] >= _MOST:
                raise ConflictError(f"this key holds {_MOST} leases", fix="Unmount what is not needed.")
            connection.execute(
                "INSERT INTO reader_lease VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET until = excluded.until",
                (stored, owner, now + seconds),
            )
        return stored

    def give_back(self, owner: str, bucket: str, name: str) -> str | None:
        """Forget a lease, and return its name in the bucket; None: this owner has none such."""
        stored = _stored(owner, bucket, name)
        with self._database.transaction() as connection:
            done = connection.execute("DELETE FROM reader_lease WHERE name = ? AND owner = ?", (stored, owner))
            return stored if done.rowcount else None


def _stored(owner: str, bucket: str, name: str) -> str:
    """Return the name of a lease in its bucket: nobody else's can be meant by it."""
    return hashlib.sha256(f"{owner}\0{bucket}\0{name}".encode()).hexdigest()[:32]
