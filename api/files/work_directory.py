"""A directory for a while: its owner's alone, and gone afterwards, however this process ends.

It is removed when its block ends. Should the process be killed first (SIGTERM, SIGKILL, out of memory), a *watcher*
does it: a small process that waits for a lock which the kernel lets go of with the process that holds it. A record
lock, since of all locks that is the one which children made by fork do not hold.

**Invariant:** nothing outside of the directory is touched: no link in it is followed when it is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from penstock.errors import PenstockError
from penstock.repo.local_copy.local_directory import local_error

__all__ = ["SharedDirectory", "WorkDirectory", "remove_tree"]

_IDLE = 1.0

_WATCH = """
import fcntl, os, sys
lock = os.open(sys.argv[1] + "/lock", os.O_RDWR)
fcntl.lockf(lock, fcntl.LOCK_EX)
import shutil
base = sys.argv[1]
def again(function, path, _):
    for each in (os.path.dirname(path), path):
        within = each == base or each.startswith(base + "/")  # above it nothing is ours, also when the base is gone
        if within and os.path.isdir(each) and not os.path.islink(each):
            os.chmod(each, 0o700)
    try:
        function(path) if function in (os.unlink, os.rmdir) else shutil.rmtree(path, True)
    except OSError:
        pass
for _ in range(3):
    shutil.rmtree(base, onerror=again)
"""


class WorkDirectory:
    """A new directory with mode 0700 in the folder for temporary files, or in `folder`. Use it as a block.

    AccessError: none can be made.
    """

    def __init__(self, folder: str | None = None) -> None:
        try:
            self._base = os.path.realpath(mkdtemp(prefix="penstock-files-", dir=folder))
        except OSError as error:
            raise local_error(error, "cannot make a temporary directory") from error
        self.path = os.path.join(self._base, "files")
        """Where the files are; its name leads through no link."""
        self._pid = os.getpid()
        self._watcher: subprocess.Popen[bytes] | None = None
        self._lock = -1
        try:
            os.mkdir(self.path, 0o700)
            self._lock = os.open(os.path.join(self._base, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            self._watch()
        except BaseException as error:
            remove_tree(self._base)
            if isinstance(error, OSError):
                raise local_error(error, "cannot make a temporary directory") from error
            raise

    def _watch(self) -> None:
        with contextlib.suppress(OSError):  # an interpreter that cannot be started anew: then only the block removes it
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCH, self._base],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )

    def close(self) -> None:
        """Remove it with all that is in it. In a process forked from the one that made it, nothing happens."""
        if os.getpid() != self._pid:
            return
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            self._watcher = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        remove_tree(self._base)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SharedDirectory:
    """One work directory for short uses that follow each other: there from the first on, gone a moment after the last.

    Its watcher is a process, which costs more than most rows do. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: WorkDirectory | None = None
        self._pid = 0
        self._users = self._number = 0
        self._used = 0.0
        self._ends = False  # whether a thread is there that will remove it

    @contextmanager
    def use(self) -> Iterator[str]:
        """Have a new directory in it until the block ends. Errors as `WorkDirectory`."""
        with self._lock:
            if self._work is None or self._pid != os.getpid():
                self._work, self._pid, self._users, self._ends = WorkDirectory(), os.getpid(), 0, False
            self._users += 1
            self._number += 1
            path = os.path.join(self._work.path, str(self._number))
        try:
            try:
                os.mkdir(path, 0o700)
            except OSError as error:
                raise local_error(error, "cannot make a temporary directory") from error
            yield path
        finally:
            try:
                remove_tree(path)
            finally:
                self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            self._used = time.monotonic()
            if not self._users and not self._ends:
                self._ends = True
                threading.Thread(target=self._end, name="penstock-idle", daemon=True).start()

    def _end(self) -> None:
        while True:
            time.sleep(_IDLE)
            with self._lock:
                if self._users or time.monotonic() - self._used < _IDLE:
                    continue
                work, self._work, self._ends = self._work, None, False
            if work is not None:
                work.close()
            return


def remove_tree(path: str) -> None:
    """Remove a directory with all in it, also what may not be written or looked into.

    PenstockError: something stays.
    """

    def again(function: Callable[..., Any], where: str, _: object) -> None:
        for each in (os.path.dirname(where), where):
            if (each == path or each.startswith(path + "/")) and stat.S_ISDIR(os.lstat(each).st_mode):
                os.chmod(each, 0o700)
        if function in (os.unlink, os.rmdir):
            function(where)
        else:
            shutil.rmtree(where)

    for left in (2, 1, 0):
        try:
            shutil.rmtree(path, onerror=again)
        except FileNotFoundError:
            return
        except OSError as error:  # what a function has left running may write on
            if not left:
                raise _left(path, error) from error
        else:
            return


def _left(path: str, error: OSError) -> PenstockError:
    return local_error(error, f"cannot remove the temporary directory {path!r}")
