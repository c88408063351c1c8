"""Where the processes of a mount log to: a file that is bounded by rotation, or standard error in the foreground."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler, WatchedFileHandler

__all__ = ["start_log"]

_LOG_BYTES = 1 << 20


def start_log(path: str | None, level: int = logging.INFO, *, rotates: bool) -> None:
    """Set up this process's log. Of the processes that share a file one `rotates` it, the others follow."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler()
    elif rotates:
        handler = RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    else:
        handler = WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
