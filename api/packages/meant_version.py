"""Which version a package is: looked up once, and opened again by what was found. Any thread."""

from __future__ import annotations

from msgspec import structs

from penstock.api.handles import Handle
from penstock.api.opened import OpenedVersion, note_version
from penstock.api.settings import Settings
from penstock.errors import NotFoundError
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot, open_snapshot

__all__ = ["MeantVersion", "open_meant", "opened_version"]


class MeantVersion:
    """Which version a package is, once that was looked up: it stays that one whatever its ref leads to later.

    What was asked for as a `tag` or a `hash` has to be one then.
    """

    def __init__(self, pin: Pin | None, tag: str | None = None, hash: str | None = None) -> None:  # noqa: A002  # its name
        self.pin = pin
        self._tag = tag
        self._hash = hash

    def check(self, snapshot: Snapshot) -> None:
        """Raise NotFoundError where what was opened is no tag or hash of that name."""
        version = snapshot.version
        if self._tag is not None:
            record = snapshot.repository.refs.tag(self._tag)
            if record is None or record.top_hash != version.top_hash:
                raise NotFoundError(
                    f"{self._tag!r} is no tag of {snapshot.dataset!r}",
                    fix="Name a branch in the handle, after a colon.",
                )
        if self._hash is not None:
            names = [each.hex() for each in (version.commit, version.top_hash) if each is not None]
            if not any(name.startswith(self._hash.lower()) for name in names):
                raise NotFoundError(
                    f"{self._hash!r} is no version's hash in {snapshot.dataset!r}",
                    fix="Give 7 digits of a top hash or commit id; `penstock log` lists them.",
                )


def open_meant(handle: Handle, settings: Settings, meant: MeantVersion) -> Snapshot:
    """Open the version that a handle names: the one that `meant` holds since it was looked up first."""
    snapshot = open_snapshot(str(handle), settings, pin=meant.pin)
    if meant.pin is None:
        try:
            meant.check(snapshot)
        except BaseException:
            snapshot.close()
            raise
        # Without its commit, which costs a request: few ask for author or time, and those read it then.
        meant.pin = Pin.whole(snapshot.version, snapshot.manifest, None)
        if handle.subdir:
            meant.pin = structs.replace(meant.pin, root=snapshot.root, metadata=snapshot.root_metadata)
    snapshot.session.nodes.begin_narrow()
    note_version(opened_version(handle, snapshot))
    return snapshot


def opened_version(handle: Handle, snapshot: Snapshot) -> OpenedVersion:
    """Return which version a handle has opened, as a stamp has it."""
    commit = snapshot.commit_id.hex() if snapshot.commit_id is not None else None
    where = snapshot.bucket_url, snapshot.dataset, snapshot.top_hash.hex()
    return OpenedVersion(str(handle), *where, commit, handle.subdir)
