"""Leave to write: what every push, commit, and move of a ref asks for before it sends anything. Blocking.

Three things are settled: the bucket may be written at all, it holds to create-if-absent (`promises`) or somebody has
accepted that it does not, and `gc` keeps away (`leases`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from penstock.errors import PenstockError, UsageError
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.bucket.promises import Promises
from penstock.repo.settings.settings import Settings

from .refs import Protection, WriteAccess
from .repository import Repository

__all__ = ["refusal", "write_access"]


@contextmanager
def write_access(repository: Repository, kind: LeaseKind, settings: Settings, bucket: str) -> Iterator[WriteAccess]:
    """Give leave to move refs of a dataset within the block, under a lease. `bucket` is what the handle calls it.

    AccessError: it may not be written. UsageError: it does not hold to create-if-absent, and the remote does not say
    `unsafe`; if it does, `risk` says what to warn of.
    """
    rules = _Asked(repository.refs.protection)  # while the lease is taken: it costs nobody any time
    with Lease(repository.store, repository.dataset, kind) as lease:
        broken = Promises(settings).broken(repository.store)
        if broken and not settings.accepts_risk(bucket):
            raise _unsafe(repository.store.url, broken, settings, bucket)
        risk = f"{repository.store.url} may lose versions: {broken}" if broken else ""
        yield WriteAccess(lease, risk, rules.answer)


class _Asked:
    """A question that a thread asks; whoever wants the answer waits for it."""

    def __init__(self, ask: Callable[[], Protection | None]) -> None:
        self._ask = ask
        self._answer: Protection | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="penstock-rules", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except BaseException as error:  # noqa: BLE001  # it is raised where the answer is wanted
            self._failure = error

    def answer(self) -> Protection | None:
        """Return the answer. Raises what the store has raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._answer


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
