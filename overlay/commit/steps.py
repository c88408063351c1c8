"""What is done to an overlay, step by step, in an order that stands once: commit, recovery, refresh, discard.

A step says which thread it belongs to. An overlay's tables and its tree belong to one thread, its owner's; what talks
to the bucket may block, and runs in any. The order is a generator's, and its own code runs in the owner's thread:

    commit    recovery; freeze (OWNER), build (ANY), intend (OWNER), land or name (ANY); settle, in rounds
    recovery  look (ANY); settle, in rounds
    refresh   recovery; look (ANY); settle, in rounds
    discard   recovery; plan (ANY); put back, in rounds

Who drives it sends back what a step returned and throws in what it raised: `run_steps` for an overlay that nobody has
mounted, one step after another; a mount's daemon, which has ANY run in a worker and goes on serving between rounds.

**Invariant:** a driver goes on until the generator ends, also after an error: what was frozen is let go of then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from penstock.errors import ConflictError
from penstock.overlay.discard import Discard, Restore
from penstock.overlay.outcomes import CommitReport, RefreshReport
from penstock.overlay.overlay import Overlay
from penstock.overlay.tree.clean_records import Stale
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.namespace import Namespace
from penstock.progress import Progress
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings

from .commit_options import CommitOptions
from .discard_plan import plan_of
from .layer_merge import LayerMerge
from .overlay_commit import OverlayCommit
from .recovery import Recovery
from .refresh import newest
from .settlement import Settling

__all__ = [
    "OpenOverlay",
    "RoundWork",
    "Rounds",
    "Step",
    "Steps",
    "Thread",
    "commit_steps",
    "discard_steps",
    "recovery_steps",
    "refresh_steps",
    "run_steps",
]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Thread(Enum):
    """Where a step may run."""

    OWNER = auto()
    ANY = auto()


class Step(NamedTuple):
    """One call; what it returns goes back into the generator."""

    thread: Thread
    call: Callable[[], object]


class RoundWork(Protocol):
    """Work on the tree, a millisecond at a time."""

    stale: list[Stale]

    def step(self, view: Namespace, /) -> bool:
        """Take the next round; False when there is none left."""
        ...


class Rounds(NamedTuple):
    """Work of the owner's thread in rounds, all of which are taken: what is stale has changed by then, or in part."""

    work: RoundWork


Steps: TypeAlias = Generator[Step | Rounds, Any, _T]


@dataclass(frozen=True, slots=True)
class OpenOverlay:
    """An overlay that can be worked on. `version` is below it; `is_open` says whether somebody uses an inode."""

    overlay: Overlay
    editor: Editor
    version: Snapshot
    is_open: Callable[[int], bool]


def run_steps(steps: Steps[_T], opened: OpenOverlay) -> _T:
    """Take steps one after another, in this thread; return what comes of them."""
    failure: BaseException | None = None
    value: object = None
    while True:
        try:
            step = steps.send(value) if failure is None else steps.throw(failure)
        except StopIteration as end:
            result: _T = end.value
            return result
        failure, value = None, None
        try:
            if isinstance(step, Rounds):
                view = opened.overlay.view(opened.version.load)
                while step.work.step(view):
                    pass
            else:
                value = step.call()
        except BaseException as error:  # noqa: BLE001  # the generator raises it again, once it has cleared up
            failure = error


def commit_steps(
    opened: OpenOverlay, settings: Settings, options: CommitOptions, progress: Progress
) -> Steps[CommitReport]:
    """Commit; a commit that was interrupted is settled first. Errors as of `overlay_commit.OverlayCommit`."""
    yield from recovery_steps(opened)
    commit = OverlayCommit(opened.overlay, opened.editor, opened.version, settings, options)
    try:
        yield Step(Thread.OWNER, commit.begin)
        if (yield Step(Thread.ANY, lambda: commit.build(progress))):
            yield Step(Thread.OWNER, commit.intend)
            yield Step(Thread.ANY, commit.land)
        else:
            yield Step(Thread.ANY, commit.name)
        if not options.dry_run:
            yield Rounds(commit.settle(opened.is_open))
    finally:
        commit.close()
        if commit.leaves_layers:
            yield Rounds(LayerMerge(opened.overlay, opened.editor))
    return commit.report


def recovery_steps(opened: OpenOverlay) -> Steps[bool]:
    """Settle a commit that landed though its process died; whether there was one such."""
    recovery = Recovery(opened.overlay, opened.editor, opened.version)
    if not recovery.is_needed:
        return False
    landed: bool = yield Step(Thread.ANY, recovery.look)
    _log.info("the commit that was interrupted has%s landed", "" if landed else " not")
    settling = recovery.settle(opened.is_open)
    if settling is not None:
        yield Rounds(settling)
    return landed


def refresh_steps(opened: OpenOverlay, *, rebase: bool) -> Steps[RefreshReport]:
    """Move to what the handle names now, and keep what was changed here where nobody else changed it.

    ConflictError: something was changed here and is not committed; with `rebase`, only if others changed it as well.
    """
    yield from recovery_steps(opened)
    overlay = opened.overlay
    origin, counters = overlay.origin, overlay.counters
    assert origin is not None  # one that is of nothing is not opened for this
    newer = yield Step(Thread.ANY, partial(newest, origin, opened.version))
    if newer is None:
        return RefreshReport(origin.handle, origin.manifest.top_hash, origin.commit, moved=False, changes=0)
    if not rebase and overlay.is_dirty():
        raise ConflictError(
            "there are changes that are not committed",
            why=f"{origin.handle} has moved on to {newer.origin.manifest.top_hash.hex()[:12]} meanwhile",
            fix="Commit them (they are merged with what others did), or: penstock refresh --rebase; penstock conflicts "
            "shows what both have changed",
        )
    yield Rounds(
        Settling(overlay, opened.editor, newer.origin, counters.committed, newer.changes, None, None, opened.is_open)
    )
    origin = newer.origin
    return RefreshReport(origin.handle, origin.manifest.top_hash, origin.commit, moved=True, changes=len(newer.changes))


def discard_steps(opened: OpenOverlay, paths: Sequence[str], *, dry_run: bool) -> Steps[list[Restore]]:
    """Put paths back to the last commit, everything when there are none; return what is put back.

    NotFoundError: nothing has changed at a path. ConflictError: a directory that something was in is not there.
    """
    yield from recovery_steps(opened)
    overlay = opened.overlay
    origin, sequence = overlay.origin, overlay.counters.committed
    assert origin is not None  # one that is of nothing is not opened for this
    with overlay.records.snapshot() as reader:
        plan: list[Restore] = yield Step(Thread.ANY, lambda: plan_of(reader, origin, sequence, opened.version, paths))
    if not dry_run:
        yield Rounds(Discard(overlay, opened.editor, plan, opened.is_open))
    return plan
