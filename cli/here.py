"""Where somebody stands: the mount or the unmounted changes that hold the working directory, or a path that is named.

A path that exists is a path, unless its first component is the name of a remote: nobody's bucket is asked about a
directory of this machine. In a mount a word alone is a version of its dataset: `main~1`, `v1`, `@{yesterday}`.

`VERSION` takes a handle, a path or such a word as the version that is meant, `COPY` a mountpoint; `UNREAD_HANDLE` is
for commands that take a handle and a directory, which people swap.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from penstock.api.handles import Handle, check_revision, parse_handle
from penstock.api.mounts.place import MountedVersion, MountPlace, innermost_place, mounted_version
from penstock.errors import NotFoundError, UsageError

from .invocation import Invocation
from .params import HandleType

if TYPE_CHECKING:
    from penstock.api.settings import Settings

__all__ = [
    "COPY",
    "HERE",
    "MOUNTPOINT",
    "UNREAD_HANDLE",
    "VERSION",
    "VERSION_OR_BUCKET",
    "WHOLE",
    "copy_and_paths",
    "handle_beside",
    "looks_local",
    "version_here",
]

HERE = "."
WHOLE = ""
"""What a command takes that is given no place: the working directory, or all of the mount that it lies in."""
_ADDRESSES = ("s3://", "file://", "https://", "http://")


def looks_local(text: str, settings: Settings) -> bool:
    """Whether an argument is a path of this machine: by how it is written, or since it exists."""
    if text in (WHOLE, ".", "..") or text.startswith(("/", "./", "../", "~")):
        return True
    if text.startswith(_ADDRESSES) or text.partition("/")[0] in settings.remotes:
        return False
    return os.path.lexists(text)


def version_here(invocation: Invocation, path: str = HERE) -> MountedVersion:
    """Return the version that a path lies in, and say which it is. NotFoundError: it lies in no mount."""
    place = innermost_place(path or HERE)
    if place is None:
        raise _nowhere(path)
    if path == WHOLE:
        place = replace(place, path="")
    found = mounted_version(place, invocation.settings())
    _tell(invocation, place, f"{replace(found.handle, subdir='')}, at {str(found.version.ref)[:12]}")
    return found


def copy_and_paths(invocation: Invocation, arguments: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the mountpoint that is meant, and paths in it: a mountpoint and paths in it, or paths as of here."""
    if not arguments or arguments == (WHOLE,):
        return COPY.convert(WHOLE, None, click.get_current_context()), []
    first = innermost_place(arguments[0])
    if first is not None and not first.path and arguments[0] != HERE:
        return arguments[0], list(arguments[1:])
    if first is None:
        return arguments[0], list(arguments[1:])  # which is what will be told of
    paths = []
    for each in arguments:
        place = innermost_place(each)
        if place is None or place.directory != first.directory:
            raise UsageError(
                f"{each!r} does not lie in {first.directory}",
                why=f"{arguments[0]!r} does, and one mount is worked on at a time",
                fix="Name the mountpoint first, and then paths in it.",
            )
        paths.append(place.path)
    _tell(invocation, first, first.directory)
    return first.directory, paths


def _tell(invocation: Invocation, place: MountPlace, what: str) -> None:
    if what == place.directory:
        invocation.output.notice(f"in {'the mount' if place.mounted else 'the unmounted changes'} at {place.directory}")
    else:
        invocation.output.notice(f"{place.directory} {'shows' if place.mounted else 'is unmounted, of'} {what}")


def _nowhere(path: str) -> NotFoundError:
    if path not in (HERE, WHOLE):
        return NotFoundError(
            f"{path!r} is a path of this machine, and lies in no mount",
            why="a path that exists is a path; a bucket of that name is written s3://…",
            fix="Name a version, bucket/dataset[:ref]; penstock mounts lists what is mounted, and where",
        )
    return NotFoundError(
        "nothing is named, and this directory lies in no mount",
        fix="Name a version, bucket/dataset[:ref], or a mountpoint: penstock mounts --all lists them",
    )


class _VersionType(HandleType):
    """A handle, a path in a mount, or in a mount another version of its dataset."""

    completes = "version"

    def __init__(self, *, words: bool) -> None:
        self._words = words

    def convert(self, value: str | Handle, param: click.Parameter | None, ctx: click.Context | None) -> Handle:
        if isinstance(value, Handle):
            return value
        invocation = ctx.find_object(Invocation) if ctx is not None else None
        if invocation is None or value.startswith(_ADDRESSES):
            return super().convert(value, param, ctx)
        settings = invocation.settings()
        if not value and (param is None or param.default != WHOLE):
            return parse_handle(value)  # which says what is wrong with it
        if looks_local(value, settings):
            if value and innermost_place(value) is None and not os.path.lexists(value):
                return parse_handle(value)
            return version_here(invocation, value).version
        is_word = "/" not in value and value not in settings.remotes and self._words
        if (is_word or value.startswith(":")) and innermost_place() is not None:
            word, slash, path = value.removeprefix(":").partition("/")
            check_revision(word)
            found = version_here(invocation).at(word)
            return replace(found, subdir=path.rstrip("/")) if slash else found
        return parse_handle(value)


class _UnreadHandleType(HandleType):
    """A handle that the command reads by `handle_beside`: it may be the other argument."""

    def convert(self, value: str | Handle, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002  # click asks
        return value


def handle_beside(invocation: Invocation, text: str | Handle, directory: str, *, last: bool = False) -> Handle:
    """Return the handle of a command that takes one and a directory; `last`: in that order.

    UsageError: they are swapped, or the handle is a path of this machine.
    """
    if isinstance(text, Handle):
        return text
    settings = invocation.settings()
    is_known = text.startswith(_ADDRESSES) or text.partition("/")[0] in settings.remotes
    if is_known or (not looks_local(text, settings) and os.path.lexists(directory)):
        return parse_handle(text)
    if directory.partition("/")[0] in settings.remotes or directory.startswith(_ADDRESSES):
        right = (text, directory) if last else (directory, text)
        raise UsageError(
            f"{text!r} is a path, and {directory!r} a dataset",
            why="they are swapped",
            fix=f"{click.get_current_context().command_path} {right[0]} {right[1]}",
        )
    if os.path.lexists(text):
        raise UsageError(
            f"{text!r} is a path of this machine, and no dataset",
            why="a dataset is named bucket/dataset[:ref]; a bucket of that name is written s3://…",
            fix="penstock remote list shows the buckets that have a name",
        )
    return parse_handle(text)


class _CopyType(click.Path):
    """A mountpoint, also of what is unmounted, or an overlay's directory; by default that of the working directory."""

    completes = "mount"

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> str:
        given = str(super().convert(value, param, ctx))
        if given not in (HERE, WHOLE):
            return given
        place = innermost_place()
        if place is None:
            raise _nowhere(HERE)
        invocation = ctx.find_object(Invocation) if ctx is not None else None
        if invocation is not None:
            _tell(invocation, place, place.directory)
        return place.directory


VERSION = _VersionType(words=True)
VERSION_OR_BUCKET = _VersionType(words=False)
"""Of commands that list buckets: a word alone is one."""


class _MountpointType(click.Path):
    """A directory where something is mounted, as it is given."""

    completes = "mount"


MOUNTPOINT = _MountpointType()
UNREAD_HANDLE = _UnreadHandleType()
COPY = _CopyType()
