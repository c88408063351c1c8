"""The policy of a data set as its bucket has it: a sequence of records, of which the newest holds. Blocking."""

from __future__ import annotations

import datetime as dt

from penstock.errors import ConflictError
from penstock.manifest.records import PolicyRecord, format_time
from penstock.repo.bucket import object_keys
from penstock.repo.refs.refs import WriteAccess, write_id
from penstock.repo.refs.repository import Repository

from .policy_text import Policy, parse_policy

__all__ = ["NO_POLICY", "set_policy", "stated_policy"]

NO_POLICY = "everything for ever"
"""What a data set has that nobody has given a policy."""


def stated_policy(repository: Repository) -> tuple[int, PolicyRecord, Policy] | None:
    """Return the policy of a data set with its record and the number of that; None: nobody has said any.

    UsageError: it is written in words that this Penstock does not know.
    """
    found = repository.refs.policy()
    return (*found, parse_policy(found[1].policy)) if found is not None else None


def set_policy(repository: Repository, access: WriteAccess, text: str, author: str) -> Policy:
    """Say how long versions are kept from now on.

    UsageError: it is no policy. ConflictError: another one came first.
    """
    policy = parse_policy(text)
    found = repository.refs.policy()
    number = found[0] + 1 if found is not None else 0
    record = PolicyRecord(policy.text, author, format_time(dt.datetime.now(dt.UTC)), write_id())
    key = object_keys.number_key(object_keys.policy_prefix(repository.dataset), number)
    if not access.create(repository.store, key, record.encode()):
        raise ConflictError(
            f"the policy of {repository.dataset!r} has changed meanwhile", fix="Look at it, and run the command again."
        )
    return policy
