"""Progress of long work, drawn by rich on standard error when that is a terminal; otherwise nothing at all.

A `Task` is told of every file and block from any thread, so `advance` costs well below a microsecond where nothing is
drawn, and about one where something is: it adds up, and hands the sum to rich ten times a second at most. rich is
imported only when something will be drawn.

    with invocation.progress() as progress:
        uploaded = progress.task("uploading", total=size)
        ...
        uploaded.advance(len(block))
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TextIO

from .text import escape

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress", "Task", "Unit"]

Unit = Literal["bytes", "items"]

_INTERVAL = 0.1


class Task:
    """One line of the display: so much of so much. Thread-safe."""

    def __init__(self, display: rich.progress.Progress | None, label: str, total: int | None, unit: Unit) -> None:
        self._display = display
        self._lock = threading.Lock()
        self._pending = 0
        self._drawn_at = 0.0
        if display is not None:
            self._id = display.add_task(escape(label), total=total, unit=unit)

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more, in bytes or items."""
        if self._display is None:
            return
        with self._lock:
            self._pending += amount
            now = time.monotonic()
            if now - self._drawn_at < _INTERVAL:
                return
            self._drawn_at = now
            amount, self._pending = self._pending, 0
        self._display.advance(self._id, amount)

    def set_total(self, total: int | None) -> None:
        """Say how much there is in all, once it is known."""
        if self._display is not None:
            self._display.update(self._id, total=total)

    def set_label(self, label: str) -> None:
        """Change what stands before the bar."""
        if self._display is not None:
            self._display.update(self._id, description=escape(label))

    def settle(self) -> None:
        """Draw what was counted since the last drawing."""
        if self._display is None:
            return
        with self._lock:
            amount, self._pending = self._pending, 0
        self._display.advance(self._id, amount)


class Progress:
    """The display: a context that draws its tasks while it is entered and clears them away at the end."""

    def __init__(self, stream: TextIO, *, shown: bool = True) -> None:
        self._stream = stream
        self._shown = shown and stream.isatty() and os.environ.get("TERM") != "dumb"
        self._display: rich.progress.Progress | None = None
        self._tasks: list[Task] = []

    def task(self, label: str, *, total: int | None = None, unit: Unit = "bytes") -> Task:
        """Add a line; `total` is in `unit`, None as long as it is not known."""
        task = Task(self._display, label, total, unit)
        self._tasks.append(task)
        return task

    def __enter__(self) -> Self:
        if self._shown:
            self._display = _make_display(self._stream)
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.settle()
        if self._display is not None:
            self._display.stop()


def _make_display(stream: TextIO) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as Line
    from rich.text import Text

    from penstock.repo.settings.sizes import format_size

    class Amount(ProgressColumn):
        """``1.2 GB of 3.4 GB, 80 MB/s`` or ``12 of 345``."""

        def render(self, task: Line) -> Text:
            if task.fields["unit"] == "items":
                total = "" if task.total is None else f" of {task.total:.0f}"
                return Text(f"{task.completed:.0f}{total}")
            total = "" if task.total is None else f" of {format_size(int(task.total))}"
            speed = "" if task.speed is None else f", {format_size(int(task.speed))}/s"
            return Text(format_size(int(task.completed)) + total + speed)

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Amount(),
        TimeRemainingColumn(),
        console=Console(file=stream, force_terminal=True),
        refresh_per_second=1 / _INTERVAL,
        transient=True,
    )
