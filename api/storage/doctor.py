"""What this machine and a bucket let Penstock do, what the rest costs, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.api.handles import Handle, as_handle
from penstock.api.settings import Settings
from penstock.mountpoint.machine_checks import check_machine
from penstock.repo.doctor.access_checks import check_bucket
from penstock.repo.doctor.check import Check

__all__ = ["Check", "doctor"]


def doctor(
    bucket: str | Handle | None = None, *, write: bool = False, settings: Settings | None = None
) -> Iterator[Check]:
    """Yield one check after the other: of this machine and, if one is named, of a bucket or a dataset in it.

    `write`: an object below ``.penstock/probe/`` of the bucket is made and deleted to see whether it may be.

    >>> import penstock
    >>> [check.state for check in penstock.doctor("demo") if check.name == "writing"]
    ['skipped']
    """
    settings = settings or Settings.load()
    yield from check_machine(settings)
    if bucket is not None:
        yield from check_bucket(as_handle(bucket), settings, write=write)
