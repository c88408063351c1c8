"""Progress of long work, drawn by rich on standard error when that is a terminal; otherwise nothing at all.

Amount, total and rate, and where the terminal is wide enough a bar and the time that is left; colours as NO_COLOR and
TERM allow.

A stage is told of every file and block from any thread, so `advance` costs well below a microsecond where nothing is
drawn, and about one where something is: it adds up, and hands the sum to rich ten times a second at most. rich is
imported only when something will be drawn.

While it is entered, Ctrl-C ends the work in all threads: the main one is interrupted as ever, and the others meet
CancelledError where they next say that something is done.

    with invocation.progress() as progress:
        uploaded = progress.stage("uploading", total=size)
        ...
        uploaded.advance(len(block))
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from penstock.progress import Stage, Unit, raise_cancelled

from .text import escape
from .waiting import can_draw, shown_wait, suspended

if TYPE_CHECKING:
    import rich.progress

__all__ = ["ProgressDisplay"]

_INTERVAL = 0.1
_WIDE = 72
"""Columns of a terminal that has room for a bar and for the time that is left."""


class _HiddenStage:
    """A stage that nobody sees."""

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display

    def advance(self, amount: int = 1, /) -> None:  # noqa: ARG002  # it is not shown
        if self._display.is_cancelled:
            raise_cancelled()

    def total(self, amount: int, /) -> None:
        pass

    def settle(self) -> None:
        pass


class _Line:
    """One line of the display."""

    def __init__(
        self, display: ProgressDisplay, drawing: rich.progress.Progress, name: str, total: int | None, unit: Unit
    ) -> None:
        self._display = display
        self._drawing = drawing
        self._lock = threading.Lock()
        self._pending = 0
        self._drawn_at = 0.0
        self._id = drawing.add_task(escape(name), total=total, unit=unit)

    def advance(self, amount: int = 1, /) -> None:
        if self._display.is_cancelled:
            raise_cancelled()
        with self._lock:
            self._pending += amount
            now = time.monotonic()
            if now - self._drawn_at < _INTERVAL:
                return
            self._drawn_at = now
            amount, self._pending = self._pending, 0
        self._drawing.advance(self._id, amount)

    def total(self, amount: int, /) -> None:
        self._drawing.update(self._id, total=amount)

    def settle(self) -> None:
        """Draw what was counted since the last drawing."""
        with self._lock:
            amount, self._pending = self._pending, 0
        self._drawing.advance(self._id, amount)


class ProgressDisplay:
    """A `Progress` that is drawn while it is entered, and cleared away at the end; standard error by default.

    Where that is no terminal, nothing is drawn. While it is entered in the main thread, Ctrl-C ends the work.

    >>> import penstock
    >>> with penstock.ProgressDisplay() as progress:
    ...     files = penstock.FileDataset().downloader({"l.csv": "./photos/labels.csv"})
    ...     fetched = files.into("./fetched", progress=progress)
    >>> sorted(fetched)
    ['l.csv']
    """

    def __init__(self, stream: TextIO | None = None, *, shown: bool = True) -> None:
        self._stream: TextIO = sys.stderr if stream is None else stream
        self._shown = shown and can_draw(self._stream)
        self._alone = ExitStack()
        self._drawing: rich.progress.Progress | None = None
        self._stages: list[_Line | _HiddenStage] = []
        self._before: Any = None
        self.is_cancelled = False

    @property
    def is_shown(self) -> bool:
        """Whether it is drawn."""
        return self._drawing is not None

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        """Add a line; `total` is in `unit`, None as long as it is not known."""
        drawing = self._drawing
        made = _Line(self, drawing, name, total, unit) if drawing is not None else _HiddenStage(self)
        self._stages.append(made)
        return made

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        if self._shown:
            self._alone.enter_context(suspended())
            self._drawing = _make_display(self._stream)
            self._drawing.start()
        return self

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.is_cancelled = True
        signal.default_int_handler(number, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        for stage in self._stages:
            stage.settle()
        if self._drawing is not None:
            self._drawing.stop()
        self._alone.close()


def _make_display(stream: TextIO) -> rich.progress.Progress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as Line
    from rich.text import Text

    from penstock.api.handles import format_size

    class AmountColumn(ProgressColumn):
        """``1.2 GB of 3.4 GB, 80 MB/s`` or ``12 of 345``."""

        def render(self, task: Line) -> Text:
            if task.fields["unit"] == "items":
                total = "" if task.total is None else f" of {task.total:.0f}"
                return Text(f"{task.completed:.0f}{total}")
            total = "" if task.total is None else f" of {format_size(int(task.total))}"
            speed = "" if task.speed is None else f", {format_size(int(task.speed))}/s"
            return Text(format_size(int(task.completed)) + total + speed)

    class _Drawing(Progress):
        """The lines, and below them what is waited for."""

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if wait := shown_wait():
                yield Text(wait, no_wrap=True, overflow="ellipsis")

    console = Console(file=stream, force_terminal=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), AmountColumn()]
    if console.width >= _WIDE:
        columns[1:1] = [BarColumn()]
        columns.append(TimeRemainingColumn())
    return _Drawing(*columns, console=console, refresh_per_second=1 / _INTERVAL, transient=True)
