"""Leave to write: what every push, commit, and move of a ref asks for before it sends anything. Blocking.

Three things are settled: the bucket may be written at all, it holds to create-if-absent (`promises`) or somebody has
accepted that it does not, and `gc` keeps away (`leases`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import PenstockError, UsageError
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.bucket.promises import Promises
from penstock.repo.settings.settings import Settings

from .refs import WriteAccess
from .repository import Repository

__all__ = ["refusal", "write_access"]


@contextmanager
def write_access(repository: Repository, kind: LeaseKind, settings: Settings, bucket: str) -> Iterator[WriteAccess]:
    """Give leave to move refs of a dataset within the block, under a lease. `bucket` is what the handle calls it.

    AccessError: it may not be written. UsageError: it does not hold to create-if-absent, and the remote does not say
    `unsafe`; if it does, `risk` says what to warn of.
    """
    with Lease(repository.store, repository.dataset, kind) as lease:
        broken = Promises(settings).broken(repository.store)
        if broken and not settings.accepts_risk(bucket):
            raise _unsafe(repository.store.url, broken, settings, bucket)
        yield WriteAccess(lease, f"{repository.store.url} may lose versions: {broken}" if broken else "")


def refusal(repository: Repository, branch: str | None, settings: Settings, bucket: str) -> PenstockError | None:
    """Say why nobody could move a branch from here; None when one could. Nothing is left in the bucket.

    The newest record of the branch is made once more, with the same bytes: that is refused or changes nothing, and
    asks for the same permission as the next one.
    """
    store = repository.store
    try:
        broken = Promises(settings).probe(store)
        if broken:
            return None if settings.accepts_risk(bucket) else _unsafe(store.url, broken, settings, bucket)
        head = repository.refs.head(branch) if branch is not None else None
        if head is not None:
            key = object_keys.number_key(object_keys.head_prefix(repository.dataset, head.branch), head.number)
            store.create(key, head.record.encode())
    except PenstockError as error:
        return error
    return None


def _unsafe(url: str, broken: str, settings: Settings, bucket: str) -> UsageError:
    remote = settings.remotes.get(bucket)
    how = f"say `unsafe = true` below [remotes.{bucket}] in {settings.config_path}"
    if remote is None:
        how = f"penstock remote add --unsafe {bucket if '://' not in bucket else 'NAME'} {url}"
    return UsageError(
        f"{url} is not written to, because it could lose versions",
        why=f"{broken}, so of two people who push at once one would lose a version without a word",
        fix=f"penstock doctor --write {bucket} shows it; docs/STORES.md names servers that can be trusted. "
        f"To accept the risk, {how}; what is mounted has to be mounted again",
    )
