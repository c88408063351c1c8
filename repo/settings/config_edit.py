"""Changes to the configuration file: whole, one at a time, and without loss of what people wrote.

Invariants: the file is replaced whole (temporary file, fsync, rename), so a reader sees the old or the new text and
never a part; editors take turns by a lock on ``<file>.lock``, so none loses another's change; what is written reads
back as the remotes that were meant, or the file is left alone. Comments and order stay (tomlkit), and a file that is
a symbolic link stays one.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.errors import ConflictError, NotFoundError, UsageError

from .config_file import ConfigFile, did_you_mean, parse_config, read_text, refused
from .remote import Remote

__all__ = ["add_remote", "remove_remote"]

_LOCK_SECONDS = 10.0


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
                fix=did_you_mean(name, config.remotes) or "penstock remote list shows what there is",
            )
        del remotes[name]
        removed.append(config.remotes[name])
        return {key: remote for key, remote in config.remotes.items() if key != name}

    removed: list[Remote] = []
    _edit(path, change)
    return removed[0]


def _edit(path: Path, change: Callable[[ConfigFile, MutableMapping[str, Any]], dict[str, Remote]]) -> None:
    """Let `change` alter the ``remotes`` table; it returns the remotes that the new text has to hold."""
    # Whoever keeps the file elsewhere and links to it wants the link to stay.
    path = Path(os.path.realpath(path))
    with _locked(path):
        text = read_text(path)
        config = parse_config(path, text)

        # 30 ms to import, and only an edit needs it.
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        try:
            document = tomlkit.parse(text)
            if "remotes" not in document:
                document["remotes"] = tomlkit.table(is_super_table=True)
            wanted = dataclasses.replace(config, remotes=change(config, document["remotes"]))
            new_text = tomlkit.dumps(document)
        except TOMLKitError as error:
            raise _not_editable(path, str(error)) from error
        if new_text == text:
            return
        try:
            written = parse_config(path, new_text)
        except UsageError as error:
            raise _not_editable(path, error.why) from error
        if written != wanted:
            raise _not_editable(path, "the remotes are spread over several forms of TOML")
        _replace(path, new_text.encode())


def _not_editable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is written in a way that cannot be edited safely",
        why=why,
        fix="Write each remote as a section of its own, [remotes.NAME], or edit the file by hand",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refused(path, "written", error) from error
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
        raise refused(path, "written", error) from error
