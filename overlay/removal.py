"""Removes data files that nothing names any more, in a thread: an unlink takes up to half a millisecond.

After a commit of ten thousand files as many go, and the event loop must not stand still for as long. What a crash
leaves of them is found by `content.Content.strays`.

`add`, `keep` and `settle` are for the thread of the overlay. **Invariant:** a file is removed while its key is in
`_going`, under `_lock`; `keep` takes it out before anything is written to a file of that key again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from .datafiles import DataFiles, group_of

__all__ = ["Removal"]

_log = logging.getLogger(__name__)
_FEW = 8
"""So many are removed at once: to begin a thread takes as long."""


class Removal:
    """What is still to be removed of `files`, by their keys."""

    def __init__(self, files: DataFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._going: dict[tuple[int, int], None] = {}
        self._thread: threading.Thread | None = None

    def add(self, keys: Iterable[tuple[int, int]]) -> None:
        """Remove these, soon. OSError: a disk that fails, with few of them."""
        new = dict.fromkeys(keys)
        if len(new) <= _FEW and not self._going:
            for key in new:
                self._files.remove(key)
            return
        with self._lock:
            self._going |= new
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-removal", daemon=True)
                self._thread.start()

    def keep(self, key: tuple[int, int]) -> None:
        """Have a file of this key stay, and its group: it is about to be written."""
        if self._going:
            with self._lock:
                self._going.pop(key, None)
                self._going.pop(group_of(key), None)

    def settle(self) -> None:
        """Return when nothing is left to be removed."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                key = next(iter(self._going), None)
                if key is None:
                    self._thread = None
                    return
                try:
                    self._files.remove(key)
                except OSError as error:
                    _log.warning("a data file of the overlay stays until it is opened again: %s", error)
                del self._going[key]
