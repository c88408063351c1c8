"""The configuration file as it is read: TOML that people may edit by hand.

    [cache]
    directory = "/var/cache/penstock"
    size = "50GB"

    [remotes.demo]
    url = "file:///srv/store"

    [trust]
    local = ["/srv/photos"]
    buckets = ["open-data"]

Strictly: what is not known is refused, so that a misspelt key cannot silently mean the default, and the error names
the file, the key and the nearest key there is.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.errors import AccessError, UsageError

from .remote import FIELDS, Remote
from .sizes import parse_size
from .trust import Trust

__all__ = ["ConfigFile", "did_you_mean", "parse_config", "parse_remotes", "read_config", "read_text", "refused"]

_CACHE_KEYS = ("directory", "size")
_MOST = 1 << 20
_TRUST_KEYS = ("local", "buckets")
_COMMIT_KEYS = ("times",)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What the file says; None and empty where it says nothing. `cache_size` in bytes."""

    cache_directory: Path | None = None
    cache_size: int | None = None
    commit_times: bool = False
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)


def read_config(path: Path) -> ConfigFile:
    """Return what the file at `path` says; nothing when there is none.

    Raises UsageError that names the file and the key for what is not TOML, not known or of the wrong type, and
    AccessError when the file cannot be read.
    """
    return parse_config(path, read_text(path))


def parse_config(path: Path, text: str) -> ConfigFile:
    """Return what `text` says; `path` is for messages. Raises UsageError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML", why=str(error), fix="Mend the file, or move it away") from error
    _check_keys(path, "", document, ("cache", "commit", "remotes", "trust"))
    cache = _table(path, "cache", document.get("cache", {}))
    _check_keys(path, "cache.", cache, _CACHE_KEYS)
    commit = _table(path, "commit", document.get("commit", {}))
    _check_keys(path, "commit.", commit, _COMMIT_KEYS)
    remotes = document.get("remotes", {})
    trust = _table(path, "trust", document.get("trust", {}))
    _check_keys(path, "trust.", trust, _TRUST_KEYS)
    return ConfigFile(
        cache_directory=_cache_directory(path, cache.get("directory")),
        cache_size=_cache_size(path, cache.get("size")),
        commit_times=_switch(path, "commit.times", commit.get("times", False)),
        remotes=parse_remotes(path, remotes),
        trust=Trust(
            tuple(_folder(path, text) for text in _texts(path, "trust.local", trust.get("local", []))),
            _texts(path, "trust.buckets", trust["buckets"]) if "buckets" in trust else None,
        ),
    )


def parse_remotes(path: Path, table: object) -> dict[str, Remote]:
    """Return what the table ``remotes`` of a file says; `path` is for messages. Raises UsageError."""
    return {name: _remote(path, name, section) for name, section in _table(path, "remotes", table).items()}


def _remote(path: Path, name: str, section: object) -> Remote:
    where = f"remotes.{name}"
    values = _table(path, where, section)
    _check_keys(path, where + ".", values, FIELDS)
    for key, value in values.items():
        kind = FIELDS[key]
        if kind is float and type(value) is int:
            continue
        if type(value) is not kind:
            wanted = {bool: "true or false", float: "a number", str: "a string"}[kind]
            raise UsageError(f"{path}: {where}.{key} is {value!r}", why=f"it has to be {wanted}")
    if "url" not in values:
        raise UsageError(f"{path}: {where} has no url", fix='Add url = "s3://bucket" or url = "file:///dir"')
    try:
        return Remote(name=name, **values)
    except UsageError as error:
        raise UsageError(f"{path}: {error.what}", why=error.why, fix="Mend the file") from error


def _switch(path: Path, where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{path}: {where} is {value!r}", why="it has to be true or false")
    return value


def _texts(path: Path, where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise UsageError(f"{path}: {where} is {value!r}", why="it has to be a list of texts", fix='Example: ["a", "b"]')
    return tuple(value)


def _folder(path: Path, text: str) -> str:
    folder = os.path.expanduser(text)
    if not folder.startswith("/") or "\0" in folder or ".." in folder.split("/"):
        raise UsageError(
            f"{path}: trust.local has {text!r}", why="it has to be the absolute path of a folder, or start with ~/"
        )
    return "/" + os.path.normpath(folder).lstrip("/")


def _cache_directory(path: Path, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{path}: cache.directory is {value!r}", why="it has to be the path of a directory")
    directory = Path(value).expanduser()
    if not directory.is_absolute():
        # Relative to what would depend on who asks.
        raise UsageError(f"{path}: cache.directory is {value!r}", why="it has to be an absolute path, or start with ~/")
    return directory


def _cache_size(path: Path, value: object) -> int | None:
    if value is None:
        return None
    if type(value) is int and value > 0:
        return value
    if isinstance(value, str):
        try:
            size = parse_size(value)
        except UsageError as error:
            raise UsageError(f"{path}: cache.size: {error.what}", why=error.why, fix=error.fix) from error
        if size > 0:
            return size
    raise UsageError(
        f"{path}: cache.size is {value!r}", why="it has to be a size above zero", fix='Write for example "50GB"'
    )


def _table(path: Path, name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {name} is {value!r}", why=f"it has to be a section, [{name}]")
    return value


def _check_keys(path: Path, prefix: str, present: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for key in present:
        if key not in known:
            raise UsageError(
                f"{path}: there is no setting {prefix}{key}",
                why="it may be misspelt, or from a later Penstock",
                fix=did_you_mean(key, known) or f"Known here: {', '.join(known)}",
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is nearest to `name`, or ``""``."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else ""


def read_text(path: Path) -> str:
    """Return the file's text, ``""`` when there is none. Raises UsageError when it is no text, AccessError."""
    try:
        with open(path, "rb") as file:
            body = file.read(_MOST + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise refused(path, "read", error) from error
    if len(body) > _MOST:
        raise UsageError(
            f"{path} is no settings file",
            why=f"it has more than {_MOST} bytes",
            fix="--config or PENSTOCK_CONFIG names another file",
        )
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", why=str(error), fix="Mend the file, or move it away") from error


def refused(path: Path, done: str, error: OSError) -> AccessError:
    """Return the error for a file that cannot be `done`: read or written."""
    return AccessError(
        f"{path} cannot be {done}",
        why=error.strerror or str(error),
        fix="Check the path and its permissions; --config or PENSTOCK_CONFIG names another file",
    )
