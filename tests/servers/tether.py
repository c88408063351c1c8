"""Processes that end when this one does, however it ends.

A `Tether` owns a folder and a set of child processes. A small shell waits on a pipe from us: it is told each child's
pid, and when it is told to let go, or the pipe breaks because we were killed, it kills exactly those pids and removes
the folder. Chosen over PR_SET_PDEATHSIG, which follows the *thread* that started the child and would end a server
when a fixture's thread ends. Used by the servers in this folder only.

**Invariant:** a pid is told to the shell as soon as it exists, and reaped only after the shell has done its killing,
so no pid that it kills can have been given to a stranger meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Tether"]

# $1 is the folder. "end" is said outright, because a forked grandchild may hold the pipe open long after us.
_WATCH = 'while read -r pid && [ "$pid" != end ]; do set -- "$@" "$pid"; done; d=$1; shift; '
_WATCH += '[ $# = 0 ] || kill -9 "$@" 2>/dev/null; rm -rf "$d"'


class Tether:
    """A temporary folder and the processes that live in it; `end` kills and removes both."""

    def __init__(self, prefix: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        # A session of its own: Ctrl-C goes to the foreground group, and must not outrun the orderly end.
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "tether", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process; its output goes to ``<folder>/<name>.out``."""
        with open(self.folder / f"{name}.out", "ab") as output:
            child = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = child
        self._tell(str(child.pid))

    def pids(self) -> dict[str, int]:
        """Return the pid of each process by name."""
        return {name: child.pid for name, child in self._children.items()}

    def ended(self) -> dict[str, int]:
        """Return name and exit status (or signal) of the processes that are no longer running."""
        # WNOWAIT looks without reaping: see the invariant.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        seen = {name: os.waitid(os.P_PID, child.pid, options) for name, child in self._children.items()}
        return {name: result.si_status for name, result in seen.items() if result is not None}

    def end(self) -> None:
        """Kill the processes, remove the folder. Calling it again does nothing."""
        if self._watch.stdin is None or self._watch.stdin.closed:
            return
        with suppress(BrokenPipeError):
            self._tell("end")
        with suppress(BrokenPipeError):
            self._watch.stdin.close()
        self._watch.wait()
        for child in self._children.values():
            child.wait()

    def _tell(self, line: str) -> None:
        assert self._watch.stdin is not None
        self._watch.stdin.write(line.encode() + b"\n")
        self._watch.stdin.flush()
