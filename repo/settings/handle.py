"""Handles: how a person names a bucket, a dataset, a version of it, and a folder in that version.

    bucket/dataset[:ref][/subdir]            a configured remote, or else an S3 bucket of that name
    s3://bucket/dataset[:ref][/subdir]       an S3 bucket, whatever the configuration says
    file:///dir/dataset[:ref[/subdir]]       a local directory as the bucket
    https://host/bucket/dataset[:ref][/subdir]  a bucket behind a server of the catalogue

The bucket alone (``bucket``, ``s3://bucket``, ``file:///dir/`` with its final slash) is a handle without a dataset.

A ref is a branch, a tag, a commit id or a top hash, and may go back from there, as ``main~1`` (`revision`).

With ``file://`` nothing marks where the directory ends, so a colon has to: the dataset is the first component that
holds a colon, and only a handle with a ref can have a subdir. Without a colon the last component is the dataset.
That directory is part of a URL: ``%3A`` is a colon in it, ``%25`` a percent sign. Nothing else is decoded.

A final slash after a dataset, ref or subdir, as a shell's completion leaves it, is ignored.

Invariants: a `Handle` that exists is valid, and ``parse_handle(str(handle)) == handle``. Pure: no I/O, and nothing
here knows whether what is named exists. Anyone may call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.errors import UsageError

from .revision import parse_revision

__all__ = [
    "GRAMMAR",
    "Handle",
    "check_bucket_name",
    "check_dataset_name",
    "check_ref_name",
    "check_revision",
    "parse_handle",
]

GRAMMAR = "bucket/dataset[:ref][/subdir]"
_EXAMPLE = "demo/clipart:main/animals"

# S3 gives new buckets 3 to 63 lower-case characters; old ones have up to 255 of either case. The store says which
# of them it does not take; here it only matters that a name cannot be mistaken for another part of a handle.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

_S3 = "s3://"
_FILE = "file://"
_SERVERS = ("https://", "http://")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Handle:
    """A checked handle.

    `bucket` is a name, ``s3://name``, ``file:///dir`` or ``https://host/name``; `dataset` is None for the bucket
    itself; `ref` is None for the default branch; `subdir` is relative, ``""`` for the whole tree. Raises UsageError
    when a part is not valid.
    """

    bucket: str
    dataset: str | None = None
    ref: str | None = None
    subdir: str = ""

    def __post_init__(self) -> None:
        _check_bucket(self.bucket)
        if self.dataset is None:
            if self.ref is not None or self.subdir:
                raise _wrong("the dataset is missing", "a ref or a subdir belongs to a dataset")
            return
        check_dataset_name(self.dataset)
        if self.ref is not None:
            check_revision(self.ref)
        if self.subdir:
            _check_subdir(self.subdir)
            if self.ref is None and self.bucket.startswith(_FILE):
                raise _wrong(
                    "the ref is missing",
                    "with file:// a subdir can only be told from the directory by a ref",
                    f"Write file:///dir/{self.dataset}:main/{_shorten(self.subdir)}",
                )

    def __str__(self) -> str:
        root = self.bucket if self.bucket.endswith("/") else self.bucket + "/"
        if self.dataset is None:
            return root if self.bucket.startswith(_FILE) else self.bucket
        text = root + self.dataset
        if self.ref is not None:
            text += f":{self.ref}"
        if self.subdir:
            text += f"/{self.subdir}"
        return text


def parse_handle(text: str) -> Handle:
    """Return the handle that `text` spells. Raises UsageError, which names the part that is wrong, and nothing else."""
    if text.startswith(_FILE):
        return _parse_file(text)
    if text.startswith(_SERVERS):
        return _parse_server(text)
    if text.startswith(_S3):
        scheme, rest = _S3, text[len(_S3) :]
    elif match := _SCHEME.match(text):
        raise _wrong(f"unknown address {_show(match.group())}", "buckets are reached by s3://, file:// or https://")
    else:
        scheme, rest = "", text
    if rest.startswith(("/", "./", "../", "~")) and not scheme:
        raise _wrong(
            f"{_show(text)} is a path, not a handle",
            "a handle starts with the name of a bucket",
            "A local directory is named by file:///dir/dataset, or by a remote: penstock remote add NAME file:///dir",
        )
    bucket, _, tail = rest.partition("/")
    if ":" in bucket:
        raise _wrong(f"bucket {_show(bucket)} holds a colon", "a ref follows the dataset, not the bucket")
    if not tail:
        return Handle(scheme + bucket)
    component, _, subdir = tail.partition("/")
    dataset, ref = _split_ref(component)
    return Handle(scheme + bucket, dataset, ref, _without_final_slash(subdir))


def check_bucket_name(name: str) -> None:
    """Raise UsageError unless `name` can stand for a bucket or a remote in a handle."""
    _check_name(_BUCKET, "bucket", name, "255")


def check_dataset_name(name: str) -> None:
    """Raise UsageError unless `name` can be a dataset's name."""
    _check_name(_DATASET, "dataset", name, "128")


def check_ref_name(name: str) -> None:
    """Raise UsageError unless `name` can be the name of a branch or tag, or a hash or a prefix of one."""
    if not name:
        raise _wrong("the ref is empty", "a branch, tag or hash follows the colon")
    if not _REF.fullmatch(name) or ".." in name:
        raise _wrong(
            f"{_show(name)} is not a ref name",
            "it has up to 128 letters, digits and . _ -, no '..', and does not start with . or -",
        )


def check_revision(text: str) -> None:
    """Raise UsageError unless `text` can name a version: a ref, perhaps with steps back from it (`revision`)."""
    if not text or parse_revision(text) is None:
        check_ref_name(text)


def _parse_file(text: str) -> Handle:
    path = text[len(_FILE) :]
    if not path.startswith("/"):
        raise _wrong(
            f"{_show(text)} is not absolute",
            "after file:// comes a path from the root",
            f"Write file:///{_shorten(path)}, or give the directory a name: penstock remote add NAME {_shorten(text)}",
        )
    # The first component with a colon is the dataset; a colon in the directory itself is written %3A.
    colon = path.find(":")
    if colon < 0:
        directory, _, dataset = path.rpartition("/")
        return Handle(_file_bucket(directory), dataset or None)
    directory, _, dataset = path[:colon].rpartition("/")
    ref, _, subdir = path[colon + 1 :].partition("/")
    return Handle(_file_bucket(directory), dataset, ref, _without_final_slash(subdir))


def _parse_server(text: str) -> Handle:
    scheme, _, rest = text.partition("://")
    host, _, rest = rest.partition("/")
    bucket, _, rest = rest.partition("/")
    component, _, subdir = rest.partition("/")
    whole = f"{scheme}://{host}/{bucket}"
    if not component:
        return Handle(whole)
    dataset, ref = _split_ref(component)
    return Handle(whole, dataset, ref, _without_final_slash(subdir))


def _file_bucket(directory: str) -> str:
    return _FILE + (directory or "/")


def _split_ref(component: str) -> tuple[str, str | None]:
    dataset, colon, ref = component.partition(":")
    return dataset, ref if colon else None


def _without_final_slash(subdir: str) -> str:
    """Drop one slash after a component; a slash after nothing is an empty component, and stays to be refused."""
    return subdir[:-1] if subdir.endswith("/") and len(subdir) > 1 else subdir


def _check_bucket(bucket: str) -> None:
    if bucket.startswith(_S3):
        check_bucket_name(bucket[len(_S3) :])
    elif bucket.startswith(_SERVERS):
        host, _, name = bucket.partition("://")[2].partition("/")
        if not _HOST.fullmatch(host):
            raise _wrong(f"{_show(host)} is no host", "after https:// comes the name of a server, and perhaps a port")
        check_bucket_name(name)
    elif bucket.startswith(_FILE):
        path = bucket[len(_FILE) :]
        if not path.startswith("/"):
            raise _wrong(f"{_show(bucket)} is not absolute", "after file:// comes a path from the root")
        if path != "/":
            _check_components("directory", path[1:])
        if ":" in path:
            raise _wrong(
                f"the directory of {_show(bucket)} holds a colon",
                "the first colon ends the dataset's name",
                "Write a colon of the directory as %3A, or give it a name: penstock remote add NAME DIR",
            )
    else:
        check_bucket_name(bucket)


def _check_name(pattern: re.Pattern[str], part: str, name: str, most: str) -> None:
    if not name:
        raise _wrong(f"the {part} is empty", f"a {part} has a name")
    if not pattern.fullmatch(name):
        raise _wrong(
            f"{_show(name)} is not a {part} name",
            f"it has up to {most} letters, digits and . _ -, and starts with a letter or digit",
        )


def _check_subdir(subdir: str) -> None:
    _check_components("subdir", subdir)


def _check_components(part: str, path: str) -> None:
    if "\0" in path:
        raise _wrong(f"the {part} {_show(path)} holds a NUL", "no file name can")
    for component in path.split("/"):
        if component in {"", ".", ".."}:
            raise _wrong(
                f"the {part} {_show(path)} has the component {component!r}",
                "a path is written out, without empty components, '.' and '..'",
            )


def _shorten(text: str) -> str:
    """Fit to be shown: `text` may be a megabyte, or hold what a terminal would obey."""
    shown = repr(text)[1:-1]
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def _show(text: str) -> str:
    return f"'{_shorten(text)}'"


def _wrong(what: str, why: str, fix: str = "") -> UsageError:
    return UsageError(what, why=why, fix=fix or f"A handle is {GRAMMAR}, for example {_EXAMPLE}")
