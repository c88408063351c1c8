"""Hold a version against the rules of the branch that is to stand at it: the one way by which a protected branch moves.

    rules of the dataset (a record in the bucket) ── which version has passed them? ── what changed since ── checks
                                                                                        └── HeldRules, for the ref
                                                                                        record

A move of a protected branch says in its record which record of rules it was held against. A move that does not, by a
client that knows no rules, has passed nothing: what comes next is compared with the last version that has, so that
what such a client has brought in is found by the next one that knows them.

Blocking; within the lease of whoever writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from penstock.errors import IntegrityError, NotFoundError, ProtectedError, UsageError
from penstock.manifest.records import BranchRules, CheckRule, HeldRules, Manifest
from penstock.repo.refs.refs import Head, Protection, WriteAccess
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.validation.problem import Problem

from .approvals import check_approval
from .command_check import check_command
from .content_checks import check_leak, check_rules, check_sizes
from .proposed_version import ProposedVersion

__all__ = ["Proposal", "clear", "last_passed", "problems_of"]

_NAMED = 50
_MOST_MOVES = 100
"""Moves of a branch that are looked through for one that was held against the rules."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where a branch is to go from `head`: to `manifest`; None: away.

    `commit`: it is there already. `merged`: a merge brings these in.
    """

    branch: str
    head: Head | None
    manifest: Manifest | None
    commit: VersionId | None
    merged: tuple[bytes, ...]
    author: str


def clear(
    session: BucketSession, repository: Repository, access: WriteAccess, found: Protection, proposal: Proposal
) -> HeldRules:
    """Return what says that a version was held against the rules of its branch.

    ProtectedError names what does not fit.
    """
    number, record = found
    rules = record.branches[proposal.branch]
    if proposal.manifest is None:
        raise ProtectedError(
            f"branch {proposal.branch!r} of {repository.dataset!r} is protected",
            why="it cannot be deleted as long as it is",
            fix=f"penstock protect {repository.handle}:{proposal.branch} --remove",
        )
    top, known = last_passed(repository, proposal.head, rules)
    base = None
    if top is not None:
        try:
            base = repository.manifest(top)
        except (IntegrityError, NotFoundError):
            known = {}  # it is gone: all of the new one is looked at
    version = ProposedVersion(
        session,
        repository,
        access,
        proposal.branch,
        proposal.manifest,
        base,
        proposal.commit,
        proposal.merged,
        proposal.author,
    )
    against: dict[str, str] = {}
    problems = list(islice(problems_of(rules.checks, version, known, against), _NAMED + 1))
    if problems:
        raise _refused(version, problems)
    return HeldRules(number, against)


def last_passed(repository: Repository, head: Head | None, rules: BranchRules) -> tuple[bytes | None, dict[str, str]]:
    """Return the content that has passed these rules last on this branch, and versions that it was compared with."""
    at = head
    for _ in range(_MOST_MOVES):
        if at is None:
            break
        record = at.record
        if record.commit is not None:
            if record.protection is not None and record.protection.rules >= rules.since:
                return record.top_hash, dict(record.protection.against)
            if record.commit.hex() == rules.passed:
                return record.top_hash, dict(rules.against)
        at = repository.refs.move_at(at.branch, at.number - 1) if at.number else None
    return None, {}


def problems_of(
    checks: tuple[CheckRule, ...], version: ProposedVersion, known: dict[str, str], against: dict[str, str]
) -> Iterator[Problem]:
    """Yield what does not fit. `against` is told the versions of other data sets that it was compared with."""
    for rule in checks:
        if rule.check in ("schema", "rules", "pairs"):
            yield from check_rules(rule, version)
        elif rule.check in ("size", "total", "entries"):
            yield from check_sizes(rule, version)
        elif rule.check == "leak":
            problems, top = check_leak(rule, version, known)
            against[str(rule.settings["of"])] = top
            yield from problems
        elif rule.check == "command":
            yield from check_command(str(rule.settings.get("command")), version)
        elif rule.check == "approval":
            yield from check_approval(int(rule.settings.get("by", 1)), version)
        else:
            raise UsageError(
                f"the rules of {version.repository.dataset!r} have a check {rule.check!r}",
                why="this Penstock does not know it, and a later one may have written it",
                fix="Upgrade Penstock.",
            )


def _refused(version: ProposedVersion, problems: list[Problem]) -> ProtectedError:
    count = len(problems)
    told = [f"{each.path}: {each.what}" if each.path else f"{each.rule}: {each.what}" for each in problems[:_NAMED]]
    if count > _NAMED:
        told.append("and more")
    kinds = ", ".join(sorted({each.rule for each in problems}))
    return ProtectedError(
        f"branch {version.branch!r} of {version.repository.dataset!r} is protected, and does not take this",
        why=f"it does not fit: {kinds}; nothing has moved",
        fix=f"Mend what is named, or use another branch; penstock protect {version.repository.handle}:{version.branch} "
        "shows the rules.",
        candidates=told,
    )
