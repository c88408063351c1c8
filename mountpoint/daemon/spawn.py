"""Start the process that serves a mount. Imports next to nothing: a mount waits for that process from here on.

Measured: to start it before anything else is imported takes 50 ms off a mount.
"""

from __future__ import annotations

import os
import socket
import sys

__all__ = ["spawn"]


def spawn() -> tuple[int, socket.socket]:
    """Return the id of a process that waits for its `link.Start`, and this end of the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.set_inheritable(True)
        pid = os.posix_spawn(
            sys.executable,
            # -P: the working directory may be a dataset with a file called trio.py in it.
            [sys.executable, "-P", "-m", "penstock.vfs.serve.server", str(theirs.fileno())],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,  # Ctrl-C in the foreground is for the supervisor
        )
    return pid, ours
