"""What a file is: asked of a process of its own, which may hang, grow or crash as it likes.

At most `budget` bytes of a file are fetched, wherever it lies; who needs more to say what it is does not know it. A
process that has not answered in time is killed, and the next file gets another. Used by one thread at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from .probe_messages import Facts, Probe, Reply, Unknown, WantedBytes, read_message, write_message

__all__ = ["HEADER_BUDGET", "Prober"]

HEADER_BUDGET = 2 << 20
_SECONDS = 30.0
_EXACT_SECONDS = 600.0
_MEMORY = 2 << 30
_SMALL = 4096
"""What is smaller counts as that much: a file that is read byte by byte ends, too."""


class Prober:
    """Asks what files are. Its process, with so many bytes of memory, is started when it is first needed."""

    def __init__(self, *, seconds: float = _SECONDS, memory: int = _MEMORY) -> None:
        self._memory = memory
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def probe(self, size: int, fetch: Callable[[int, int], bytes], *, exact: bool = False) -> Facts | Unknown:
        """Say what a file of `size` bytes is; `fetch` gives its bytes by offset and length, and may raise.

        `exact`: all of a video is fetched and decoded.
        """
        child = self._started()
        assert child.stdin is not None
        assert child.stdout is not None
        timer = threading.Timer(_EXACT_SECONDS if exact else self._seconds, child.kill)
        timer.daemon = True
        timer.start()
        left = (1 << 62) if exact else HEADER_BUDGET
        is_whole = False
        try:
            write_message(child.stdin, Probe(size, exact))
            while True:
                answer: Reply | None = read_message(child.stdout, Reply)
                if answer is None:
                    return Unknown("whoever looks into it was killed, or took too long")
                if not isinstance(answer, WantedBytes):
                    is_whole = True
                    return answer
                if not 0 <= answer.offset <= size or not 0 <= answer.length <= 1 << 24:
                    return Unknown("whoever looks into it asks for what there is not")
                part = fetch(answer.offset, min(answer.length, left)) if left > 0 else b""
                left -= max(len(part), _SMALL)
                write_message(child.stdin, part)
        except (BrokenPipeError, msgspec.DecodeError):
            return Unknown("whoever looks into it was killed, or took too long")
        finally:
            timer.cancel()
            if not is_whole:
                self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "penstock.catalogue.rows.probe_child", str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        return self._child

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
