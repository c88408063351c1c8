"""Say in which order files of a mount will be opened: `penstock.announce`.

The mount's end is `vfs.serve.announcements`. Blocking, and quick: a part of a list is on its way while the next one is
made. Needs neither pyfuse3 nor trio nor boto3, so that a training process and its workers can call it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from functools import lru_cache

from penstock.errors import NotFoundError, UsageError

from .control_client import ask
from .control_messages import AnnounceAnswer, AnnounceRequest
from .kernel_mounts import KernelMount, enclosing, top_mount

__all__ = ["announce"]

_PART = 256 << 10
"""Bytes of paths in one request; the daemon takes 1 MiB at the most."""
_PATIENCE = 30.0
_DIRECTORIES = 65536


def announce(
    paths: Iterable[str | bytes | os.PathLike[str]],
    *,
    mountpoint: str | os.PathLike[str] | None = None,
    name: str = "",
) -> None:
    """Tell a mount which files will be opened, in this order, so that they are there before they are.

    `paths` are files of a mount: absolute or relative to the working directory, or, with `mountpoint`, to that. They
    may lie in several mounts. An announcement replaces the last one of this process under the same `name`; several
    processes may announce at once. Nothing depends on it: files may be opened in another order, or not at all.

    NotFoundError: a path that is in no mount of Penstock's, or not there. UsageError: no file, or more than 16 million.
    AccessError: another user's mount. PenstockError: its daemon does not answer.
    """
    client = f"{os.getpid()} {name}"
    parts: dict[str, _Part] = {}
    base = os.path.realpath(mountpoint) if mountpoint is not None else None
    bound = top_mount(base) if base is not None else None
    if base is not None:
        parts[base] = _Part(base, client)

    @lru_cache(_DIRECTORIES)
    def place_of(directory: str) -> tuple[str, str]:
        real = os.path.realpath(directory)
        if base is not None:
            if real != base and not real.startswith(base.rstrip("/") + "/"):
                raise NotFoundError(f"{directory} is not in the mount at {base}")
            return base, _inside(bound, real) if bound is not None else os.path.relpath(real, base)
        mount = enclosing(real)
        if mount is None:
            raise NotFoundError(
                f"{directory} is in no mount of Penstock's", fix="penstock mounts lists what is mounted."
            )
        return mount.mountpoint, _inside(mount, real)

    for path in paths:
        directory, file_name = os.path.split(os.fsdecode(path))
        if file_name in ("", ".", ".."):
            raise UsageError(f"{os.fsdecode(path)!r} is no file")
        found, inside = place_of(os.path.join(base or "", directory) if base else os.path.abspath(directory))
        part = parts.get(found)
        if part is None:
            part = parts[found] = _Part(found, client)
        part.add(file_name if inside == "." else f"{inside}/{file_name}")
    for part in parts.values():
        part.send(last=True)


def _inside(mount: KernelMount, path: str) -> str:
    """Return a path as it is from the root of what is mounted, of which a bind mount may show a directory."""
    return os.path.normpath(os.path.join(mount.root.lstrip("/"), os.path.relpath(path, mount.mountpoint)))


class _Part:
    """Paths in one mount that are not sent yet."""

    def __init__(self, mountpoint: str, client: str) -> None:
        self._mountpoint = mountpoint
        self._client = client
        self._token = secrets.token_hex(8)
        self._sent = 0
        self._waiting: list[str] = []
        self._bytes = 0

    def add(self, path: str) -> None:
        """Take a path; send those that wait when they are enough."""
        self._waiting.append(path)
        self._bytes += len(json.dumps(path)) + 2
        if self._bytes >= _PART:
            self.send(last=False)

    def send(self, *, last: bool) -> None:
        """Send what waits. The daemon takes as many as it finds in a few seconds; the rest is sent again."""
        while True:
            request = AnnounceRequest(self._client, self._token, self._sent, self._waiting, last)
            taken = ask(self._mountpoint, request, AnnounceAnswer, timeout=_PATIENCE).taken
            self._sent += taken
            self._waiting = self._waiting[taken:]
            if not self._waiting:
                break
        self._bytes = 0
