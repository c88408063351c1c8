"""Requests that are signed with an SSH key: nothing secret travels, and none can be sent a second time.

What is signed: method, path with its query, time, a random text, and the hash of the body. A request is believed for
five minutes, once. Public keys are registered by an admin; ed25519 and RSA of 2048 bits or more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.errors import NotFoundError, UsageError

from .caller import Caller
from .database import Database

__all__ = ["SIGNED", "SshKeyTable", "SshSigner", "signer_of"]

SIGNED = "Penstock-SSH"
_WINDOW = 300.0
_RSA_BITS = 2048
_PublicKey = ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def _message(method: str, target: str, when: str, nonce: str, digest: str) -> bytes:
    return f"penstock request\n{method}\n{target}\n{when}\n{nonce}\n{digest}".encode()


def _fingerprint(public: str) -> str:
    blob = base64.b64decode(public.split()[1], validate=True)
    return base64.urlsafe_b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()


def _load_public(public: str) -> _PublicKey:
    try:
        found = load_ssh_public_key(public.encode())
        _fingerprint(public)
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise UsageError(
            "this is no public key of SSH", why=str(error), fix="Give what is in id_ed25519.pub."
        ) from error
    if isinstance(found, rsa.RSAPublicKey) and found.key_size >= _RSA_BITS:
        return found
    if isinstance(found, ed25519.Ed25519PublicKey):
        return found
    raise UsageError("a key of this kind is not taken", fix="Make one: ssh-keygen -t ed25519")


class SshSigner:
    """Signs requests with a private key, given as the text of its file."""

    def __init__(self, private: str, password: str | None = None) -> None:
        """Read the key. UsageError: it is none, or needs another password."""
        try:
            key = load_ssh_private_key(private.encode(), password.encode() if password is not None else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UsageError("this is no private key of SSH", why=str(error), fix="ssh-keygen -t ed25519") from error
        if not isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
            raise UsageError("a key of this kind is not taken", fix="Make one: ssh-keygen -t ed25519")
        self._key = key
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._name = _fingerprint(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())

    def header(self, method: str, target: str, body: bytes, *, nonce: str, now: float) -> str:
        """Return the value of `Authorization` for a request."""
        when = f"{now:.3f}"
        message = _message(method, target, when, nonce, hashlib.sha256(body).hexdigest())
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            signature = self._key.sign(message)
        else:
            signature = self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return f"{SIGNED} {self._name}:{when}:{nonce}:{base64.urlsafe_b64encode(signature).decode()}"


class SshKeyTable:
    """The public keys that are registered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, public: str, title: str, scopes: list[DatasetScope], dataset: str = "", *, is_admin: bool = False
    ) -> str:
        """Let whoever has the private key use the server; return its fingerprint. UsageError: it is no such key."""
        _load_public(public)
        name = _fingerprint(public)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO ssh_key VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (name, public, title, json.dumps([each.value for each in scopes]), dataset, is_admin, time.time()),
            )
        return name

    def revoke(self, fingerprint: str) -> None:
        """Forget a key. NotFoundError: there is none."""
        with self._database.transaction() as connection:
            if not connection.execute("DELETE FROM ssh_key WHERE fingerprint = ?", (fingerprint,)).rowcount:
                raise NotFoundError(f"no SSH key {fingerprint!r}")


def signer_of(database: Database, said: str, method: str, target: str, digest: str) -> Caller | None:
    """Return who signed a request; None: nobody who may, or it was seen before."""
    parts = said.strip().split(":")
    if len(parts) != 4 or len(said) > 4096:
        return None
    name, when, nonce, signature = parts
    rows = database.read("SELECT * FROM ssh_key WHERE fingerprint = ? AND revoked IS NULL", (name,))
    now = time.time()
    try:
        is_fresh = abs(now - float(when)) < _WINDOW and 16 <= len(nonce) <= 64
        raw = base64.urlsafe_b64decode(signature)
    except ValueError:
        return None
    if not rows or not is_fresh:
        return None
    public = _load_public(rows[0]["public"])
    message = _message(method, target, when, nonce, digest)
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(raw, message)
        else:
            public.verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return None
    with database.transaction() as connection:
        connection.execute("DELETE FROM nonce WHERE until < ?", (now,))
        seen = connection.execute(
            "INSERT INTO nonce VALUES (?, ?) ON CONFLICT DO NOTHING", (f"{name}:{nonce}", now + 2 * _WINDOW)
        )
        if not seen.rowcount:
            return None
    scopes = frozenset(DatasetScope(each) for each in json.loads(rows[0]["scopes"]))
    return Caller(f"ssh:{name}", rows[0]["title"] or name, scopes, rows[0]["dataset"], bool(rows[0]["is_admin"]))
