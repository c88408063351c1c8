"""The mount's own process: ``python -m penstock.mountpoint.daemon.daemon``, started by `mount` and by nobody else.

It supervises the process that serves the mount (`supervisor`). It reads one request on standard input, answers once
on standard output, and then has neither; its log is a file that is bounded by rotation.
"""

from __future__ import annotations

import logging
import os
import sys

from .spawn import spawn

# The process that serves has most to import, so it is started before this one imports the rest.
_first = spawn() if __name__ == "__main__" else None

from penstock.error_form import to_form  # noqa: E402  # see above
from penstock.errors import PenstockError  # noqa: E402
from penstock.mountpoint.daemon_messages import DaemonAnswer, MountFailed, MountReady, MountRequest  # noqa: E402
from penstock.mountpoint.mount_records import MountRecord  # noqa: E402
from penstock.wire import MOST, decode_message, encode_message  # noqa: E402

from .logs import start_log  # noqa: E402
from .supervisor import supervise  # noqa: E402

__all__ = ["main"]

_log = logging.getLogger(__name__)


def main() -> int:
    """Keep one mount; the exit code is 0 when it was mounted and has been unmounted."""
    request: MountRequest = decode_message(sys.stdin.buffer.read(MOST), MountRequest)
    os.chdir("/")  # or the directory that the mount was started in could not be unmounted
    start_log(request.log, request.options.log_format, rotates=False)
    try:
        supervise(request, _report_ready, _first)
    except PenstockError as error:
        _log.error("%s", error)
        _answer(MountFailed(to_form(error)))
        return 1
    except Exception as error:  # noqa: BLE001  # the last resort of a process: told, then over
        _log.exception("the mount ends through a fault in Penstock")
        failure = PenstockError("the mount's daemon failed", why=f"{type(error).__name__}: {error}")
        _answer(MountFailed(to_form(failure)))
        return 70
    _log.info("unmounted")
    return 0


def _report_ready(record: MountRecord) -> None:
    _answer(MountReady(record))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def _answer(answer: DaemonAnswer) -> None:
    """Write the answer; after the first one standard output leads nowhere. Nobody may be listening any more."""
    try:
        os.write(1, encode_message(answer))
    except OSError as error:
        _log.warning("nobody listens: %s", error.strerror)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)
