"""A remote: the name that the configuration gives to a bucket's address, and how to reach it.

`Remote` is a checked value; `FIELDS` says which keys a ``[remotes.NAME]`` section may have and of what type, and is
the one list that the configuration file, its editor and the command line are held to. Pure but for
`absolute_address`, which looks at the working directory.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from penstock.errors import UsageError
from penstock.store.options import StoreOptions

from .handle import check_bucket_name

__all__ = ["ADDRESSING_STYLES", "ENCRYPTIONS", "FIELDS", "Remote", "absolute_address"]

ADDRESSING_STYLES = ("auto", "path", "virtual")
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")

_OF_NO_STORE = frozenset({"url", "unsafe"})
_OF_ANY = _OF_NO_STORE | {"deadline"}
_ADDRESS = re.compile(r"(s3|gs|az|ssh)://([^/]+)((?:/[^/]+)*)/?")
_ALLOWED = {
    "file": _OF_ANY,
    "ssh": _OF_ANY,
    "az": _OF_ANY | {"endpoint_url", "anonymous"},
    "gs": _OF_ANY | {"endpoint_url", "anonymous", "request_payer"},
}
"""What a remote of a kind may have; one in S3 may have all."""
_KINDS_OF_STORE = {
    "file": "a directory",
    "ssh": "a directory of another machine",
    "az": "in Azure",
    "gs": "in Google Cloud Storage",
}
_MISSPELT_URL = re.compile(r"[^/]*:|(https?|s3|file)//")
"""A colon before the first slash is no path's, and a scheme without its colon is no directory's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """How to reach one bucket. Raises UsageError when the fields are not valid together.

    `url` is ``s3://bucket[/prefix]``, ``file:///dir``, ``gs://bucket[/prefix]``, ``az://container[/prefix]`` or
    ``ssh://[user@]host[:port]/dir``. `unsafe` lets it be written to though it does not hold to
    create-if-absent (`promises`). `deadline` is in seconds for a whole call with its retries; of a directory, for the
    reading of files that were registered where they lie. All else is for S3, and of it for `gs` and `az` what
    `_ALLOWED` has; None or False where the configuration and environment of AWS, or the other, decide.
    """

    name: str
    url: str
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    addressing_style: str | None = None
    anonymous: bool = False
    request_payer: bool = False
    sse: str | None = None
    sse_kms_key_id: str | None = None
    deadline: float | None = None
    unsafe: bool = False

    def __post_init__(self) -> None:
        check_bucket_name(self.name)
        _check_url(self.name, self.url)
        fix = "penstock remote add --help shows the options"
        kind = self.url.partition(":")[0]
        if kind in _ALLOWED and (given := sorted(self.settings().keys() - _ALLOWED[kind])):
            why = f"{self.url} is {_KINDS_OF_STORE[kind]}"
            raise UsageError(f"remote {self.name!r} cannot have {given[0]}", why=why, fix=fix)
        if self.anonymous and self.profile is not None:
            raise UsageError(f"remote {self.name!r} cannot have a profile", why="anonymous requests use none", fix=fix)
        try:
            self.store_options()
        except UsageError as error:
            raise UsageError(f"remote {self.name!r}: {error.what}", why=error.why, fix=error.fix or fix) from error

    def settings(self) -> dict[str, str | bool | float]:
        """Return what is set, as ``[remotes.NAME]`` holds it."""
        values = {key: getattr(self, key) for key in FIELDS}
        return {key: value for key, value in values.items() if value is not None and value is not False}

    def store_options(self) -> StoreOptions:
        """Return how to open the store at `url`."""
        options: dict[str, Any] = self.settings()
        return StoreOptions(**{key: value for key, value in options.items() if key not in _OF_NO_STORE})


_KINDS = {"anonymous": bool, "request_payer": bool, "deadline": float, "unsafe": bool}
FIELDS = MappingProxyType({field.name: _KINDS.get(field.name, str) for field in fields(Remote) if field.name != "name"})
"""Keys of a ``[remotes.NAME]`` section and their types."""


def absolute_address(address: str, directory: str | None = None) -> str:
    """Return `address` as a configuration can keep it: a directory is made absolute, ``s3://`` and others stay.

    A directory may be given as a URL, ``file:///dir``, ``file://relative`` or ``file:relative``, or as a path with a
    slash, whose percent signs and odd characters are then escaped; it is relative to `directory`, by default the
    working directory. Raises UsageError for what is neither.
    """
    if address.startswith(("s3://", "gs://", "az://", "ssh://")):
        return address.rstrip("/")
    if address.startswith("file:"):
        path = address.removeprefix("file:").removeprefix("//")
    elif ("/" in address or address in {".", ".."}) and not _MISSPELT_URL.match(address):
        path = _as_url_path(os.path.expanduser(address))
    else:
        path = ""
    if not path:
        raise UsageError(
            f"{address[:120]!r} is not an address",
            why="a bucket is reached by s3://bucket[/prefix] or file:///dir, or by gs://, az://, ssh://",
            fix=_meant(address),
        )
    path = os.path.normpath(os.path.join(_as_url_path(directory or os.getcwd()), path))
    # POSIX lets two leading slashes stand, for meanings that Linux does not have.
    return "file:///" + path.lstrip("/")


def _meant(address: str) -> str:
    """Return what to write instead of an address that is none."""
    if address.startswith("arn:"):
        return "Name an access point by its alias, as s3://NAME-s3alias: aws s3control get-access-point shows it"
    if match := re.match(r"s3:?/{1,3}(?=[^/])(.*)", address):
        return f"s3://{match.group(1)[:120]}"
    if re.match(r"https?:?//", address):
        return "A server is an option: s3://bucket --endpoint-url URL"
    return "For a directory below this one write ./dir"


def _as_url_path(path: str) -> str:
    """Escape what a URL or a TOML file cannot hold, and leave the rest to be read by people."""
    return "".join(c if c.isprintable() and c != "%" else quote(os.fsencode(c), safe="") for c in path)


def _check_url(name: str, url: str) -> None:
    if url.startswith("file:///") and "\0" not in url:
        return
    match = _ADDRESS.fullmatch(url)
    if match is None or not url.isprintable():
        raise UsageError(
            f"remote {name!r} cannot have url = {url[:120]!r}",
            why="it is s3://bucket[/prefix] or file:///dir, with an absolute path; or gs://, az://, ssh://user@host/dir",
            fix=f"penstock remote add --force {name} URL",
        )
    if match.group(1) == "s3":
        check_bucket_name(match.group(2))
    elif match.group(1) == "ssh" and (not match.group(3) or ":" in match.group(2).rpartition("@")[0]):
        raise UsageError(
            f"remote {name!r} cannot have url = {re.sub(':[^@/]*@', ':…@', url)[:120]!r}",
            why="it names no directory, or has a password in it",
            fix="ssh://user@host/dir; who you are is for ~/.ssh/config, a key or an agent",
        )
