"""The configuration file: TOML that people may edit by hand, read strictly and changed without loss.

    [cache]
    directory = "/var/cache/penstock"
    size = "50GB"

    [remotes.demo]
    url = "file:///srv/store"

Reading refuses what it does not know, so that a misspelt key cannot silently mean the default. Editing keeps
comments and order (tomlkit).

Invariants: the file is replaced whole (temporary file, fsync, rename), so a reader sees the old or the new text and
never a part; editors take turns by a lock on ``<file>.lock``, so none loses another's change; what an editor writes
reads back as the file that was meant, or the file is left alone. A file that is a symbolic link stays one. Used by
`settings` and by the ``remote`` commands.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError

from .remotes import FIELDS, Remote
from .sizes import parse_size

__all__ = ["ConfigFile", "add_remote", "read_config", "remove_remote"]

_LOCK_SECONDS = 10.0
_CACHE_KEYS = ("directory", "size")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What the file says; None and empty where it says nothing. `cache_size` in bytes."""

    cache_directory: Path | None = None
    cache_size: int | None = None
    remotes: Mapping[str, Remote] = field(default_factory=dict)


def read_config(path: Path) -> ConfigFile:
    """Return what the file at `path` says; nothing when there is none.

    Raises UsageError that names the file and the key for what is not TOML, not known or of the wrong type, and
    AccessError when the file cannot be read.
    """
    return _check(path, _read_text(path))


def add_remote(path: Path, remote: Remote, *, replace: bool = False) -> None:
    """Add `remote` to the file at `path`, which is made when there is none.

    To add what is there already changes nothing. Raises ConflictError when the name has another meaning and
    `replace` is false, and what `read_config` raises.
    """

    def change(config: ConfigFile, remotes: MutableMapping[str, Any]) -> dict[str, Remote]:
        present = config.remotes.get(remote.name)
        if present is not None and present != remote and not replace:
            raise ConflictError(
                f"there is a remote {remote.name!r} already",
                why=f"it is {present.url}",
                fix="Choose another name, or replace it with --force",
            )
        if present != remote:
            remotes[remote.name] = remote.settings()
        return {**config.remotes, remote.name: remote}

    _edit(path, change)


def remove_remote(path: Path, name: str) -> Remote:
    """Remove the remote `name` from the file at `path` and return it. Raises NotFoundError when there is none."""

    def change(config: ConfigFile, remotes: MutableMapping[str, Any]) -> dict[str, Remote]:
        if name not in config.remotes:
            raise NotFoundError(
                f"there is no remote {name!r}",
                why=f"{path} has " + (", ".join(sorted(config.remotes)) or "no remotes"),
                fix=_nearest(name, config.remotes) or "penstock remote list shows what there is",
            )
        del remotes[name]
        removed.append(config.remotes[name])
        return {key: remote for key, remote in config.remotes.items() if key != name}

    removed: list[Remote] = []
    _edit(path, change)
    return removed[0]


def _check(path: Path, text: str) -> ConfigFile:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML", why=str(error), fix="Mend the file, or move it away") from error
    _check_keys(path, "", document, ("cache", "remotes"))
    cache = _table(path, "cache", document.get("cache", {}))
    _check_keys(path, "cache.", cache, _CACHE_KEYS)
    remotes = _table(path, "remotes", document.get("remotes", {}))
    return ConfigFile(
        cache_directory=_cache_directory(path, cache.get("directory")),
        cache_size=_cache_size(path, cache.get("size")),
        remotes={name: _remote(path, name, section) for name, section in remotes.items()},
    )


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
                fix=_nearest(key, known) or f"Known here: {', '.join(known)}",
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else ""


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", why=str(error), fix="Mend the file, or move it away") from error
    except OSError as error:
        raise _refused(path, "read", error) from error


def _edit(path: Path, change: Callable[[ConfigFile, MutableMapping[str, Any]], dict[str, Remote]]) -> None:
    """Let `change` alter the ``remotes`` table; it returns the remotes that the new text has to hold."""
    # Whoever keeps the file elsewhere and links to it wants the link to stay.
    path = Path(os.path.realpath(path))
    with _locked(path):
        text = _read_text(path)
        config = _check(path, text)

        # 30 ms to import, and only an edit needs it.
        import tomlkit

        document = tomlkit.parse(text)
        if "remotes" not in document:
            document["remotes"] = tomlkit.table(is_super_table=True)
        wanted = change(config, document["remotes"])
        new_text = tomlkit.dumps(document)
        if new_text == text:
            return
        try:
            intended = _check(path, new_text).remotes == wanted
        except PenstockError:
            intended = False
        if not intended:
            raise UsageError(
                f"{path} is written in a way that cannot be edited safely",
                why="the remotes are spread over several forms of TOML",
                fix="Write each as a section of its own, [remotes.NAME], or edit the file by hand",
            )
        _replace(path, new_text.encode())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refused(path, "written", error) from error
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                # Not the blocking form: a stopped process would keep everyone for ever.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ConflictError(
                        f"another process has been editing {path} for {_LOCK_SECONDS:.0f} seconds",
                        why=f"it holds {path}.lock",
                        fix=f"See who by: fuser -v {path}.lock",
                    ) from error
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, body: bytes) -> None:
    """Write `body` to `path`, whole or not at all, readable by its owner alone: it names keys and endpoints."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(body)
                stream.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _refused(path, "written", error) from error


def _refused(path: Path, done: str, error: OSError) -> AccessError:
    return AccessError(
        f"{path} cannot be {done}",
        why=error.strerror or str(error),
        fix="Check the path and its permissions; --config or PENSTOCK_CONFIG names another file",
    )
