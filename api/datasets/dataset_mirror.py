"""A dataset brought to another bucket, and kept there as it is here. One part of `Dataset`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, as_handle, bucket_for
from penstock.errors import StoreUnreachableError, UsageError
from penstock.progress import SILENT, Progress
from penstock.repo.session.bucket_session import open_session

from .dataset_session import DatasetSession

if TYPE_CHECKING:
    from penstock.repo.mirror.mirror import MirrorOutcome

__all__ = ["DatasetMirror", "MirrorReport"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a mirror did. `branches` and `tags` were moved or made, `versions` commits were not there before.

    Of `objects`, `bytes` in all, that were brought, the server copied `server_bytes` itself; `there` were there
    already. `elsewhere` counts objects outside of the bucket that new versions point to and that stay where they are,
    `brought` files that were copied from there. `changed`: False where there was nothing new. `risk`: empty, or why the
    destination may lose versions.
    """

    dataset: str
    to: str
    changed: bool
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    versions: int
    objects: int
    bytes: int
    server_bytes: int
    there: int
    elsewhere: int
    brought: int
    risk: str


class DatasetMirror(DatasetSession):
    """The mirrors of a `Dataset`."""

    __slots__ = ()

    def mirror(
        self,
        to: str | Handle,
        *,
        branch: str | None = None,
        bring: bool = False,
        deep: bool = False,
        progress: Progress = SILENT,
    ) -> MirrorReport:
        """Bring versions, history, branches and tags to another bucket, where the dataset has the same name.

        What is there is not sent again, so that a mirror is brought up to date by the same call, and one that was cut
        off goes on. Top hashes and commit ids are the same. With `branch`, only that branch and what led to it. With
        `bring`, files that lie outside of the bucket are copied into the mirror; else entries go on pointing to them.
        With `deep`, what a server copies by itself is read as well, and held against its hash.

        ConflictError: what is there has a history of its own; nothing was changed. NotFoundError: there is no such
        dataset or branch. UsageError: `to` is no bucket.

        >>> import os, penstock
        >>> _ = penstock.add_remote("copies", os.path.abspath("copies"))
        >>> done = penstock.Dataset("demo/photos").mirror("copies")
        >>> done.branches, done.tags, done.versions
        (('main',), ('v1',), 2)
        >>> penstock.Dataset("demo/photos").mirror("copies").changed
        False
        """
        from penstock.repo.mirror.mirror import mirror_dataset

        bucket = self._destination(to)
        with open_session(bucket, self.settings, cached=False) as target:
            outcome = mirror_dataset(
                self._session.get(), target, self._name, branch=branch, bring=bring, deep=deep, progress=progress
            )
        return _report(self.name, str(Handle(bucket, self._name)), outcome)

    def follow_mirror(
        self,
        to: str | Handle,
        *,
        branch: str | None = None,
        bring: bool = False,
        deep: bool = False,
        every: float = 10.0,
        end: threading.Event | None = None,
        progress: Progress = SILENT,
    ) -> Iterator[MirrorReport]:
        """Yield what `mirror` did, again and again, each time that there was something new, until `end` is set.

        One looks `every` so many seconds. While a bucket cannot be reached, it is tried again. Errors as `mirror`.
        """
        end = end or threading.Event()
        while not end.is_set():
            try:
                report = self.mirror(to, branch=branch, bring=bring, deep=deep, progress=progress)
            except StoreUnreachableError as error:
                _log.warning("%s is tried again: %s", self.name, error)
            else:
                if report.changed:
                    yield report
            end.wait(every)

    def _destination(self, to: str | Handle) -> str:
        bucket = bucket_for(to, self._name)
        if bucket is None:
            raise UsageError(
                f"{str(to)!r} is no bucket to mirror to",
                why="a mirror has the name of the dataset",
                fix=f"Name the bucket: {as_handle(to).bucket}",
            )
        return bucket


def _report(name: str, to: str, outcome: MirrorOutcome) -> MirrorReport:
    return MirrorReport(
        dataset=name,
        to=to,
        changed=bool(outcome.branches or outcome.tags or outcome.versions or outcome.described),
        branches=tuple(outcome.branches),
        tags=tuple(outcome.tags),
        versions=outcome.versions,
        objects=outcome.objects,
        bytes=outcome.bytes,
        server_bytes=outcome.server_bytes,
        there=outcome.there,
        elsewhere=outcome.elsewhere,
        brought=outcome.brought,
        risk=outcome.risk,
    )
