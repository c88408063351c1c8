"""What this process has opened, for the metadata of what it makes: `penstock.stamp`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from penstock.api.opened import OpenedFiles, OpenedVersion, files_opened, left_out, versions_opened
from penstock.mountpoint.mount_reads import reads_of_this_process
from penstock.repo.runs.run_record import DataOrder, FileSubset, OpenedData, ProcessStamp, new_stamp, stamp_json

__all__ = ["process_stamp", "stamp"]


def stamp() -> dict[str, Any]:
    """Return what this process has opened, as plain values: for a checkpoint, a model card, a tracker.

    Versions by their top hashes and commits; of datasets of `penstock.torch` which files were meant, and their order;
    and mounts from which this process, or one that it has started, has read. What a process opened that it has started
    is in the stamp of that one, mounts aside. `penstock.reproduce` mounts it again, `penstock.record_run` keeps it in
    the buckets.

    >>> import penstock
    >>> with penstock.open("demo/photos:v1") as package:
    ...     data = package.read("labels.csv")
    >>> opened = penstock.stamp()["opened"]
    >>> ("demo/photos:v1", "package") in {(each["handle"], each["by"]) for each in opened}
    True
    """
    return stamp_json(process_stamp())


def process_stamp() -> ProcessStamp:
    """Return the same as a value."""
    meant = files_opened()
    told = [_of_files(files, epoch) for files, epoch in _ordered(meant)]
    covered = {files.version for files, _ in meant}
    told += [_of_version(version) for version in versions_opened() if version not in covered]
    reads, silent = reads_of_this_process()
    told += [
        OpenedData(
            "mount",
            each.handle,
            each.bucket,
            each.dataset,
            each.top_hash,
            each.commit,
            _subdir(each.handle),
            mountpoint=each.mountpoint,
            changed=each.changed,
        )
        for each in reads
    ]
    return new_stamp(tuple(told), left_out(), tuple(silent), dt.datetime.now(dt.UTC))


def _ordered(meant: list[tuple[OpenedFiles, int]]) -> list[tuple[OpenedFiles, int]]:
    """Leave out what was told without an order where it was told with one, too."""
    ordered = {files._replace(order=None) for files, _ in meant if files.order is not None}
    return [(files, epoch) for files, epoch in meant if files not in ordered]


def _of_version(version: OpenedVersion) -> OpenedData:
    return OpenedData("package", *version)


def _of_files(files: OpenedFiles, epoch: int) -> OpenedData:
    order = None
    if files.order is not None:
        shuffle, seed, rank, ranks, drop_last = files.order
        order = DataOrder(shuffle, seed, epoch, rank, ranks, drop_last)
    subset = FileSubset(files.files, files.filter, files.function, files.digest)
    return OpenedData("torch", *files.version, subset=subset, order=order)


def _subdir(handle: str) -> str:
    from penstock.api.handles import parse_handle

    return parse_handle(handle).subdir
