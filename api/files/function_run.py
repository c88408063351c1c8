"""One call of a user's function: what it returned, or how it failed, whatever it does.

It may print, call `sys.exit`, change the directory or fork; a child that it forks and that comes back from it ends
there. With a time limit it runs in a process of its own, forked where it is called, in a session of its own: that can
be killed, with all that it has started, whatever it hangs in. What it changes in memory is lost then.

What comes back crosses processes as plain text.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from penstock.errors import PenstockError, UsageError

from .function_call import CallPlan, Promise

__all__ = ["FunctionOutcome", "run_function"]

_LENGTH = struct.Struct("!Q")
_MOST = 64 << 20


class FunctionOutcome(NamedTuple):
    """What a call came to: the paths that it returned, by name; or what went wrong in a line, and in full."""

    outputs: dict[str, str]
    failure: str | None = None
    trace: str = ""


def run_function(
    fn: Callable[..., Any],
    plan: CallPlan,
    promise: Promise | None,
    values: Mapping[str, Any],
    timeout: float | None = None,
) -> FunctionOutcome:
    """Call a function with what it names of `values`; at the end of `timeout` seconds it is killed."""
    if timeout is None:
        return _run(fn, plan, promise, values)
    return _run_apart(lambda: _run(fn, plan, promise, values), timeout)


def _run(fn: Callable[..., Any], plan: CallPlan, promise: Promise | None, values: Mapping[str, Any]) -> FunctionOutcome:
    process = os.getpid()
    here = _working_directory()
    try:
        outcome = FunctionOutcome(_outputs(plan.call(fn, values), promise))
    except PenstockError as error:
        outcome = FunctionOutcome({}, str(error), _trace(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a user's function raises is told of its row
        called = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else "failed"
        said = "" if isinstance(error, SystemExit) else f": {type(error).__name__}: {error}"
        outcome = FunctionOutcome({}, f"the function {called}{said}", _trace(error))
    finally:
        if os.getpid() != process:  # a child of its own has come back from it
            os._exit(0)
        if here is not None:
            with suppress(OSError):
                os.fchdir(here)
            os.close(here)
    return outcome


def _trace(error: BaseException) -> str:
    """Return the traceback of a user's function, without the frames that have called it."""
    step = error.__traceback__
    while step is not None and os.path.dirname(step.tb_frame.f_code.co_filename) == os.path.dirname(__file__):
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, step)) if step is not None else ""


def _working_directory() -> int | None:
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it was removed
        return None


def _outputs(returned: Any, promise: Promise | None) -> dict[str, str]:
    if not isinstance(returned, Mapping):
        what = "nothing" if returned is None else f"a {type(returned).__name__}"
        raise UsageError(f"the function returned {what}", fix="Return a dictionary: {name: path of a file}.")
    if promise is not None:
        promise.check(returned)
    outputs = {}
    for name, path in returned.items():
        if not isinstance(name, str):
            raise UsageError(f"the function returned the name {name!r}", fix="Name files by text.")
        if not isinstance(path, str | os.PathLike):
            raise UsageError(
                f"{name}: the function returned a {type(path).__name__}", fix="Return the path of a file that it wrote."
            )
        outputs[name] = os.path.abspath(os.fsdecode(path)) if os.path.isabs(path) else os.fsdecode(path)
    return outputs


def _run_apart(call: Callable[[], FunctionOutcome], timeout: float) -> FunctionOutcome:
    for stream in (sys.stdout, sys.stderr):  # else the child would write what waits in them, too
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(call, writing)
    os.close(writing)
    status: int | None = None
    try:
        body = _read_message(reading, time.monotonic() + timeout)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # should it not have come to have a session of its own
        with suppress(ChildProcessError):
            _, status = os.waitpid(child, 0)
    if body is None:
        return FunctionOutcome({}, f"the function took more than {timeout:g} s, and was killed")
    if not body:
        code = os.waitstatus_to_exitcode(status) if status is not None else 0
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        return FunctionOutcome({}, f"the function's process ended by itself: {how}")
    return FunctionOutcome(*json.loads(body))


def _be_child(call: Callable[[], FunctionOutcome], writing: int) -> None:
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
    except (OSError, ValueError):  # not in the main thread: then they stay as they are
        pass
    try:
        outcome = call()
        body = json.dumps(outcome).encode("ascii")
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            sys.stderr.flush()
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(writing, rest) :]
    finally:
        os._exit(0)


def _read_message(reading: int, end: float) -> bytes | None:
    """Return what the child said; nothing: it ended without; None: the time is over."""
    body = b""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while True:
        left = end - time.monotonic()
        if left <= 0:
            return None
        if not poll.poll(min(left, 3600) * 1000):
            continue
        piece = os.read(reading, 1 << 16)
        if not piece or len(body) > _MOST:
            return b""
        body += piece
        if len(body) >= _LENGTH.size and len(body) >= _LENGTH.size + _LENGTH.unpack_from(body)[0]:
            return body[_LENGTH.size :]
