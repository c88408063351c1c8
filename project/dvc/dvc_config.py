"""What ``.dvc/config`` and ``.dvc/config.local`` say: remotes, and where the cache is. Bytes in, values out; pure.

Where DVC keeps its data is left to it: of each remote that can be one, there is one for Penstock *beside* it. Keys and
passwords are taken nowhere.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import IntegrityError, UsageError
from penstock.repo.settings.remote import Remote, absolute_address

__all__ = ["DvcConfig", "parse_config"]

_SECTION = re.compile(r"""'?remote "(.*)"'?\Z""")
_TAKEN = {
    "endpointurl": "endpoint_url",
    "profile": "profile",
    "region": "region",
    "sse": "sse",
    "sse_kms_key_id": "sse_kms_key_id",
}
_SECRETS = frozenset({"access_key_id", "secret_access_key", "session_token", "password", "sse_customer_key"})
_BESIDE = "-penstock"


@dataclass(frozen=True, slots=True)
class DvcConfig:
    """Remotes by name, as Penstock can open them: `data` where DVC's objects are, `own` for what Penstock pushes.

    `default` is the name of DVC's own default one. `cache`: where the cache was moved to, None: ``.dvc/cache``.
    `remarks`: what could not be taken, and why.
    """

    data: Mapping[str, Remote] = field(default_factory=dict)
    own: Mapping[str, Remote] = field(default_factory=dict)
    default: str | None = None
    cache: str | None = None
    remarks: tuple[str, ...] = ()


def parse_config(files: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> DvcConfig:
    """Return what config files say, each with the folder that it lies in; what a later one says goes before.

    IntegrityError: one cannot be read.
    """
    sections: dict[str, dict[str, str]] = {}
    for folder, body in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(body.decode())
        except (configparser.Error, UnicodeDecodeError) as error:
            raise IntegrityError(f"the configuration in {folder} cannot be read", why=str(error)) from error
        for section in parser.sections():
            values = dict(parser[section])
            for key in ("url", "dir"):
                if key in values:
                    values[key] = _placed(folder, values[key])
            sections.setdefault(section, {}).update(values)
    remotes = {found[1]: values for name, values in sections.items() if (found := _SECTION.match(name))}
    config = _Remotes(remotes)
    for name in remotes:
        config.take(name)
    default = sections.get("core", {}).get("remote")
    return DvcConfig(
        config.data,
        config.own,
        default if default in config.own else None,
        sections.get("cache", {}).get("dir"),
        tuple(config.remarks),
    )


def _placed(folder: str, address: str) -> str:
    return address if "://" in address else os.path.normpath(os.path.join(folder, address))


class _Remotes:
    def __init__(self, remotes: Mapping[str, Mapping[str, str]]) -> None:
        self._remotes = remotes
        self.data: dict[str, Remote] = {}
        self.own: dict[str, Remote] = {}
        self.remarks: list[str] = []

    def take(self, name: str) -> None:
        values = self._remotes[name]
        url = self._resolved(values.get("url", ""))
        if values.get("version_aware") == "true" or values.get("worktree") == "true":
            self.remarks.append(f"remote {name}: it keeps versions itself, and has no objects by their hashes")
            return
        if given := sorted(_SECRETS & values.keys()):
            self.remarks.append(f"remote {name}: {', '.join(given)} stay with DVC; have a profile of AWS say them")
        options = {ours: values[theirs] for theirs, ours in _TAKEN.items() if theirs in values}
        if values.get("allow_anonymous_login") == "true":
            options["anonymous"] = True  # type: ignore[assignment]
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-") or "remote"
        try:
            data = Remote(name=f"dvc-{safe}", url=_address(url), **options)  # type: ignore[arg-type]
            own = Remote(name=safe, url=_beside(data.url), **options)  # type: ignore[arg-type]
        except UsageError as error:
            self.remarks.append(f"remote {name}: {url} is not read: {error.why or error.what}")
            return
        self.data[name], self.own[name] = data, own

    def _resolved(self, url: str) -> str:
        for _ in self._remotes:
            if not url.startswith("remote://"):
                break
            other, _, rest = url.removeprefix("remote://").partition("/")
            above = self._remotes.get(other, {}).get("url", "")
            url = f"{above.rstrip('/')}/{rest}".rstrip("/")
        return url


def _address(url: str) -> str:
    return absolute_address(url) if url.startswith(("/", "file:")) else url.rstrip("/")


def _beside(url: str) -> str:
    if re.fullmatch(r"s3://[^/]+", url):
        return url + "/penstock"
    return url + _BESIDE
