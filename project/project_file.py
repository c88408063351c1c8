"""``penstock.toml``: what a project is to everybody who clones it. Read strictly, edited with its comments kept.

    format = 1
    dataset = "image-registry"      # what holds the project's versions in its remotes
    remote = "storage"              # where push and pull go

    [remotes.storage]               # as in the settings file
    url = "s3://bucket/prefix"

It comes from whoever made the repository: what of it may be used, `project_trust` says.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import AccessError, FormatTooNewError, NotFoundError, UsageError
from penstock.project.state_folder import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from tomlkit import TOMLDocument

    from penstock.repo.settings.remote import Remote

__all__ = ["PROJECT_FILE", "ProjectFile", "edit_project_file", "read_bounded", "read_project_file"]

PROJECT_FILE = "penstock.toml"
FORMAT = 1
_MOST = 1 << 20
_KEYS = frozenset({"format", "dataset", "remote", "remotes", "hooks", "stages"})
_OPAQUE = frozenset({"hooks", "stages"})
"""Tables that other parts of a project read themselves."""


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """What the file says. `remote` is the name of the default one, None: there is none."""

    dataset: str
    remote: str | None = None
    remotes: Mapping[str, Remote] = field(default_factory=dict)


def read_bounded(path: str, most: int) -> bytes | None:
    """Return a regular file's bytes, None when there is none; no link is followed, no more than `most` are read.

    UsageError: it is something else, or larger. AccessError: it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessError(
            f"{path} cannot be read",
            why=error.strerror or str(error),
            fix="It has to be a plain file that you may read.",
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(f"{path} is no plain file", fix="Move it away.")
        body = stream.read(most + 1)
    if len(body) > most:
        raise UsageError(f"{path} has more than {most} bytes", why="no such file is that large", fix="Mend it.")
    return body


def read_project_file(root: str) -> ProjectFile:
    """Return what the project's file says. NotFoundError: there is none. UsageError names what is wrong in it."""
    path = os.path.join(root, PROJECT_FILE)
    body = read_bounded(path, _MOST)
    if body is None:
        raise NotFoundError(f"there is no {PROJECT_FILE} in {root}", fix="penstock init makes this a project.")
    return parse_project_file(path, body)


def parse_project_file(path: str, body: bytes) -> ProjectFile:
    """Return what `body` says; `path` is for messages."""
    # Not at the top: it brings the stores along, and what finds nothing to do reads no settings.
    from penstock.repo.settings.config_file import parse_remotes
    from penstock.repo.settings.handle import check_dataset_name

    try:
        document = tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML", why=str(error), fix="Mend the file.") from error
    check_format(path, document, FORMAT)
    for key in sorted(document.keys() - _KEYS):
        raise UsageError(f"{path}: there is no setting {key}", why=f"known are {', '.join(sorted(_KEYS))}")
    dataset, remote = document.get("dataset"), document.get("remote")
    if not isinstance(dataset, str):
        raise UsageError(f"{path} does not say which dataset it is", fix='Add dataset = "NAME"')
    check_dataset_name(dataset)
    remotes = parse_remotes(Path(path), document.get("remotes", {}))
    if remote is not None and not isinstance(remote, str):
        raise UsageError(f"{path}: remote is {remote!r}", why="it has to be the name of a remote")
    return ProjectFile(dataset, remote, remotes)


def check_format(path: str, document: Mapping[str, Any], newest: int) -> None:
    """Raise UsageError, FormatTooNewError unless the document has a format number that this Penstock reads."""
    found = document.get("format")
    if type(found) is not int or found < 1:
        raise UsageError(f"{path} has no format number", fix="It begins with: format = 1")
    if found > newest:
        raise FormatTooNewError(
            f"{path} has format {found}", why=f"this Penstock reads up to format {newest}", fix="Upgrade Penstock."
        )


def edit_project_file(root: str, change: Callable[[TOMLDocument], None]) -> ProjectFile:
    """Let `change` alter the file, which is made when there is none; what is written reads back, or nothing is."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = os.path.join(root, PROJECT_FILE)
    body = read_bounded(path, _MOST)
    try:
        document = tomlkit.parse(body.decode()) if body is not None else tomlkit.document()
        change(document)
        text = tomlkit.dumps(document).encode()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be edited", why=str(error), fix="Edit it by hand.") from error
    meant = parse_project_file(path, text)
    if text != body:
        try:
            replace_file(path, text)
        except OSError as error:
            raise AccessError(f"{path} cannot be written", why=error.strerror or str(error)) from error
    return meant
