"""What a policy keeps of a dataset, and what it would let go: told without a look at anything but commits and refs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from penstock.manifest.records import Commit, parse_time
from penstock.repo.bucket import object_keys
from penstock.repo.refs.repository import Repository
from penstock.repo.retention.policy_text import Policy, kept_versions

__all__ = ["RetainedVersion", "preview"]

_THREADS = 16


@dataclass(frozen=True, slots=True)
class RetainedVersion:
    """A version of a branch; `kept` says why it stays, and is empty where the policy lets it go."""

    commit_id: bytes
    commit: Commit
    kept: str


def preview(repository: Repository, policy: Policy) -> Iterator[RetainedVersion]:
    """Yield the versions in the histories of all branches, the newest first.

    What mounts hold, and what is younger than the grace period, `gc` keeps besides.
    """
    refs = repository.refs
    kept: dict[bytes, str] = {}
    known: dict[bytes, Commit] = {}
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    with ThreadPoolExecutor(_THREADS, "penstock-policy") as pool:
        for branch in refs.branches():
            head = refs.head(branch)
            if head is None or head.record.commit is None:
                continue
            history = _history(repository, head.record.commit, known, pool)
            kept.setdefault(head.record.commit, f"branch {branch}")
            dated = ((name, parse_time(known[name].time)) for name in history)
            for name, why in kept_versions(policy, dated, now).items():
                kept.setdefault(name, why)
        for tag in refs.tags():
            record = refs.tag(tag)
            if record is not None and record.commit is not None:
                kept.setdefault(record.commit, f"tag {tag}")
    stamped = set(_stamped(repository))
    for name, commit in sorted(known.items(), key=lambda item: item[1].time, reverse=True):
        why = kept.get(name, "") or ("a run was trained on it" if {name, commit.top_hash} & stamped else "")
        yield RetainedVersion(name, commit, why)


def _history(repository: Repository, head: bytes, known: dict[bytes, Commit], pool: ThreadPoolExecutor) -> set[bytes]:
    found: set[bytes] = set()
    frontier = [head]
    while frontier:
        found.update(frontier)
        missing = [name for name in frontier if name not in known]
        known.update(zip(missing, pool.map(repository.commit, missing), strict=True))
        frontier = list({parent for name in frontier for parent in known[name].parents if parent not in found})
    return found


def _stamped(repository: Repository) -> Iterator[bytes]:
    """Yield top hashes and commits that runs were trained on."""
    prefix = f"{object_keys.dataset_prefix(repository.dataset)}runs/"
    for info in repository.store.list(prefix):
        for name in info.key[len(prefix) :].split("/")[:2]:
            if len(name) == 64 and set(name) <= set("0123456789abcdef"):
                yield bytes.fromhex(name)
