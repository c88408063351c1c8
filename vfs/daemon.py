"""The mount's own process: ``python -m penstock.vfs.daemon``, started by `mounting` and by nobody else.

A fresh process rather than a fork: there are no threads and no LMDB to inherit. It reads one request on standard
input, answers once on standard output, and then has neither; its log is a file that is bounded by rotation.
"""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import RotatingFileHandler

from penstock.errors import PenstockError

from .registry import MountRecord
from .wire import decode_request, encode_failure, encode_ready

__all__ = ["main"]

_log = logging.getLogger(__name__)
_LOG_BYTES = 1 << 20


def main() -> int:
    """Serve one mount; the exit code is 0 when it was mounted and has been unmounted."""
    request = decode_request(sys.stdin.buffer.read())
    os.chdir("/")  # or the directory that the mount was started in could not be unmounted
    _start_log(request.log)
    try:
        from .serving import serve  # so that a failure to import pyfuse3 is told like any other

        serve(request, _report_ready)
    except PenstockError as error:
        _log.error("%s", error)
        _answer(encode_failure(error))
        return 1
    except Exception as error:  # noqa: BLE001  # the last resort of a process: told, then over
        _log.exception("the mount ends through a fault in Penstock")
        _answer(encode_failure(PenstockError("the mount's daemon failed", why=f"{type(error).__name__}: {error}")))
        return 70
    _log.info("unmounted")
    return 0


def _start_log(path: str | None) -> None:
    handler: logging.Handler = (
        RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace")
        if path is not None
        else logging.StreamHandler()
    )
    handler.setFormatter(logging.Formatter(f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _report_ready(record: MountRecord) -> None:
    _answer(encode_ready(record))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def _answer(body: bytes) -> None:
    """Write the answer; after the first one standard output leads nowhere. Nobody may be listening any more."""
    try:
        os.write(1, body)
    except OSError as error:
        _log.warning("nobody listens: %s", error.strerror)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: threads that wait for a store must not hold the process up, nor see the interpreter taken down.
    os._exit(code)
