"""Where the processes of a mount log to: a file that is bounded by rotation, or standard error in the foreground."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from logging.handlers import RotatingFileHandler, WatchedFileHandler

__all__ = ["start_log"]

_LOG_BYTES = 1 << 20


class _JsonLine(logging.Formatter):
    """``{"time": "2026-01-31T12:00:00.123Z", "pid": 7, "level": "INFO", "logger": "penstock…", "message": "…"}``."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "pid": record.process,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def start_log(path: str | None, log_format: str, level: int = logging.INFO, *, rotates: bool) -> None:
    """Set up this process's log, as lines of "text" or "json". Of those that share a file one `rotates` it."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler()
    elif rotates:
        handler = RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    else:
        handler = WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    text = logging.Formatter(f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLine() if log_format == "json" else text)
    logging.basicConfig(level=level, handlers=[handler])
