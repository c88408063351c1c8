"""How far long work is, and the wish to end it: one form from a push to a mount's job and the line on the screen.

Who does the work opens a stage for each kind of it, and says of each piece that it is done; who asked for it hands a
`Progress` in. `SILENT` is for callers who do not care; a `ProgressMeter` adds up and can be asked to end the work; what
another process is doing is shown with `ProgressMirror`.

**Invariant:** once the end was asked for, the next `Stage.advance` raises CancelledError, in whichever thread it is
called. Work is advanced only where nothing is half-done, so that what it holds is given back as after any other error.

Stages are called from any thread, for every file and block: to advance one costs less than a microsecond.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal, NoReturn, Protocol

import msgspec

from .errors import CancelledError

__all__ = ["SILENT", "Progress", "ProgressMeter", "ProgressMirror", "Stage", "StageState", "Unit", "raise_cancelled"]

Unit = Literal["bytes", "items"]
"""What a stage counts: bytes, or things such as files, entries, objects."""


class Stage(Protocol):
    """One kind of work: so much of so much. Thread-safe."""

    def advance(self, amount: int = 1, /) -> None:
        """Say that so much more is done. CancelledError: the caller has asked for the end."""
        ...

    def total(self, amount: int, /) -> None:
        """Say how much there is in all, once it is known."""
        ...


class Progress(Protocol):
    """Who is told. Thread-safe."""

    @property
    def is_shown(self) -> bool:
        """Whether somebody looks: then it is worth some work to find out how much there is in all."""
        ...

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        """Begin a stage, such as ``reading``; `total` is in `unit`, None as long as it is not known."""
        ...


def raise_cancelled() -> NoReturn:
    """Raise what ends work that nobody wants any more."""
    raise CancelledError("it was cancelled", why="whoever asked for it has gone, or has asked for its end")


class _SilentStage:
    def advance(self, amount: int = 1, /) -> None:
        pass

    def total(self, amount: int, /) -> None:
        pass


class _SilentProgress:
    is_shown = False

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:  # noqa: ARG002  # nobody is told
        return _SILENT_STAGE


_SILENT_STAGE = _SilentStage()
SILENT: Progress = _SilentProgress()
"""Tells nobody, and never ends anything."""


class StageState(msgspec.Struct, frozen=True):
    """How far a stage is, as one process tells another. `total` is None as long as it is not known."""

    name: str
    done: int
    total: int | None = None
    unit: Unit = "bytes"


class _MeteredStage:
    def __init__(self, meter: ProgressMeter, name: str, total: int | None, unit: Unit) -> None:
        self._meter = meter
        self._lock = threading.Lock()
        self._name = name
        self._done = 0
        self._total = total
        self._unit: Unit = unit

    def advance(self, amount: int = 1, /) -> None:
        if self._meter.is_cancelled:
            raise_cancelled()
        with self._lock:
            self._done += amount

    def total(self, amount: int, /) -> None:
        self._total = amount

    @property
    def state(self) -> StageState:
        return StageState(self._name, self._done, self._total, self._unit)


class ProgressMeter:
    """Adds up what is done, stage by stage, for whoever looks; `cancel` asks for the end. Thread-safe."""

    is_shown = False
    """Who looks, looks from elsewhere, and does not say whether."""

    def __init__(self) -> None:
        self._stages: list[_MeteredStage] = []
        self.is_cancelled = False

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        """Begin a stage."""
        made = _MeteredStage(self, name, total, unit)
        self._stages.append(made)
        return made

    def cancel(self) -> None:
        """Have the work end at the next point where nothing is half-done."""
        self.is_cancelled = True

    def check(self) -> None:
        """Raise CancelledError when the end was asked for; for work that has nothing to count."""
        if self.is_cancelled:
            raise_cancelled()

    def states(self) -> list[StageState]:
        """Return how far each stage is, in the order in which they began."""
        return [stage.state for stage in self._stages]


class ProgressMirror:
    """Shows a `Progress` of this process what stages of another one have said."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shown: list[tuple[Stage, StageState]] = []

    def show(self, states: Iterable[StageState]) -> None:
        """Take the states of all stages, in their order. CancelledError: the end was asked for here."""
        for at, state in enumerate(states):
            if at == len(self._shown):
                stage = self._progress.stage(state.name, total=state.total, unit=state.unit)
                self._shown.append((stage, StageState(state.name, 0, state.total, state.unit)))
            stage, before = self._shown[at]
            if state.total is not None and state.total != before.total:
                stage.total(state.total)
            stage.advance(state.done - before.done)
            self._shown[at] = stage, state
