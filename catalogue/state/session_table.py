"""Sessions of browsers: begun with a key, or trusted; each has a token that forms have to bring along.

The cookie is a random value of which only a hash is kept. A session ends after a day, when its key does, or when
somebody signs out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from .caller import TRUSTED, Caller
from .database import Database
from .key_table import KeyTable

__all__ = ["Session", "SessionTable"]

_LIFETIME = 86400.0


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's. `csrf` has to come with every request that changes something."""

    caller: Caller
    csrf: str

    def is_own(self, token: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))


class SessionTable:
    """The sessions of a server."""

    def __init__(self, database: Database, keys: KeyTable) -> None:
        self._database = database
        self._keys = keys

    def begin(self, caller: Caller) -> tuple[str, Session]:
        """Begin a session; the first value is its cookie."""
        cookie, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(24), time.time()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM session WHERE expires < ?", (now,))
            connection.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?)", (_digest(cookie), caller.name, csrf, now, now + _LIFETIME)
            )
        return cookie, Session(caller, csrf)

    def find(self, cookie: str, *, trusted: bool) -> Session | None:
        """Return the session of a cookie; None: there is none any more. `trusted`: one without a key may be used."""
        rows = self._database.read("SELECT * FROM session WHERE digest = ?", (_digest(cookie),))
        if not rows or rows[0]["expires"] < time.time():
            return None
        if rows[0]["key_id"] == TRUSTED.name:
            return Session(TRUSTED, rows[0]["csrf"]) if trusted else None
        caller = self._keys.caller_of_id(rows[0]["key_id"])
        return Session(caller, rows[0]["csrf"]) if caller is not None else None

    def end(self, cookie: str) -> None:
        """End a session."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM session WHERE digest = ?", (_digest(cookie),))


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
