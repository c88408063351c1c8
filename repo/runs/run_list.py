"""The records of runs in a dataset: made once, listed by version. Blocking; thread-safe as its store is.

    .penstock/datasets/DATASET/runs/TOP HASH/COMMIT/HASH    one run on that version; the last is of the record's bytes

A version that a record names is kept by `gc`, which reads the names alone. A record is never changed, and goes only by
the hand of who may delete objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from penstock.errors import IntegrityError, NotFoundError
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import Repository

from .run_record import MOST_RUN, RunRecord

__all__ = ["add_run", "is_there", "list_runs"]

_TOGETHER = 16


def add_run(repository: Repository, access: WriteAccess, record: RunRecord) -> None:
    """Write a record to the dataset, once a version that it was on. NotFoundError: one of them is gone."""
    body = record.encode()
    digest = content_hash(body)
    versions = {(each.top_hash, each.commit) for each in record.opened}
    for top_hash, commit in sorted(versions, key=str):
        # Under the lease: what is there now stays until the record is, and from then on for its sake.
        if not is_there(repository, top_hash) or (commit is not None and not is_there(repository, top_hash, commit)):
            raise NotFoundError(
                f"the version {top_hash[:12]} of {repository.dataset!r} is gone",
                why="no branch or tag led to it, and gc has deleted it",
                fix="Record a run before its versions go, or give them a tag.",
            )
    access.lease.check()
    for top_hash, commit in sorted(versions, key=str):
        access.create(
            repository.store,
            object_keys.training_key(
                repository.dataset, bytes.fromhex(top_hash), bytes.fromhex(commit) if commit else None, digest
            ),
            body,
            contested=False,
        )


def is_there(repository: Repository, top_hash: str, commit: str | None = None) -> bool:
    """Whether the record of a version, or of one of its commits, is in the bucket."""
    dataset = repository.dataset
    key = object_keys.manifest_key(dataset, top_hash) if commit is None else object_keys.commit_key(dataset, commit)
    return repository.store.head(key) is not None


def list_runs(repository: Repository, top_hash: bytes | None = None) -> Iterator[RunRecord]:
    """Yield the runs on a version, or on any; each once. IntegrityError names an object that is none."""
    store = repository.store
    prefix = object_keys.training_prefix(repository.dataset, top_hash)
    keys: dict[bytes, str] = {}
    for info in store.list(prefix):
        if info.key.endswith("/"):
            continue  # the marker that a console makes for a folder
        parts = object_keys.training_parts(repository.dataset, info.key)
        if parts is None:
            raise IntegrityError(
                f"{info.key!r} in {store.url} does not belong there",
                why="records of runs are named by a top hash, a commit and a hash of their own",
                fix="Remove the object; Penstock did not write it.",
            )
        keys.setdefault(parts[2], info.key)

    def read(named: tuple[bytes, str]) -> RunRecord | None:
        try:
            return RunRecord.decode(store.get(named[1], limit=MOST_RUN), named[0])
        except NotFoundError:
            return None  # removed since it was listed
        except IntegrityError as error:
            raise type(error)(
                f"cannot use {named[1]} in {store.url}", why=error.reason, fix=error.fix or "Remove the object."
            ) from error

    with ThreadPoolExecutor(_TOGETHER, "penstock-runs") as pool:
        yield from (found for found in pool.map(read, keys.items()) if found is not None)
