"""What completion remembers: answers to questions, a file each in the user's cache, asked anew in the background.

Somebody waits with a finger on the key, so an old answer is given at once, and the first one after a moment or not at
all. Imports next to nothing: to load what asks a store takes longer than the whole of a completion may.

A question is a list of texts: ``commands``, ``remotes``, ``datasets BUCKET``, ``refs BUCKET/DATASET``,
``paths HANDLE``. What is remembered may be out of date, or gone; nothing but completion reads it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

__all__ = ["ask", "keep", "stamp"]

_FRESH = 5.0
"""Seconds after which an answer is asked for anew, while the old one is given."""
_PATIENCE = 0.25
"""Seconds in which the first answer may come."""
_BUSY = 30.0
"""Seconds after which whoever was asked is taken to have failed."""
_MOST = 4 << 20
_POLL = 0.02


def _folder() -> str | None:
    """Return the folder of answers, made if need be; None: there can be none."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base) or base.startswith("/.cache"):
        return None
    folder = os.path.join(base, "penstock", "completion")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        facts = os.lstat(folder)
    except OSError:
        return None
    return folder if facts.st_uid == os.geteuid() and not facts.st_mode & 0o022 else None


def _path(folder: str, question: list[str]) -> str:
    from hashlib import sha256

    places = [os.environ.get(name, "") for name in ("PENSTOCK_CONFIG", "XDG_CONFIG_HOME", "HOME")]
    body = json.dumps([question, places]).encode()
    return os.path.join(folder, sha256(body).hexdigest()[:40])


def ask(question: list[str]) -> Any:
    """Return what is known: a list of values and their help, or another form for ``commands``; None: nothing yet."""
    folder = _folder()
    if folder is None:
        return None
    path = _path(folder, question)
    found = _read(path)
    now = stamp(question)
    if found is not None and found.get("stamp") == now and (now or time.time() - found["at"] < _FRESH):
        return found["answer"]
    _start(path, question)
    until = time.monotonic() + _PATIENCE
    while found is None and time.monotonic() < until:
        time.sleep(_POLL)
        found = _read(path)
    return found["answer"] if found is not None else None


def keep(question: list[str], answer: Any) -> None:
    """Remember an answer. OSError."""
    folder = _folder()
    if folder is None:
        return
    path = _path(folder, question)
    draft = f"{path}.{os.getpid()}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as stream:
        json.dump({"at": time.time(), "stamp": stamp(question), "answer": answer}, stream)
    os.rename(draft, path)


def stamp(question: list[str]) -> str:
    """Return what an answer holds for beside time: of commands, this program's files."""
    if question != ["commands"]:
        return ""
    newest = 0
    for folder, _, names in os.walk(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
        newest = max(
            [newest, *(os.stat(os.path.join(folder, name)).st_mtime_ns for name in names if name[-3:] == ".py")]
        )
    return str(newest)


def _read(path: str) -> dict[str, Any] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            found = json.loads(stream.read(_MOST))
    except (OSError, ValueError):
        return None
    good = isinstance(found, dict) and isinstance(found.get("at"), (int, float)) and "answer" in found
    return found if good else None


def _start(path: str, question: list[str]) -> None:
    """Have a process find the answer, unless one is at it."""
    busy = f"{path}.busy"
    try:
        if time.time() - os.stat(busy).st_mtime < _BUSY:
            return
        os.unlink(busy)
    except OSError:
        pass
    try:
        os.close(os.open(busy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        command = [sys.executable, "-P", "-m", "penstock.cli.shell.answer", busy, *question]
        os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere, setsid=True)
    except OSError:
        return
