"""The history of a quilt package as versions of a branch: in order, with times, messages and metadata. Blocking.

Each version says in its commit which revision it is, so that to do it again adds only what is new, and what was cut off
goes on where it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import ConflictError
from penstock.manifest.records import format_time
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.history.branches import make_branch, make_tag, reset_branch
from penstock.repo.history.log import log
from penstock.repo.refs.ref_names import branch_head
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.publish import Authorship, stands_at
from penstock.repo.write.version_writer import VersionWriter

from .quilt_registry import QuiltRegistry, QuiltRevision
from .quilt_revision import RevisionCounts, publish_revision

__all__ = ["ImportedHistory", "import_history"]

_OPERATION = "import-quilt"
_LATEST = "latest"


@dataclass(slots=True)
class ImportedHistory:
    """What was imported: `added` revisions, beside `present` ones that were there; the sums of what was read."""

    added: int
    present: int
    head: VersionId
    counts: RevisionCounts
    tags: list[str]
    risk: str = ""


def import_history(
    registry: QuiltRegistry,
    name: str,
    session: BucketSession,
    repository: Repository,
    author: str,
    *,
    branch: str,
    require_versioned: bool = False,
    identity: bool = False,
    progress: Progress = SILENT,
) -> ImportedHistory:
    """Make each revision of a package that the branch has not the next version of it.

    quilt's ``latest``, where it is not the newest one, is a branch of that name; other pointers are tags.

    ConflictError: the branch has versions that did not come from the package. Else as
    `publish_revision`: what came before is there.
    """
    revisions = registry.revisions(name)
    there = _imported(session, repository, branch, name)
    head = branch_head(repository, branch)
    at = stands_at(head) if head is not None else None
    missing = [each for each in revisions if _mark(each) not in there]
    if at is not None and missing and at.commit not in {version.commit for version in there.values()}:
        raise ConflictError(
            f"branch {branch!r} of {repository.dataset!r} has versions that are not of the quilt package {name!r}",
            why="what is imported would not have what they have",
            fix="Import into another dataset, or another branch, and merge that.",
        )
    result = ImportedHistory(0, len(revisions) - len(missing), at or VersionId(b"", None), RevisionCounts(), [])

    def writing(authorship: Authorship, to: str, tag: str | None = None) -> VersionWriter:
        return VersionWriter(session, repository, LeaseKind.PUSH, authorship, branch=to, tag=tag, progress=progress)

    for revision in missing:
        manifest = registry.open(revision.top_hash)
        time = format_time(dt.datetime.fromtimestamp(revision.time, dt.UTC))
        who = Authorship(author, manifest.message or "", _OPERATION, _mark(revision), time=time)
        with writing(who, branch) as writer:
            header = {"package": name, "top_hash": revision.top_hash}
            at, counts = publish_revision(
                writer,
                at,
                manifest,
                header,
                require_versioned=require_versioned,
                identity=identity,
                progress=progress,
            )
            result.risk = writer.risk
        there[_mark(revision)] = at
        result.added += 1
        for field in ("entries", "bytes_read", "unversioned", "unproven"):
            setattr(result.counts, field, getattr(result.counts, field) + getattr(counts, field))
    assert at is not None  # a package has a revision
    result.head = at
    _name(registry, name, revisions, there, writing, Authorship(author, "", _OPERATION), result)
    return result


def _mark(revision: QuiltRevision) -> str:
    return f"quilt:{revision.name}:{revision.time}:{revision.top_hash}"


def _imported(session: BucketSession, repository: Repository, branch: str, name: str) -> dict[str, VersionId]:
    """Return the versions of the branch that are revisions of the package, by their marks."""
    head = branch_head(repository, branch)
    found: dict[str, VersionId] = {}
    if head is None:
        return found
    for logged in log(repository, session.load, stands_at(head).known_commit):
        mark = logged.commit.environment.get("write_id", "")
        if mark.startswith(f"quilt:{name}:"):
            found[mark] = VersionId(logged.commit.top_hash, logged.commit_id)
    return found


def _name(
    registry: QuiltRegistry,
    name: str,
    revisions: list[QuiltRevision],
    there: dict[str, VersionId],
    writing: Callable[[Authorship, str, str | None], VersionWriter],
    who: Authorship,
    result: ImportedHistory,
) -> None:
    by_hash = {each.top_hash: there[_mark(each)] for each in revisions}
    for pointer, top_hash in registry.tags(name).items():
        version = by_hash.get(top_hash)
        if version is None or (pointer == _LATEST and top_hash == revisions[-1].top_hash):
            continue
        with writing(who, _LATEST, None if pointer == _LATEST else pointer) as writer:
            writer.hold(version)
            if pointer != _LATEST:
                make_tag(writer, version)
            elif branch_head(writer.repository, _LATEST) is None:
                make_branch(writer, version)
            else:
                writer.require_head()
                reset_branch(writer, version)
        result.tags.append(pointer)
