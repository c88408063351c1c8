"""What a builder is called with: keys, local paths, whose is kept. Each becomes a value, or a UsageError. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from penstock.errors import UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.file_attributes import RESERVED
from penstock.manifest.merge import Choose, Side
from penstock.manifest.metadata import canonical_json
from penstock.repo.draft.local_source import check_text_key
from penstock.repo.draft.object_source import is_object_address

__all__ = ["Conflicts", "check_identity", "choice", "key_names", "key_of_path", "said_metadata", "shown_local"]

Conflicts = Literal["ours", "theirs"]


def check_identity(source: object, *, identity: bool) -> None:
    """UsageError: it is to be added by its identity, and has none."""
    if identity and not (isinstance(source, str) and is_object_address(source)):
        raise UsageError(
            f"{source!r} cannot be added by identity",
            why="only an object of S3 has one: a store says which object is which",
            fix="Leave identity out, or name s3://bucket/key.",
        )


def choice(conflicts: Conflicts | None) -> Choose | None:
    """Return what decides where both sides have something; None: nothing does. UsageError: it is no choice."""
    if conflicts is None:
        return None
    if conflicts not in ("ours", "theirs"):
        raise UsageError(f"conflicts={conflicts!r} is no choice", fix='Choose "ours" or "theirs".')
    side = Side.OURS if conflicts == "ours" else Side.THEIRS
    return lambda _: side


def said_metadata(key: str, meta: Any) -> bytes:
    """Return metadata that a user gives for a key as canonical JSON.

    UsageError, which names the key: it is no JSON, or has a name that is Penstock's.
    """
    value = dict(meta) if isinstance(meta, Mapping) else meta
    for name in value if isinstance(value, dict) else ():
        if isinstance(name, str) and name.startswith(RESERVED):
            raise UsageError(
                f"metadata named {name!r}", why=f"what begins with {RESERVED!r} is Penstock's", fix="Rename it."
            )
    try:
        return canonical_json(value)
    except UsageError as error:
        whose = repr(key) if key else "the version"
        raise UsageError(f"{error.what}, for {whose}", why=error.why, fix=error.fix) from error


def key_names(text: str) -> tuple[bytes, ...]:
    """Return a key as names. UsageError, which names the key: it is absolute, leaves the version, or is not UTF-8."""
    if text.startswith("/"):
        raise UsageError(
            f"the key {text!r} is absolute", why="keys are paths in the version", fix="Leave the slash out."
        )
    try:
        names = split_path(text)
    except UsageError as error:
        raise UsageError(f"{text[:300]!r} cannot be a key", why=error.why, fix="Choose another key.") from error
    check_text_key(names)
    return names


def key_of_path(text: str) -> str:
    """Return the key that a local path has by itself. UsageError: it has none."""
    plain = os.path.normpath(text)
    if os.path.isabs(plain) or plain == ".." or plain.startswith("../"):
        raise UsageError(
            f"{text!r} is no key",
            why="it is absolute, or leads out of the working directory",
            fix="Give the key that it is to have as well.",
        )
    return "" if plain == "." else plain


def shown_local(text: str) -> str:
    """Return a local path as a builder lists it: with a dot or a slash in front, and one behind a directory."""
    slash = "/" if os.path.isdir(text) else ""
    plain = os.path.normpath(text)
    if plain == ".":
        return "./"
    return (plain if os.path.isabs(plain) or plain.startswith("..") else f"./{plain}") + slash
