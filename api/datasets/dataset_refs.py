"""Branches and tags of a dataset: which there are, where they have been, and what moves them. One part of `Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from penstock.api.handles import DEFAULT_BRANCH
from penstock.errors import AccessError
from penstock.repo.history import branches as refs
from penstock.repo.history import log as history
from penstock.repo.history.log import find_published
from penstock.repo.write.publish import stands_at

from .dataset_session import DatasetSession, authorship
from .versions import BranchInfo, BranchMove, RefChange, TagInfo, first_line, hex_or_none, move_of, ref_change

__all__ = ["DatasetRefs"]


class DatasetRefs(DatasetSession):
    """The refs of a `Dataset`."""

    __slots__ = ()

    def moves(self, branch: str = DEFAULT_BRANCH, *, limit: int | None = None) -> Iterator[BranchMove]:
        """Yield where a branch has been, the newest move first, resets and deletions among them: its reflog.

        NotFoundError: there never was such a branch.
        """
        repository = self._repository
        yield from map(move_of, islice(history.moves(repository, branch), limit))

    def branches(self) -> list[BranchInfo]:
        """Return the branches, by name. NotFoundError: there is none, nor anything else of the dataset."""
        repository = self._repository
        found = []
        for head in history.branches(repository):
            at = stands_at(head)
            message = first_line(repository.commit(at.known_commit).message)
            found.append(BranchInfo(head.branch, at.known_commit.hex(), at.top_hash.hex(), head.record.time, message))
        if not found:
            repository.resolve(None)  # raises, and says what there is
        return found

    def tags(self) -> list[TagInfo]:
        """Return the tags, by name. NotFoundError: there is nothing of the dataset."""
        repository = self._repository
        found = [
            TagInfo(name, hex_or_none(record.commit), hex_or_none(record.top_hash), record.time, record.author)
            for name, record in history.tags(repository)
        ]
        if not found and not repository.exists():
            repository.resolve(None)  # raises, and says what there is instead
        return found

    def names_by_commit(self, *, most: int = 1000) -> dict[str, list[str]]:
        """Return the names of branches and tags by the commit that they stand at: branches first, `most` of both.

        Empty where they may not be listed.

        >>> import penstock
        >>> list(penstock.Dataset("demo/photos").names_by_commit().values())
        [['main'], ['v1']]
        """
        found: dict[str, list[str]] = {}
        repository = self._repository
        try:
            for head in islice(history.branches(repository), most):
                found.setdefault(stands_at(head).known_commit.hex(), []).append(head.branch)
            for name, record in islice(history.tags(repository), most):
                if record.commit:
                    found.setdefault(record.commit.hex(), []).append(name)
        except AccessError:
            return {}
        return found

    def branch(self, name: str, ref: str | None = None, *, author: str | None = None) -> RefChange:
        """Make a branch that stands at a version. ConflictError: there is one of that name.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> photos.branch("review", "v1").name
        'review'
        >>> photos.delete_branch("review").changed
        True
        """
        with self._writing(authorship(author, "", "branch"), name) as writer:
            start = find_published(writer.repository, ref)
            refs.make_branch(writer, start)
            return ref_change(name, start, risk=writer.risk)

    def delete_branch(self, name: str, *, force: bool = False, author: str | None = None) -> RefChange:
        """Delete a branch and return where it stood; its versions stay, and its moves. UsageError: ``main``, unforced.

        NotFoundError: there is no such branch.
        """
        with self._writing(authorship(author, "", "delete"), name) as writer:
            stood = refs.delete_branch(writer, force=force)
            return ref_change(name, stood, risk=writer.risk)

    def tag(self, name: str, ref: str | None = None, *, author: str | None = None) -> RefChange:
        """Give a version a tag, for ever. ConflictError: the tag stands for another version.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> photos.tag("published").commit == photos.branches()[0].commit
        True
        """
        with self._writing(authorship(author, "", "tag"), tag=name) as writer:
            version = find_published(writer.repository, ref)
            refs.make_tag(writer, version)
            return ref_change(name, version, risk=writer.risk)

    def reset(self, to: str, *, branch: str = DEFAULT_BRANCH, author: str | None = None) -> RefChange:
        """Let a branch stand at the version `to`, older or not. `moves` tells where it stood.

        NotFoundError: there is no such branch or version.
        """
        with self._writing(authorship(author, "", "reset"), branch) as writer:
            writer.require_head()
            target = find_published(writer.repository, to)
            before = refs.reset_branch(writer, target)
            change = ref_change(branch, target, before=before, risk=writer.risk)
            return replace(change, changed=before is not None)
