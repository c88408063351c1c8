"""Exceptions to exit codes and to what the user is told: the one place for both.

| code | meaning |
|---|---|
| 0 | done |
| 1 | it differs, or only a part could be done |
| 2 | usage: an argument, a handle, a setting |
| 3 | not found, or a prefix that fits several |
| 4 | conflict |
| 5 | integrity: bytes are not what they should be |
| 6 | access refused |
| 7 | store unreachable |
| 70 | a fault in Penstock itself |
| 130 | interrupted, or cancelled |
| 141 | whoever read the output went away (``penstock ls | head``); as the shell reports it, and silent |

Scripts depend on these and on the kinds (`error_form`): they are never given another meaning.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import click

from penstock import __version__
from penstock.error_form import ErrorForm, to_form
from penstock.errors import AccessError, PenstockError

__all__ = ["ErrorReport", "ExitCode", "describe", "save_traceback"]


_FULL = "Make room on that disk, or name another one: TMPDIR, XDG_STATE_HOME, PENSTOCK_CACHE_DIR"
_MACHINE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "Name a place that can be written: TMPDIR, XDG_STATE_HOME, PENSTOCK_CACHE_DIR",
    errno.EIO: "The disk fails: the kernel's log (dmesg) has more",
    errno.ENOMEM: "Give it more memory (ulimit -v, the container's limit)",
    errno.EMFILE: "Allow more open files: ulimit -n",
    errno.ENFILE: "Allow more open files: sysctl fs.file-max",
}


class ExitCode(IntEnum):
    """What the process ends with."""

    OK = 0
    DIFFERS = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    INTEGRITY = 5
    ACCESS = 6
    UNREACHABLE = 7
    INTERNAL = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


_CODES = {
    "usage": ExitCode.USAGE,
    "ambiguous": ExitCode.NOT_FOUND,
    "not_found": ExitCode.NOT_FOUND,
    "merge_conflict": ExitCode.CONFLICT,
    "conflict": ExitCode.CONFLICT,
    "format_too_new": ExitCode.INTEGRITY,
    "integrity": ExitCode.INTEGRITY,
    "protected": ExitCode.ACCESS,
    "access": ExitCode.ACCESS,
    "unreadable": ExitCode.DIFFERS,
    "unreachable": ExitCode.UNREACHABLE,
    "cancelled": ExitCode.INTERRUPTED,
    "failed": ExitCode.DIFFERS,
}
"""Exit codes by the kinds of `error_form.KINDS`."""


class ErrorReport(NamedTuple):
    """An exception as the user meets it; a `form` without `what` means that nothing is said."""

    code: ExitCode
    form: ErrorForm


def describe(error: BaseException) -> ErrorReport:
    """Return what `error` means to the user and to the process's exit code."""
    if isinstance(error, PenstockError):
        form = to_form(error)
        return ErrorReport(_CODES[form.kind], form)
    if isinstance(error, click.UsageError):
        fix = f"{error.ctx.command_path} --help shows the options, with examples" if error.ctx else ""
        return ErrorReport(ExitCode.USAGE, ErrorForm("usage", error.format_message().rstrip("."), fix=fix))
    if isinstance(error, click.ClickException):
        return ErrorReport(ExitCode.USAGE, ErrorForm("usage", error.format_message().rstrip(".")))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ErrorReport(ExitCode.INTERRUPTED, ErrorForm("interrupted", "interrupted"))
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return ErrorReport(ExitCode.PIPE_CLOSED, ErrorForm("pipe_closed", ""))
    if isinstance(error, OSError) and (refusal := _of_the_machine(error)) is not None:
        return ErrorReport(ExitCode.DIFFERS, refusal)
    what = f"a fault in Penstock {__version__}: {type(error).__name__}"
    return ErrorReport(
        ExitCode.INTERNAL, ErrorForm("internal", what, str(error), "Please report it, with the traceback")
    )


def _of_the_machine(error: OSError) -> ErrorForm | None:
    """Return what to say where a disk of this machine refuses, or it has nothing left to give: no fault of ours."""
    fix = _MACHINE.get(error.errno or 0)
    if (error.strerror or "").startswith("No usable temporary directory"):  # what tempfile makes of full disks
        fix = "Make room on /tmp, or name another place with TMPDIR"
    if fix is None:
        return None
    place = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    return ErrorForm("failed", "this machine refuses", f"{error.strerror}{place}", fix)


def save_traceback(error: BaseException) -> Path | None:
    """Write the traceback of `error` to the user's log folder, in place of the last one; None when that fails."""
    from penstock.api.settings import make_user_folder  # seldom, and not for nothing

    try:
        path = Path(make_user_folder("log")) / "last-fault.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"Penstock {__version__}, Python {sys.version}\n")
            traceback.print_exception(error, file=stream)
    except (OSError, AccessError):
        return None
    return path


def _reader_is_gone() -> bool:
    """Tell a closed standard output from a broken pipe or socket elsewhere, which would be a fault to hear of."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        try:
            poll.register(stream.fileno(), 0)
        except (OSError, ValueError):
            continue
    return any(event & select.POLLERR for _, event in poll.poll(0))
