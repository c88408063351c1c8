"""What a mount's daemon is told on its standard input, and what it answers on its standard output: JSON, once each.

Both ends are of the same installation, so there is no version in it. Text may hold surrogate escapes (paths are
bytes), which is why it is ASCII.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from penstock.errors import PenstockError
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import Trust

from .error_form import failure_from_json, failure_json
from .mount_options import MountOptions
from .registry import MountRecord

__all__ = ["MountRequest", "decode_answer", "decode_request", "encode_failure", "encode_ready", "encode_request"]


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What to mount where. `mountpoint` is absolute and without symlinks."""

    handle: str
    mountpoint: str
    settings: Settings
    options: MountOptions
    log: str | None


def encode_request(request: MountRequest) -> bytes:
    """Write a request."""
    settings = request.settings
    return json.dumps(
        {
            "handle": request.handle,
            "mountpoint": request.mountpoint,
            "config_path": str(settings.config_path),
            "cache_directory": str(settings.cache_directory),
            "cache_size": settings.cache_size,
            "remotes": [asdict(remote) for remote in settings.remotes.values()],
            "trust": asdict(settings.trust),
            "options": asdict(request.options),
            "log": request.log,
        }
    ).encode("ascii")


def decode_request(body: bytes) -> MountRequest:
    """Read a request."""
    found = json.loads(body)
    remotes = [Remote(**values) for values in found["remotes"]]
    settings = Settings(
        Path(found["config_path"]),
        Path(found["cache_directory"]),
        found["cache_size"],
        {remote.name: remote for remote in remotes},
        Trust(tuple(found["trust"]["local"]), _names(found["trust"]["buckets"])),
    )
    return MountRequest(found["handle"], found["mountpoint"], settings, MountOptions(**found["options"]), found["log"])


def _names(found: list[str] | None) -> tuple[str, ...] | None:
    return tuple(found) if found is not None else None


def encode_ready(record: MountRecord) -> bytes:
    """Write the answer that the tree is readable."""
    return json.dumps({"ready": asdict(record)}).encode("ascii") + b"\n"


def encode_failure(error: PenstockError) -> bytes:
    """Write the answer that it is not, and why."""
    return json.dumps({"failed": failure_json(error)}).encode("ascii") + b"\n"


def decode_answer(body: bytes) -> MountRecord:
    """Read the answer; raises the error that the daemon met."""
    found = json.loads(body)
    if "ready" in found:
        values = found["ready"]
        major, minor = values.pop("device")
        return MountRecord(**values, device=(major, minor))
    raise failure_from_json(found["failed"])
