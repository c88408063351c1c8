"""What a stamp names, mounted again: `penstock.reproduce`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.api.handles import Handle, parse_handle
from penstock.api.mounts.mounts import MountInfo, mount
from penstock.api.settings import Settings
from penstock.errors import ConflictError, NotFoundError, PenstockError, UsageError
from penstock.mountpoint.unmount import unmount
from penstock.repo.runs.run_record import OpenedData, read_stamp
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.address import bucket_at

__all__ = ["ReproducedData", "reproduce"]


@dataclass(frozen=True, slots=True)
class ReproducedData:
    """A version of a stamp, mounted again at a directory. `opened` is what the stamp says of it: subset, order."""

    mount: MountInfo
    opened: tuple[Mapping[str, Any], ...]


def reproduce(
    stamp: Mapping[str, Any] | str | bytes,
    directory: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> list[ReproducedData]:
    """Mount exactly what a stamp names, read-only: one version at the directory, of several each below it.

    The stamp is what `penstock.stamp` returned, as plain values or JSON; or a document that has it as ``penstock``.
    Versions are found by their commits and known by their top hashes, in the bucket that has the address of then,
    whatever it is called here. Orders are not mounted: give `penstock.torch.Sampler` what the stamp has.

    UsageError: it is no stamp, or names nothing. NotFoundError: a version is gone; then nothing is mounted.
    """
    import msgspec

    meant = read_stamp(stamp)
    if not meant.opened:
        raise UsageError("the stamp names no version", why="its process had opened none", fix="Stamp later in the run.")
    settings = settings or Settings.load()
    wanted: dict[Handle, list[OpenedData]] = {}
    for each in meant.opened:
        wanted.setdefault(_exact(each, settings), []).append(each)
    place = os.fspath(directory)
    places = [place] if len(wanted) == 1 else [os.path.join(place, name) for name in _names(list(wanted))]
    made: list[ReproducedData] = []
    try:
        for handle, where in zip(wanted, places, strict=True):
            os.makedirs(where, exist_ok=True)
            info = mount(handle, where, settings=settings)
            made.append(ReproducedData(info, tuple(msgspec.to_builtins(each) for each in wanted[handle])))
            if info.top_hash != wanted[handle][0].top_hash:
                raise ConflictError(
                    f"{handle} is another version than the stamp has",
                    why=f"its top hash is {info.top_hash}, and was {wanted[handle][0].top_hash}",
                )
    except PenstockError:
        for done in made:  # all of it, or nothing
            unmount(done.mount.mountpoint)
        raise
    return made


def _exact(opened: OpenedData, settings: Settings) -> Handle:
    """Return a handle of exactly what was opened. NotFoundError: it is gone."""
    bucket = bucket_at(settings, opened.handle, opened.bucket)
    with open_session(bucket, settings, cached=False) as session:
        repository = session.repository(opened.dataset)
        for name in filter(None, (opened.commit, opened.top_hash)):
            try:
                version = repository.resolve(name)
            except NotFoundError:
                continue
            if version.top_hash.hex() == opened.top_hash:
                return replace(parse_handle(f"{bucket}/{opened.dataset}"), ref=name, subdir=opened.subdir)
    raise NotFoundError(
        f"the version {opened.top_hash[:12]} of {opened.dataset!r} is not in {opened.bucket}",
        why="no branch or tag led to it, and gc has deleted it; or the bucket is another one"
        f" ({opened.handle} when it was opened)",
        fix="A run that penstock.record_run has recorded keeps its versions. A copy of the bucket may have it: "
        "penstock remote add gives that one a name.",
    )


def _names(handles: list[Handle]) -> list[str]:
    names: list[str] = []
    for handle in handles:
        name = base = handle.dataset or "data"
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names
