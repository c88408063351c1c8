"""Removes data files that nothing names any more, in a thread: an unlink takes up to half a millisecond.

After a commit of ten thousand files as many go, and the event loop must not stand still for as long. What a crash
leaves of them is found by `file_content.FileContent.strays`.

`add`, `keep` and `settle` are for the thread of the overlay. The lock is held to look at the line and never while a
file is removed: the thread takes it again at once, and whoever waits for it would wait for the end of the line.

**Invariant:** a file is in `_going`, then it is `_removing`, then it is gone. `keep` takes it out of line, or waits
until it is gone, before anything is written to a file of that key again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from .data_files import DataFiles
from .shared_heads import Key, group_of

__all__ = ["Removal"]

_log = logging.getLogger(__name__)
_FEW = 8
"""So many are removed at once: to begin a thread takes as long."""


class Removal:
    """What is still to be removed of `files`, by their keys."""

    def __init__(self, files: DataFiles) -> None:
        self._files = files
        self._moved_on = threading.Condition(threading.Lock())
        self._going: dict[Key, None] = {}
        self._removing: Key | None = None
        self._thread: threading.Thread | None = None

    def add(self, keys: Iterable[Key]) -> None:
        """Remove these, soon, in this order. OSError: a disk that fails, with few of them."""
        new = dict.fromkeys(keys)
        if len(new) <= _FEW and self._thread is None:
            for key in new:
                self._files.remove(key)
            return
        with self._moved_on:
            self._going |= new
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-removal", daemon=True)
                self._thread.start()

    def keep(self, key: Key) -> None:
        """Have a file of this key stay, and its group: it is about to be written."""
        if self._thread is None:
            return
        kept = key, group_of(key)
        with self._moved_on:
            for each in kept:
                self._going.pop(each, None)
            while self._removing in kept:
                self._moved_on.wait()

    def settle(self) -> None:
        """Return when nothing is left to be removed."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (key := self._next()) is not None:
            try:
                self._files.remove(key)
            except OSError as error:
                _log.warning("a data file of the overlay stays until it is opened again: %s", error)

    def _next(self) -> Key | None:
        with self._moved_on:
            self._removing = next(iter(self._going), None)
            if self._removing is not None:
                del self._going[self._removing]
            else:
                self._thread = None
            self._moved_on.notify()  # `keep` waits in one thread
            return self._removing
