"""One repro at a time in a work tree: its lock, what it opens, and what one that died has left.

The lock is flock(2)'s: the kernel frees it when its holder is gone, however it went. Commands do not inherit it; so
that none that outlived its repro goes on writing beside the next one, each has a token in its environment, and the next
repro looks for processes with the token of one that died.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import AccessError, ConflictError
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.stages.findings.inputs import Inputs
from penstock.project.state_folder import replace_file
from penstock.repo.tracked.tracked_index import TrackedIndex

from .bucket_outputs import BucketOutputs
from .runs import RunCache
from .shelf import Shelf

if TYPE_CHECKING:
    from penstock.repo.settings.settings import Settings

__all__ = ["TOKEN", "Workplace", "open_workplace", "work_alone"]

TOKEN = "PENSTOCK_RUN"  # noqa: S105  # the name of a variable
_MOST_ENVIRONMENT = 1 << 20


@dataclass(frozen=True, slots=True)
class Workplace:
    """What looking at stages, and running them, needs of a project."""

    project: Project
    inputs: Inputs
    outputs: BucketOutputs
    runs: RunCache
    shelf: Shelf
    state: str


@contextmanager
def open_workplace(
    project: Project, settings: Callable[[], Settings], warn: Callable[[str], None], *, keeps: bool = True
) -> Iterator[Workplace]:
    """Open what looking at stages needs, until the block ends. `warn` is told of what it goes on without."""
    with ExitStack() as stack:
        state = project.state
        os.makedirs(os.path.join(state, "stages"), mode=0o700, exist_ok=True)
        tracked = stack.enter_context(closing(TrackedIndex(os.path.join(state, "index.sqlite"))))
        index = stack.enter_context(closing(TrackedIndex(os.path.join(state, "stages", "inputs.sqlite"))))
        inputs = stack.enter_context(closing(Inputs(project.root, index, tracked)))
        outputs = stack.enter_context(closing(BucketOutputs(project, settings, tracked, warn, keeps=keeps)))
        runs = RunCache(lambda: outputs.here, outputs.elsewhere, outputs.give_up)
        yield Workplace(project, inputs, outputs, runs, Shelf(project.root, state), state)


@contextmanager
def work_alone(project: Project, shelf: Shelf, warn: Callable[[str], None]) -> Iterator[str]:
    """Hold the lock of those who run stages, and put right what one that died has left; give the token of commands.

    ConflictError: another one is at work, or commands of one that died still are.
    """
    folder = os.path.join(project.state, "stages")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    note = os.path.join(folder, "running")
    with _locked(os.path.join(folder, "lock"), note):
        before = _note(note)
        if len(before) == 2 and (left := _processes_of(before[1])):
            raise ConflictError(
                f"commands of a run that died still run: {', '.join(map(str, left[:5]))}",
                why="they may still write to what stages make",
                fix=f"Wait for them, or end them: kill {' '.join(map(str, left[:20]))}",
            )
        for stage in shelf.recover():
            warn(f"a run of stage {stage!r} had died: what was there before it is there again")
        token = os.urandom(16).hex()
        replace_file(note, f"{os.getpid()} {token}".encode())
        yield token
        os.unlink(note)


@contextmanager
def _locked(path: str, note: str) -> Iterator[None]:
    # Not by cache.locking, which is for processes that fork, and brings the whole cache along: a run with nothing to do
    # would take a third longer.
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AccessError(f"{path} cannot be used", why=error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = next(iter(_note(note)), "")
            raise ConflictError(
                "stages are being run in this work tree already",
                why=f"process {holder} does it" if holder else "another process does it",
                fix="Wait until it is done; what it did is not done again.",
            ) from error
        yield
    finally:
        os.close(lock)


def _note(path: str) -> list[str]:
    return (read_bounded(path, 200) or b"").decode("ascii", "replace").split()


def _processes_of(token: str) -> list[int]:
    """Return the processes of this user whose environment has a token."""
    wanted = f"{TOKEN}={token}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read(_MOST_ENVIRONMENT).split(b"\0"):
                    found.append(int(name))
        except OSError:  # gone, or of somebody else
            continue
    return sorted(found)
