"""What data is to be registered where it lies: the JSON of `add_private_data_to_dataset`, read and checked. Pure.

    {"videos": [{"objectUrl": "s3://clips/a.mp4", "title": "A", "clientMetadata": {"site": "B"}}],
     "images": [{"objectUrl": "https://clips.s3.eu-west-1.amazonaws.com/a.png"}],
     "image_groups": [{"title": "G", "objectUrl_0": "s3://clips/0.png", "objectUrl_1": "s3://clips/1.png"}],
     "dicom_series": [{"title": "S", "objectUrl_0": "s3://clips/0.dcm"}],
     "skip_duplicate_urls": true}

What is wrong with one item is told of that item, with the field; what is wrong with all of it is an error.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from penstock.api.settings import Remote
from penstock.catalogue.orm.dataset import DataType
from penstock.errors import NotFoundError, UnreadableError, UsageError
from penstock.store.keys import is_key

__all__ = ["PrivateItem", "PrivateSpec", "SourceAddress", "locate", "parse_spec", "read_spec"]

_KINDS = {
    "videos": DataType.VIDEO,
    "images": DataType.IMAGE,
    "image_groups": DataType.IMG_GROUP,
    "dicom_series": DataType.DICOM,
}
_GROUPS = frozenset({DataType.IMG_GROUP, DataType.DICOM})
_NUMBERED = re.compile(r"objectUrl_(\d{1,6})")
_SKIP = "skip_duplicate_urls"
_MOST_ITEMS = 100_000
_MOST_SPEC = 64 << 20
_MOST_TITLE = 1000
_AWS_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]+)\.)?s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com", re.IGNORECASE)


class PrivateItem(msgspec.Struct, frozen=True):
    """One thing to register. `place` is where it stands in the JSON, as ``videos[3]``."""

    place: str
    kind: DataType
    urls: tuple[str, ...]
    title: str
    client_metadata: dict[str, Any]


class PrivateSpec(msgspec.Struct, frozen=True):
    """All that is to be registered; `errors` says of items, by their places, why they cannot be."""

    items: tuple[PrivateItem, ...]
    errors: dict[str, str]
    skip_duplicate_urls: bool = False


class SourceAddress(msgspec.Struct, frozen=True):
    """Where an object is: in the store of a remote, and by an address that entries point to."""

    key: str
    address: str
    is_local: bool

    @property
    def name(self) -> str:
        """What its file is called."""
        return self.key.rpartition("/")[2]


def read_spec(spec: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return the JSON of a file, or what was given as a dictionary. NotFoundError, UnreadableError, UsageError."""
    if isinstance(spec, Mapping):
        return spec
    path = os.fspath(spec)
    try:
        with open(path, "rb") as stream:
            body = stream.read(_MOST_SPEC + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path!r}", fix="Name a file of JSON, or give a dictionary.") from error
    except OSError as error:
        raise UnreadableError(f"{path!r} cannot be read", why=str(error), candidates=[path]) from error
    if len(body) > _MOST_SPEC:
        raise UsageError(f"{path!r} is too large", why=f"{_MOST_SPEC} bytes are the most", fix="Make several of it.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path!r} is no JSON", why=str(error), fix="Write it as docs/CATALOGUE.md shows.") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path!r} is no object of JSON", fix='Write {"videos": [...]}.')
    return found


def parse_spec(said: Mapping[str, Any]) -> PrivateSpec:
    """Return what is to be registered. UsageError: it is nothing of the kind; of single items `errors` tell."""
    known = {*_KINDS, _SKIP}
    if unknown := sorted(map(str, said.keys() - known)):
        raise UsageError(f"the field {unknown[0]!r} is not known", fix=f"Known are {', '.join(sorted(known))}.")
    skip = said.get(_SKIP, False)
    if not isinstance(skip, bool):
        raise UsageError(f"{_SKIP} is {skip!r}", fix="Write true or false.")
    items: list[PrivateItem] = []
    errors: dict[str, str] = {}
    for field, kind in _KINDS.items():
        listed = said.get(field, [])
        if not isinstance(listed, list):
            raise UsageError(f"{field} is no list", fix=f'Write "{field}": [{{"objectUrl": "s3://bucket/key"}}].')
        for number, each in enumerate(listed):
            place = f"{field}[{number}]"
            try:
                items.append(_item(place, kind, each))
            except UsageError as error:
                errors[place] = f"{error.what}. {error.fix}" if error.fix else error.what
    if len(items) + len(errors) > _MOST_ITEMS:
        raise UsageError(f"{len(items) + len(errors)} items at once", fix=f"Give at most {_MOST_ITEMS}.")
    return PrivateSpec(tuple(items), errors, skip)


def _item(place: str, kind: DataType, said: object) -> PrivateItem:
    if not isinstance(said, dict):
        raise UsageError(f"it is {type(said).__name__}, and no object", fix='Write {"objectUrl": "s3://bucket/key"}.')
    title, metadata = said.get("title", ""), said.get("clientMetadata", {})
    if not isinstance(title, str) or len(title) > _MOST_TITLE:
        raise UsageError("title is no text", fix=f"Write at most {_MOST_TITLE} letters.")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise UsageError("clientMetadata is no object", fix='Write {"name": "value"}.')
    if said.get("createVideo", False) is not False:
        raise UsageError("createVideo is not done here", fix="Leave it out: a group stays a group.")
    numbered = {int(found[1]): str(name) for name in said if (found := _NUMBERED.fullmatch(str(name)))}
    fields = {"title", "clientMetadata", *(("createVideo",) if kind in _GROUPS else ())}
    fields |= set(numbered.values()) if kind in _GROUPS else {"objectUrl"}
    if unknown := sorted(str(name) for name in said if name not in fields):
        wanted = "objectUrl_0, objectUrl_1, ..." if kind in _GROUPS else "objectUrl"
        raise UsageError(f"the field {unknown[0]!r} is not known", fix=f"Known are {wanted}, title, clientMetadata.")
    names = [numbered[number] for number in sorted(numbered)] if kind in _GROUPS else ["objectUrl"]
    if not names or (kind not in _GROUPS and "objectUrl" not in said):
        field = "objectUrl_0" if kind in _GROUPS else "objectUrl"
        raise UsageError(f"the field {field!r} is missing", fix="Say where it lies.")
    for name in names:
        if not isinstance(said[name], str) or not said[name]:
            raise UsageError(f"{name} is no address", fix="Write s3://bucket/key.")
    return PrivateItem(place, kind, tuple(said[name] for name in names), title, metadata)


def locate(url: str, remote: Remote) -> SourceAddress:
    """Return where an object is. UsageError: it is no address, or of another place than the remote is.

    Nothing is asked: whatever an address says, it leads to the store of the remote, or nowhere.
    """
    try:
        parts = urlsplit(url)
        key = unquote(parts.path, errors="strict").removeprefix("/")
        host = parts.hostname or ""
    except (ValueError, UnicodeDecodeError) as error:
        raise _no_address(url) from error
    if parts.query or parts.fragment or parts.username is not None:
        raise _no_address(url)
    root, _, prefix = remote.url.partition("://")[2].partition("/")
    if remote.url.startswith("file://"):
        folder = unquote(remote.url.removeprefix("file://")).rstrip("/")
        if parts.scheme != "file" or host or not f"/{key}".startswith(f"{folder}/"):
            raise _elsewhere(url, remote)
        inner = f"/{key}".removeprefix(f"{folder}/")
        return _checked(url, inner, f"{folder}/{inner}", is_local=True)
    bucket = _bucket(parts.scheme, parts.netloc, host, remote)
    if bucket is None:  # the bucket stands first in the path
        bucket, _, key = key.partition("/")
    below = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
    if bucket != root or not key.startswith(below):
        raise _elsewhere(url, remote)
    return _checked(url, key.removeprefix(below), f"s3://{bucket}/{quote(key)}", is_local=False)


def _bucket(scheme: str, netloc: str, host: str, remote: Remote) -> str | None:
    """Return the bucket that an address names before its path; None: it names the server alone."""
    if scheme == "s3":
        return host if host == netloc else netloc
    if scheme in ("https", "http"):
        if remote.endpoint_url is not None and urlsplit(remote.endpoint_url).netloc == netloc:
            return None
        found = _AWS_HOST.fullmatch(host)
        if found and remote.endpoint_url is None:
            return found["bucket"]
    raise _elsewhere(f"{scheme}://{netloc}", remote)


def _checked(url: str, key: str, address: str, *, is_local: bool) -> SourceAddress:
    if not is_key(key) or key.startswith(".penstock/") or "/.penstock/" in key:
        raise _no_address(url)
    return SourceAddress(key, address, is_local)


def _no_address(url: str) -> UsageError:
    return UsageError(f"{url[:300]!r} is no address of an object", fix="Write s3://bucket/key.")


def _elsewhere(url: str, remote: Remote) -> UsageError:
    return UsageError(
        f"{url[:300]!r} is not in {remote.name} ({remote.url})", fix="Name the integration that it is in."
    )
