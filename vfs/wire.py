"""What a mount's daemon is told on its standard input, and what it answers on its standard output: JSON, once each.

Both ends are of the same installation, so there is no version in it. Text may hold surrogate escapes (paths are
bytes), which is why it is ASCII.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from penstock import errors
from penstock.errors import AmbiguousError, PenstockError
from penstock.repo.remotes import Remote
from penstock.repo.settings import Settings

from .options import MountOptions
from .registry import MountRecord

__all__ = ["MountRequest", "decode_answer", "decode_request", "encode_failure", "encode_ready", "encode_request"]

_KINDS: dict[str, type[PenstockError]] = {
    name: kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, PenstockError)
}


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
    )
    return MountRequest(found["handle"], found["mountpoint"], settings, MountOptions(**found["options"]), found["log"])


def encode_ready(record: MountRecord) -> bytes:
    """Write the answer that the tree is readable."""
    return json.dumps({"ready": asdict(record)}).encode("ascii") + b"\n"


def encode_failure(error: PenstockError) -> bytes:
    """Write the answer that it is not, and why."""
    candidates = error.candidates if isinstance(error, AmbiguousError) else ()
    found = {"kind": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix}
    return json.dumps({"failed": {**found, "candidates": candidates}}).encode("ascii") + b"\n"


def decode_answer(body: bytes) -> MountRecord:
    """Read the answer; raises the error that the daemon met."""
    found = json.loads(body)
    if "ready" in found:
        values = found["ready"]
        major, minor = values.pop("device")
        return MountRecord(**values, device=(major, minor))
    failed = found["failed"]
    kind = _KINDS.get(failed["kind"], PenstockError)
    told = {"why": failed["why"], "fix": failed["fix"]}
    if kind is AmbiguousError:
        raise AmbiguousError(failed["what"], candidates=failed["candidates"], **told)
    raise kind(failed["what"], **told)
