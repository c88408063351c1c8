"""A directory pushed by many processes, each its part, and made one version. One part of `Dataset`.

What only some methods need is imported by those.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from penstock.api.handles import DEFAULT_BRANCH
from penstock.progress import SILENT, Progress

from .dataset_session import DatasetSession, authorship
from .push import PushReport, SkippedFile, skipped

__all__ = ["DatasetParts", "PartReport"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """What a part of a push sent: `number` of `of`, for the run of that name. `risk`: empty, or as `PushReport`'s."""

    run: str
    number: int
    of: int
    files: int
    bytes: int
    bytes_uploaded: int
    objects_uploaded: int
    skipped: tuple[SkippedFile, ...]
    risk: str


class DatasetParts(DatasetSession):
    """What pushes to a `Dataset` from many machines."""

    __slots__ = ()

    def push_part(
        self,
        directory: str | os.PathLike[str],
        number: int,
        of: int,
        *,
        run: str,
        branch: str = DEFAULT_BRANCH,
        modes: bool = False,
        xattrs: bool = False,
        progress: Progress = SILENT,
    ) -> PartReport:
        """Send part `number` of `of`, counted from 1, of a directory that all parts see: `merge_parts` publishes them.

        A hash of its path says which part a file belongs to. `run` names what belongs together, such as the id of a job
        array: a new name each time. To send a part again is safe. `branch`: what it has already is not sent.

        UsageError: there is no such part. Other errors as `push`.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/parted")
        >>> [photos.push_part("photos", number, 2, run="job 1").number for number in (1, 2)]
        [1, 2]
        >>> photos.merge_parts("job 1").top_hash == penstock.hash_directory("photos").top_hash
        True
        """
        from penstock.repo.push.local_attributes import KeptAttributes
        from penstock.repo.push.part_push import Share, push_part

        share = Share(number, of)
        done = push_part(
            os.fspath(directory),
            self._session.get(),
            self._name,
            run,
            share,
            authorship(None, "", "push"),
            progress,
            KeptAttributes(modes, xattrs),
            branch=branch,
        )
        return PartReport(
            run,
            number,
            of,
            done.files,
            done.bytes,
            done.bytes_uploaded,
            done.objects_uploaded,
            skipped(done.skipped),
            done.risk,
        )

    def merge_parts(
        self,
        run: str,
        *,
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        drop_metadata: bool = False,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Make one version of all parts of a run: the one that a single push of the directory would have made.

        Memory does not grow with it. What was merged already is merged again to no effect.

        NotFoundError: parts are missing, and are named. ConflictError: they do not belong together, or the branch moved
        meanwhile. IntegrityError: a part is damaged, or its data is gone. The branch is then where it was.
        """
        from penstock.repo.bucket.leases import LeaseKind
        from penstock.repo.push.parts_merge import RUN, merge_parts
        from penstock.repo.write.version_writer import VersionWriter

        who = replace(authorship(author, message, "push"), made_with={RUN: run})
        session, kind = self._session.get(), LeaseKind.PUSH
        repository = self._repository
        with VersionWriter(session, repository, kind, who, branch=branch, tag=tag, progress=progress) as writer:
            done = merge_parts(writer, run, progress, drop_metadata=drop_metadata)
            risk = writer.risk
        published = done.landed.published
        return PushReport(
            handle=f"{self.handle}:{branch}",
            tag=tag,
            top_hash=published.top_hash.hex(),
            commit=published.known_commit.hex() if done.landed.changed else None,
            changed=done.landed.changed,
            files=done.files,
            bytes=done.bytes,
            bytes_uploaded=done.bytes_sent,
            objects_uploaded=done.objects_sent,
            metadata_bytes_uploaded=done.node_bytes_sent,
            metadata_objects_uploaded=done.nodes_sent,
            skipped=(),
            unpinned=0,
            unversioned=0,
            allowed_folder=None,
            unreadable=(),
            risk=risk,
            notes=(f"run {run!r} had been merged already",) if done.again else (),
        )
