"""Tokens that a server signs: a text and a time until which it is believed. HMAC-SHA256 with a secret of the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

import msgspec

from penstock.errors import AccessError

from .database import Database

__all__ = ["SigningSecret"]


class SigningSecret:
    """Signs, and checks what was signed. Tokens are text that fits in a URL."""

    def __init__(self, database: Database) -> None:
        with database.transaction() as connection:
            connection.execute(
                "INSERT INTO secret VALUES ('signing', ?) ON CONFLICT DO NOTHING", (secrets.token_bytes(32),)
            )
            self._secret: bytes = connection.execute("SELECT value FROM secret WHERE name = 'signing'").fetchone()[0]

    def sign(self, purpose: str, said: tuple[str, ...], seconds: float) -> str:
        """Return a token that says these texts for so many seconds."""
        body = msgspec.json.encode([purpose, list(said), time.time() + seconds])
        return _text(body + self._mac(body))

    def check(self, purpose: str, token: str) -> tuple[str, ...]:
        """Return the texts of a token. AccessError: it is not this server's, for something else, or too old."""
        try:
            whole = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            whole = b""
        body, mac = whole[:-32], whole[-32:]
        if hmac.compare_digest(self._mac(body), mac):
            kind, said, until = msgspec.json.decode(body, type=tuple[str, tuple[str, ...], float])
            if kind == purpose and time.time() < until:
                return said
        raise AccessError("this address is valid no more", fix="Ask for a new one.")

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, hashlib.sha256)


def _text(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode("ascii")
