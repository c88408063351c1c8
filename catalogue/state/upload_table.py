"""Files that users send in pieces: what was received lies beside the server's state, and what is known of it here.

A file is one upload for as long as its owner, data set, name, size and hash are the same: who was cut off begins again,
and goes on. What nobody used for a day is deleted.

**Invariant:** pieces come one behind the other, and only as many bytes as were announced. Any thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable

import msgspec

from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError

from .database import Database

__all__ = ["ReceivedFile", "UploadTable"]

_MOST_FILE = 256 << 30
_MOST_OPEN = 10_000
_KEPT = 86400.0
_READ = 4 << 20
_HASH = re.compile("[0-9a-f]{64}")


class ReceivedFile(msgspec.Struct, frozen=True):
    """A file that is being received, or was. `size` in bytes, `sha256` in hex, as they were announced."""

    id: str
    owner: str
    dataset: str
    name: str
    size: int
    sha256: str
    path: str


class UploadTable:
    """The uploads of a server. `most_bytes`: of all uploads of one owner together."""

    def __init__(self, database: Database, *, most_bytes: int = 512 << 30) -> None:
        self._database = database
        self._folder = os.path.join(os.path.dirname(os.path.abspath(database.path)), "uploads")
        self._most_bytes = most_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def begin(self, owner: str, dataset: str, name: str, size: int, sha256: str) -> tuple[ReceivedFile, int]:
        """Return an upload, and how many bytes of it are here. UsageError: it is too large, or is none."""
        if not 0 <= size <= _MOST_FILE:
            raise UsageError(f"a file of {size} bytes", why=f"{_MOST_FILE} are the most")
        if not name or "/" in name or "\0" in name or len(name) > 255 or name in (".", ".."):
            raise UsageError(f"{name[:100]!r} is no name of a file", fix="Give its last part alone.")
        if not _HASH.fullmatch(sha256):
            raise UsageError("the SHA-256 of the file is missing", fix="Send it as 64 hex digits.")
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._prune()
        with self._database.transaction() as connection:
            known = connection.execute(
                "SELECT id FROM upload WHERE owner = ? AND dataset = ? AND name = ? AND size = ? AND sha256 = ?",
                (owner, dataset, name, size, sha256),
            ).fetchone()
            if known is None:
                count, total = connection.execute(
                    "SELECT count(*), coalesce(sum(size), 0) FROM upload WHERE owner = ?", (owner,)
                ).fetchone()
                if count >= _MOST_OPEN or total + size > self._most_bytes:
                    raise ConflictError("too much was sent and not used", fix="Commit or discard what was sent before.")
                name_ = secrets.token_hex(16)
                connection.execute(
                    "INSERT INTO upload (id, owner, dataset, name, size, created, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (name_, owner, dataset, name, size, time.time(), sha256),
                )
            else:
                name_ = known[0]
        found = self.find(name_, owner)
        return found, self.received(found)

    def find(self, name: str, owner: str) -> ReceivedFile:
        """Return an upload of an owner. NotFoundError: there is none, or it is somebody else's."""
        rows = self._database.read("SELECT * FROM upload WHERE id = ? AND owner = ?", (name, owner))
        if not rows:
            raise NotFoundError(f"no upload {name[:100]!r}", fix="Begin it again.")
        row = rows[0]
        path = os.path.join(self._folder, row["id"])
        return ReceivedFile(row["id"], row["owner"], row["dataset"], row["name"], row["size"], row["sha256"], path)

    def received(self, upload: ReceivedFile) -> int:
        """Return how many bytes are here."""
        try:
            return os.stat(upload.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def append(self, upload: ReceivedFile, offset: int, body: bytes) -> int:
        """Take a piece, and return how many bytes are here now. ConflictError: it does not go on where they end.

        A piece that is here already changes nothing. UsageError: it goes beyond what was announced.
        """
        if offset < 0 or offset + len(body) > upload.size:
            raise UsageError("this piece goes beyond the file", why=f"the file has {upload.size} bytes")
        with self._lock:
            lock = self._locks.setdefault(upload.id, threading.Lock())
        with lock:
            here = self.received(upload)
            if offset + len(body) <= here:
                return here  # its answer was lost
            if offset != here:
                raise ConflictError(
                    f"this piece begins at {offset}, and {here} bytes are here", fix=f"Go on at {here}."
                )
            descriptor = os.open(upload.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                view = memoryview(body)
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
            return here + len(body)

    def check(self, upload: ReceivedFile, advance: Callable[[int], None]) -> None:
        """Raise ConflictError if it is not complete, IntegrityError if it is another file than was announced."""
        if self.received(upload) != upload.size:
            raise ConflictError(f"{upload.name!r} is not complete", fix="Send what is missing.")
        digest = hashlib.sha256()
        if upload.size:
            with open(upload.path, "rb") as stream:
                while part := stream.read(_READ):
                    digest.update(part)
                    advance(len(part))
        else:
            with open(upload.path, "wb"):
                pass
        if digest.hexdigest() != upload.sha256:
            self.remove(upload)
            raise IntegrityError(
                f"{upload.name!r} arrived damaged", why="its SHA-256 is another one", fix="Send it again."
            )

    def remove(self, upload: ReceivedFile) -> None:
        """Forget an upload, and delete what was received."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM upload WHERE id = ?", (upload.id,))
        with self._lock:
            self._locks.pop(upload.id, None)
        if os.path.lexists(upload.path):
            os.unlink(upload.path)

    def _prune(self) -> None:
        """Delete what nobody used for a day: no piece of it came, and no job needs it."""
        old = self._database.read("SELECT id, owner FROM upload WHERE created < ?", (time.time() - _KEPT,))
        for row in old:
            found = self.find(row["id"], row["owner"])
            try:
                changed = os.stat(found.path, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                changed = 0.0
            if changed < time.time() - _KEPT:
                self.remove(found)
