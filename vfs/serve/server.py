"""The process that serves a mount's files: ``python -m penstock.vfs.serve.server FD``, started by `spawn` only.

It dies with its supervisor, also of SIGKILL and also when it hangs: nobody else could end it, and a mount that nobody
answers for hangs whoever looks at it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress

from penstock.cache import note_crashes
from penstock.error_form import to_form
from penstock.errors import PenstockError
from penstock.mountpoint.daemon.logs import start_log
from penstock.mountpoint.daemon.supervisor_link import Failed, Link, Start
from penstock.repo.fetch.memory import shares

__all__ = ["main"]

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve as told; the exit code is 0 when the mount is gone or the supervisor asked for the end."""
    link = Link.inherited(int(sys.argv[1]))
    os.chdir("/")  # or the directory that the mount was started in could not be unmounted
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        _serve(link)
    except PenstockError as error:
        _tell(link, error)
        return 1
    except Exception as error:  # noqa: BLE001  # the last resort of a process: told, then over
        _log.exception("serving ends through a fault in Penstock")
        _tell(link, PenstockError("the mount's daemon failed", why=f"{type(error).__name__}: {error}"))
        return 70
    return 0


def _serve(link: Link) -> None:
    from .serve import serve  # takes its time: before there is work to wait for

    found = link.receive()
    if found is None:
        return
    start, session = found
    assert isinstance(start, Start)
    if os.getppid() != start.parent:  # it died before the kernel knew that this one is to follow
        return
    request = start.request
    start_log(request.log, request.options.log_format, start.level, rotates=True)
    note_crashes(request.settings.cache_directory)
    shares()  # before there are threads
    serve(start, session, link)


def _tell(link: Link, error: PenstockError) -> None:
    with suppress(OSError):  # nobody is left to hear it
        link.send(Failed(to_form(error)))


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: threads that wait for a store must not hold the process up, nor see the interpreter taken down.
    os._exit(code)
