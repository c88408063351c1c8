"""Where a file is or is to go, as people write it.

    s3://bucket/key[?versionId=ID]         an object
    /dir/file, ./file, ~/file, any Path    a file of this machine; also file:///dir/file
    bucket/dataset[:ref]/path              a file of a version, as a handle; also penstock://bucket/dataset[:ref]/path
    scheme://...                           whatever fsspec knows

``s3://`` and ``file://`` are plain objects and files here, never handles. Pure, but for what ``~`` stands for and the
working directory.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from penstock.api.handles import Handle, as_handle
from penstock.errors import NotFoundError, UsageError
from penstock.repo.settings.handle import check_bucket_name
from penstock.store.keys import check_key

__all__ = [
    "EntryAddress",
    "FileAddress",
    "FsspecAddress",
    "LocalAddress",
    "ObjectAddress",
    "UploadPlace",
    "is_file_address",
    "parse_file_address",
    "parse_upload_place",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:::|://)")
_VERSION = "?versionId="
_ONLY_READ = ("http", "https", "data", "git", "github")
_LOCAL = ("/", "./", "../", "~")
_EXAMPLES = "Examples: s3://bucket/key, ./image.png, file:///dir/image.png, bucket/dataset:main/image.png"


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """An object of S3, or a version of it."""

    bucket: str
    key: str
    version_id: str | None = None

    def __str__(self) -> str:
        version = f"{_VERSION}{self.version_id}" if self.version_id else ""
        return f"s3://{self.bucket}/{self.key}{version}"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """A file of this machine, by its absolute path."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class EntryAddress:
    """A file of a version; the handle's subdir is its path."""

    handle: Handle

    def __str__(self) -> str:
        return str(self.handle)

    @property
    def version(self) -> Handle:
        """The version that it is of."""
        return replace(self.handle, subdir="")


@dataclass(frozen=True, slots=True)
class FsspecAddress:
    """What fsspec is asked for."""

    url: str

    def __str__(self) -> str:
        return self.url


FileAddress = ObjectAddress | LocalAddress | EntryAddress | FsspecAddress


@dataclass(frozen=True, slots=True)
class UploadPlace:
    """Where files go: below an address (``s3://bucket[/prefix]``, ``file:///dir``, fsspec's), or into a dataset."""

    url: str
    """How it is written in what is returned: without a slash at its end."""
    local: str | None = None
    handle: Handle | None = None


def is_file_address(value: object) -> bool:
    """Whether a value says by itself that it is where a file is: a path, or text with a scheme."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and _SCHEME.match(value) is not None)


def parse_file_address(given: object) -> FileAddress:
    """Return where a file is. UsageError: that is no address of one."""
    if isinstance(given, os.PathLike):
        return LocalAddress(_absolute(os.fspath(given)))
    if not isinstance(given, str) or not given:
        raise UsageError(f"{given!r} is no address of a file", why="it is no text and no path", fix=_EXAMPLES)
    if given.startswith("s3://"):
        return _object(given)
    if given.startswith("file://"):
        return LocalAddress(_file_path(given))
    if given.startswith(_LOCAL):
        return LocalAddress(_absolute(os.path.expanduser(given)))
    if given.startswith("penstock://"):
        given = given.removeprefix("penstock://")
    elif _SCHEME.match(given):
        return FsspecAddress(given)
    handle = _handle(given)
    if not handle.subdir:
        raise UsageError(f"{given!r} names no file", why="it names a version", fix=_EXAMPLES)
    return EntryAddress(handle)


def parse_upload_place(given: object) -> UploadPlace:
    """Return where files are to go. UsageError: that cannot be."""
    if isinstance(given, os.PathLike):
        text = str(given)
        return _folder(os.fspath(given), text if text.startswith(_LOCAL) else f"./{text}")
    if not isinstance(given, str) or not given:
        raise UsageError(f"{given!r} is no place for files", why="it is no text and no path", fix=_EXAMPLES)
    if given.startswith("s3://"):
        bucket, _, prefix = given.removeprefix("s3://").rstrip("/").partition("/")
        check_bucket_name(bucket)
        if prefix:
            check_key(prefix)
        return UploadPlace(f"s3://{bucket}/{prefix}".rstrip("/"))
    if given.startswith("file://"):
        return _folder(_file_path(given), given)
    if given.startswith(_LOCAL) or given in (".", ".."):
        return _folder(os.path.expanduser(given), given)
    if given.startswith("penstock://"):
        given = given.removeprefix("penstock://")
    elif (match := _SCHEME.match(given)) and match[1].lower() in _ONLY_READ:
        raise UsageError(
            f"files cannot be sent to {given[:120]!r}",
            why=f"{match[1]} is only read from",
            fix="Send them to s3://, a local directory, a dataset, or what fsspec writes to, such as gs://.",
        )
    elif match:
        return UploadPlace(given.rstrip("/"))
    return UploadPlace(given.rstrip("/"), handle=_handle(given))


def _handle(given: str) -> Handle:
    try:
        handle = as_handle(given)
        if handle.dataset is None:
            raise NotFoundError(f"{given!r} names a bucket")
    except (UsageError, NotFoundError) as error:
        raise UsageError(
            f"{given[:120]!r} is no address of files",
            why=f"as a handle it is wrong: {error.reason}",
            fix=f"A file of this machine is written ./{given[:60]}, or as a Path. {_EXAMPLES}",
        ) from error
    return handle


def _object(given: str) -> ObjectAddress:
    text, mark, version = given.rpartition(_VERSION)
    if not mark:
        text, version = given, ""
    bucket, _, key = text.removeprefix("s3://").partition("/")
    check_bucket_name(bucket)
    if not key or key.endswith("/") or (mark and not version):
        raise UsageError(f"{given[:200]!r} names no object", why="no key or version is given", fix=_EXAMPLES)
    return ObjectAddress(bucket, key, version or None)


def _file_path(given: str) -> str:
    host, slash, path = given.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not slash:
        raise UsageError(f"{given[:200]!r} names no file of this machine", fix="Write file:///dir/file.")
    return _absolute("/" + unquote(path))


def _folder(path: str, given: str) -> UploadPlace:
    return UploadPlace(given.rstrip("/") or "/", local=_absolute(path))


def _absolute(path: str | bytes) -> str:
    text = os.fsdecode(path)
    if "\0" in text:
        raise UsageError(f"{text[:120]!r} is no path", why="a path holds no NUL")
    return os.path.abspath(text)
