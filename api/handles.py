"""Handles and sizes as people write them: what a command line parses before it asks for anything.

A `Handle` is ``bucket/dataset[:ref][/subdir]``; a size is ``50GB`` or ``512MiB``. Pure, and quick to import.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.errors import NotFoundError, UsageError
from penstock.repo.settings.handle import GRAMMAR, Handle, check_ref_name, check_revision, parse_handle
from penstock.repo.settings.sizes import format_size, parse_size

__all__ = [
    "DEFAULT_BRANCH",
    "GRAMMAR",
    "Handle",
    "as_handle",
    "bucket_for",
    "check_ref_name",
    "check_revision",
    "dataset_alone",
    "format_size",
    "handle_text",
    "parse_handle",
    "parse_size",
    "whole_version",
]

DEFAULT_BRANCH = "main"
"""The branch that a handle without a ref means."""


def as_handle(name: str | Handle) -> Handle:
    """Return a handle, parsed if need be. UsageError: it cannot be one."""
    return name if isinstance(name, Handle) else parse_handle(name)


def bucket_for(name: str | Handle, dataset: str | None) -> str | None:
    """Return the bucket that is named where one is wanted, alone or with this data set in it.

    None: it is something else. ``file:///dir`` is the directory itself here, for which ``file:///dir/`` is written
    where it might be a data set.
    """
    handle = as_handle(name)
    if handle.ref is not None or handle.subdir:
        return None
    if handle.dataset in (None, dataset):
        return handle.bucket
    if handle.bucket.startswith("file://"):
        return f"{handle.bucket.rstrip('/')}/{handle.dataset}"
    return None


def dataset_alone(handle: Handle) -> Handle:
    """Return the dataset that a handle names, without the version and the path. NotFoundError: it names a bucket."""
    if handle.dataset is None:
        raise NotFoundError(f"{str(handle)!r} names a bucket", fix="Name a dataset in it: bucket/dataset[:ref]")
    return Handle(handle.bucket, handle.dataset)


def whole_version(handle: Handle) -> Handle:
    """Return the handle, of a dataset or one of its versions.

    NotFoundError: it names a bucket only. UsageError: it names a path in a version.
    """
    dataset_alone(handle)
    if handle.subdir:
        raise UsageError(
            f"{str(handle)!r} names a path in a version",
            why="this is about versions as wholes",
            fix=f"Name the version: {handle_text(handle)}",
        )
    return handle


def handle_text(handle: Handle, ref: str | None = None) -> str:
    """Return a handle's text without a path; with `ref`, at that ref."""
    return str(replace(handle, ref=ref or handle.ref, subdir=""))
