"""Byte strings in order, more of them than memory holds: sorted runs in a temporary file, merged as they are read.

**Invariant:** what is in memory is at most one run, or a block of each run. Belongs to one thread; closed by its owner.
"""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import msgspec

from penstock.errors import AccessError

__all__ = ["RecordSort"]

_MOST = 48 << 20
"""Bytes of a run as it lies in memory."""
_OVERHEAD = 41
"""Bytes that a byte string takes in memory besides its own, with its place in a list."""
_TOGETHER = 512


class RecordSort:
    """Byte strings that are added in any order, and read in theirs, once."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._held: list[bytes] = []
        self._weight = 0
        self._runs: list[tuple[int, int]] = []
        self._end = 0
        self._file = tempfile.TemporaryFile(prefix="penstock-sort-")  # noqa: SIM115  # closed by `close`

    def add(self, records: Sequence[bytes]) -> None:
        """Add some. AccessError: there is no room for them on the disk."""
        self._held += records
        self._weight += sum(map(len, records)) + _OVERHEAD * len(records)
        if self._weight > self._most:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """Yield all of them in order."""
        if self._runs and self._held:
            self._spill()
        if not self._runs:
            self._held.sort()
            return iter(self._held)
        return heapq.merge(*(self._run(*run) for run in self._runs))

    def _spill(self) -> None:
        self._held.sort()
        begin = self._end
        try:
            for at in range(0, len(self._held), _TOGETHER):
                body = msgspec.msgpack.encode(self._held[at : at + _TOGETHER])
                self._file.write(len(body).to_bytes(8, "big") + body)
                self._end += 8 + len(body)
            self._file.flush()
        except OSError as error:
            raise AccessError(
                f"there is no room to sort in {tempfile.gettempdir()}",
                why=error.strerror or str(error),
                fix="Make room there, or set TMPDIR to a directory on another disk.",
            ) from error
        self._runs.append((begin, self._end))
        self._held = []
        self._weight = 0

    def _run(self, at: int, end: int) -> Iterator[bytes]:
        descriptor = self._file.fileno()
        decode = msgspec.msgpack.Decoder(list[bytes]).decode
        while at < end:
            length = int.from_bytes(os.pread(descriptor, 8, at), "big")
            yield from decode(os.pread(descriptor, length, at + 8))
            at += 8 + length

    def close(self) -> None:
        """Remove the temporary file."""
        self._held = []
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
