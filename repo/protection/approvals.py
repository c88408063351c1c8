"""That somebody else approves of a version: a record beside its commit, as true as who writes to the bucket is.

`.penstock/datasets/D/approvals/<commit>/<32 hex>`. Names are compared by the mail in them, if there is one.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Iterator

import msgspec

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.records import MAX_RECORD, format_time
from penstock.repo.bucket import object_keys
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import Repository
from penstock.repo.validation.problem import Problem

from .proposed_version import ProposedVersion

__all__ = ["Approval", "approvals", "approve", "check_approval"]

_MAIL = re.compile(r"<([^<>]+)>\s*\Z")
_MOST = 1000


class Approval(msgspec.Struct, frozen=True):
    """Who approves of a commit, and what they say."""

    penstock: int
    commit: str
    author: str
    message: str
    time: str


def approve(repository: Repository, access: WriteAccess, commit: bytes, author: str, message: str) -> Approval:
    """Approve of a commit. UsageError: it is one's own."""
    made_by = repository.commit(commit).author
    if _person(made_by) == _person(author):
        raise UsageError(
            f"{commit.hex()[:12]} is your own version",
            why=f"its author is {made_by}, and so are you",
            fix="Somebody else has to approve of it: --author, PENSTOCK_AUTHOR or git's user.email say who one is.",
        )
    made = Approval(1, commit.hex(), author, message, format_time(dt.datetime.now(dt.UTC)))
    key = object_keys.approval_prefix(repository.dataset, commit.hex()) + secrets.token_hex(16)
    access.create(repository.store, key, msgspec.json.format(msgspec.json.encode(made), indent=1), contested=False)
    return made


def approvals(repository: Repository, commit: bytes) -> Iterator[Approval]:
    """Yield who has approved of a commit. IntegrityError: what is there is no approval."""
    prefix = object_keys.approval_prefix(repository.dataset, commit.hex())
    for info in repository.store.list(prefix, limit=_MOST):
        if info.key == prefix:
            continue  # the marker that a console makes for a folder
        try:
            found = msgspec.json.decode(repository.store.get(info.key, limit=MAX_RECORD), type=Approval)
        except msgspec.DecodeError as error:
            raise IntegrityError(f"{info.key!r} is no approval", why=str(error), fix="Remove the object.") from error
        if found.commit == commit.hex():
            yield found


def check_approval(by: int, version: ProposedVersion) -> Iterator[Problem]:
    """Yield what nobody has approved of: the commit that the branch is to stand at, or what a merge brings in."""
    repository = version.repository
    wanted = version.merged if version.commit is None else (version.commit.known_commit,)
    if not wanted:
        yield Problem(
            "", "approval", "a version is approved of before this branch has it: push to another one, and merge"
        )
    for commit in wanted:
        author = _person(repository.commit(commit).author)
        people = {_person(each.author) for each in approvals(repository, commit)} - {author}
        if len(people) < by:
            yield Problem("", "approval", f"{len(people)} of {by} others have approved of {commit.hex()[:12]}")


def _person(author: str) -> str:
    mail = _MAIL.search(author)
    return (mail[1] if mail is not None else author).strip().casefold()
