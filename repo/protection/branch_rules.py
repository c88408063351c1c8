"""Say what is to hold on a branch, and what holds: the records of rules of a dataset. Blocking."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import islice

from penstock.errors import NotFoundError, ProtectedError
from penstock.manifest.records import BranchRules, CheckRule, ProtectionRecord, format_time
from penstock.repo.refs.refs import Head, WriteAccess, write_id
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.bucket_session import BucketSession

from .clearance import problems_of
from .proposed_version import ProposedVersion

__all__ = ["ProtectedBranch", "protect_branch", "protected_branches", "unprotect_branch"]

_NAMED = 50


@dataclass(frozen=True, slots=True)
class ProtectedBranch:
    """A branch, what is to hold on it, and by which record. `unchecked`: it was moved by who does not know that."""

    branch: str
    rules: BranchRules
    number: int
    record: ProtectionRecord
    unchecked: bool


def protected_branches(repository: Repository) -> list[ProtectedBranch]:
    """Return the protected branches of a dataset, by name."""
    found = repository.refs.protection()
    if found is None:
        return []
    number, record = found
    return [
        ProtectedBranch(branch, rules, number, record, _is_unchecked(repository.refs.head(branch), rules))
        for branch, rules in sorted(record.branches.items())
    ]


def _is_unchecked(head: Head | None, rules: BranchRules) -> bool:
    if head is None or (head.record.commit is not None and head.record.commit.hex() == rules.passed):
        return False
    return head.record.protection is None or head.record.protection.rules < rules.since


def protect_branch(
    session: BucketSession,
    repository: Repository,
    access: WriteAccess,
    branch: str,
    checks: tuple[CheckRule, ...],
    author: str,
    *,
    anyway: bool = False,
) -> int:
    """Have a branch held against checks from now on; return the number of the record.

    What the branch has is held against them first. ProtectedError: it does not fit; with `anyway` that is left as it
    is, and the next version has to fit as a whole. ConflictError: the rules have changed meanwhile.
    """
    found = access.protection()
    head = repository.refs.head(branch)
    against: dict[str, str] = {}
    passed = None
    if head is not None and head.record.commit is not None and head.record.top_hash is not None:
        version = ProposedVersion(
            session,
            repository,
            access,
            branch,
            repository.manifest(head.record.top_hash),
            None,
            VersionId(head.record.top_hash, head.record.commit),
            (),
            author,
        )
        first = tuple(check for check in checks if check.check != "approval")  # of what comes, not of what is there
        problems = list(islice(problems_of(first, version, {}, against), _NAMED))
        if problems and not anyway:
            raise ProtectedError(
                f"what branch {branch!r} of {repository.dataset!r} has does not fit",
                why=f"{problems[0].rule}: {problems[0].what}",
                fix="Mend what is named first, or add --anyway: then the next version has to fit as a whole.",
                candidates=[f"{each.path or each.rule}: {each.what}" for each in problems],
            )
        if not problems:
            passed = head.record.commit.hex()
    elif repository.refs.tag(branch) is not None:
        raise NotFoundError(
            f"{branch!r} is a tag of {repository.dataset!r}", why="tags never move", fix="Name a branch."
        )
    branches = dict(found[1].branches) if found is not None else {}
    branches[branch] = BranchRules(checks, found[0] + 1 if found is not None else 0, passed, against)
    return repository.refs.protect(access, found, _record(branches, author))


def unprotect_branch(repository: Repository, access: WriteAccess, branch: str, author: str) -> int:
    """Hold a branch against nothing any more. NotFoundError: it is not protected."""
    found = access.protection()
    if found is None or branch not in found[1].branches:
        raise NotFoundError(f"branch {branch!r} of {repository.dataset!r} is not protected")
    branches = {name: rules for name, rules in found[1].branches.items() if name != branch}
    return repository.refs.protect(access, found, _record(branches, author))


def _record(branches: dict[str, BranchRules], author: str) -> ProtectionRecord:
    return ProtectionRecord(branches, author, format_time(dt.datetime.now(dt.UTC)), write_id())
