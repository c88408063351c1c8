"""Read local files for a version: the bytes, their hash, and proof that they did not change meanwhile.

Small files are read in batches, large ones in pieces, in a pool of threads and ahead of who consumes them, in
order, and never more than a bounded number of bytes (`memory`). BLAKE3 and read(2) let other threads run.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar, overload

from penstock.errors import ConflictError
from penstock.manifest.entry import BLOCK_SIZE, MAX_TARGET, Kind
from penstock.manifest.hashing import ContentHasher, content_hash, hash_of_blocks
from penstock.repo.fetch.memory import shares

from .directory_walk import EnterDirectory, LeaveDirectory, LocalFile, Step
from .local_path import file_error, open_path, read_link

__all__ = ["PACKED_SIZE", "PIECE_SIZE", "FilePiece", "FileRead", "ReadStep", "in_order", "read_ahead"]

T = TypeVar("T")

PACKED_SIZE = 4 << 20
"""Files of up to so many bytes share a pack with others."""
PIECE_SIZE = 32 << 20
"""Larger files are cut into objects of so many bytes: a whole number of blocks."""
assert PIECE_SIZE % BLOCK_SIZE == 0

_BATCH_FILES = 64
_BATCH_BYTES = 4 << 20
_AHEAD_TASKS = 64
_TRIES = 3


class FileRead(NamedTuple):
    """A file or symlink whose hash is known. `data`: its bytes or target; empty for a file that came in pieces."""

    file: LocalFile
    size: int
    hash: bytes
    blocks: bytes
    data: bytes


class FilePiece(NamedTuple):
    """A part of a large file, in order; `FileRead` follows the last one."""

    file: LocalFile
    offset: int
    data: bytes
    hash: bytes
    blocks: bytes


ReadStep = EnterDirectory | LeaveDirectory | FileRead | FilePiece
_Read = FileRead | FilePiece


def _facts(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _open(path: bytes) -> int:
    # O_NONBLOCK: a pipe that took the file's place must not hang the push.
    return open_path(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _changed(path: bytes) -> ConflictError:
    return ConflictError(
        f"{os.fsdecode(path)!r} changed while it was being read",
        why="nothing was published",
        fix="Run the command again when nothing writes to it.",
    )


def _read_small(file: LocalFile) -> FileRead:
    try:
        if file.kind is Kind.SYMLINK:
            target = read_link(file.path)
            if not 0 < len(target) <= MAX_TARGET:
                raise _changed(file.path)
            return FileRead(file, len(target), content_hash(target), b"", target)
        for _ in range(_TRIES):
            descriptor = _open(file.path)
            try:
                found = os.fstat(descriptor)
                before = found.st_size, found.st_mtime_ns, found.st_ctime_ns
                if not stat.S_ISREG(found.st_mode) or found.st_size > PACKED_SIZE:
                    raise _changed(file.path)
                data = os.read(descriptor, before[0] + 1)
                if len(data) == before[0] and _facts(descriptor) == before:
                    break
            finally:
                os.close(descriptor)
        else:
            raise _changed(file.path)
    except OSError as error:
        raise file_error(file.path, error) from error
    if before[1] != file.mtime_ns:  # written after it was listed: the time belongs to these bytes
        file = replace(file, mtime_ns=before[1])
    if len(data) <= BLOCK_SIZE:
        return FileRead(file, len(data), content_hash(data), b"", data)
    hasher = ContentHasher()
    hasher.update(data)
    digest, blocks = hasher.finish()
    return FileRead(file, len(data), digest, blocks, data)


def _read_batch(files: list[LocalFile]) -> list[_Read]:
    return [_read_small(file) for file in files]


def _read_piece(file: LocalFile, offset: int, facts: tuple[int, int, int]) -> list[_Read]:
    length = min(PIECE_SIZE, facts[0] - offset)
    try:
        descriptor = _open(file.path)
        try:
            data = os.pread(descriptor, length, offset)
            if len(data) != length or _facts(descriptor) != facts:
                raise _changed(file.path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(file.path, error) from error
    view = memoryview(data)
    blocks = b"".join(content_hash(view[at : at + BLOCK_SIZE]) for at in range(0, length, BLOCK_SIZE))
    return [FilePiece(file, offset, data, content_hash(data), blocks)]


def _large_facts(file: LocalFile) -> tuple[int, int, int]:
    try:
        descriptor = _open(file.path)
        try:
            return _facts(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(file.path, error) from error


_Task = Callable[[], Sequence[T]] | Sequence[T]


def _tasks(steps: Iterable[LocalFile | T]) -> Iterator[tuple[_Task[T | _Read], int]]:
    """Cut the stream into work for the pool, each with the bytes it will hold."""
    batch: list[LocalFile] = []
    held = 0
    for found in steps:
        step: LocalFile | T | None = found
        if isinstance(step, LocalFile) and (step.kind is Kind.SYMLINK or step.size <= PACKED_SIZE):
            batch.append(step)
            held += step.size
            if len(batch) < _BATCH_FILES and held < _BATCH_BYTES:
                continue
            step = None
        if batch:
            files, size = batch, held
            batch, held = [], 0
            yield partial(_read_batch, files), size
        if isinstance(step, LocalFile):
            yield from _large(step)
        elif step is not None:
            yield [step], 0
    if batch:
        yield partial(_read_batch, batch), held


def _large(file: LocalFile) -> Iterator[tuple[_Task[_Read], int]]:
    facts = _large_facts(file)
    if facts[0] != file.size:
        raise _changed(file.path)
    file = replace(file, mtime_ns=facts[1])
    for offset in range(0, facts[0], PIECE_SIZE):
        yield partial(_read_piece, file, offset, facts), min(PIECE_SIZE, facts[0] - offset)


@overload
def read_ahead(
    steps: Iterable[Step], pool: ThreadPoolExecutor, foresee: Callable[[Sequence[bytes]], None] | None = None
) -> Generator[ReadStep, None, None]: ...
@overload
def read_ahead(
    steps: Iterable[LocalFile | _Read | T],
    pool: ThreadPoolExecutor,
    foresee: Callable[[Sequence[bytes]], None] | None = None,
) -> Generator[_Read | T, None, None]: ...
def read_ahead(
    steps: Iterable[Any], pool: ThreadPoolExecutor, foresee: Callable[[Sequence[bytes]], None] | None = None
) -> Generator[Any, None, None]:
    """Yield the steps in order, files read and hashed. What is read ahead is at most a share and one piece.

    A file that is read already passes through, like all that is none; the last piece of a large one is followed by it.
    `foresee` is told the contents of some small files before the first of them is yielded.

    AccessError, ConflictError (changed or went while it was read), IntegrityError (the disk failed): as they come up.
    """
    large: list[bytes] = []
    look = None if foresee is None else lambda read: foresee([each.hash for each in read if isinstance(each, FileRead)])
    with closing(in_order(_tasks(steps), pool, look)) as results:
        for step in results:
            yield step
            if isinstance(step, FilePiece):
                large.append(step.blocks)
                end = step.offset + len(step.data)
                if end == step.file.size:
                    blocks = b"".join(large)
                    large.clear()
                    yield FileRead(step.file, end, hash_of_blocks(end, blocks), blocks, b"")


def in_order(
    tasks: Iterator[tuple[_Task[T], int]], pool: ThreadPoolExecutor, look: Callable[[Sequence[T]], None] | None = None
) -> Generator[T, None, None]:
    """Run tasks in the pool and yield what they return, in order; a task may be its result already.

    `look` is given what a task has returned before that is yielded.

    Each comes with the bytes that its result holds: what has run and was not yielded is at most the share of what is
    read ahead (`memory`: 128 MiB where memory is not scarce) and a task.
    """
    most = shares().reading
    waiting: deque[tuple[Future[Sequence[T]] | Sequence[T], int]] = deque()
    held = 0
    exhausted = False
    try:
        while True:
            while not exhausted and len(waiting) < _AHEAD_TASKS and (held < most or not waiting):
                task = next(tasks, None)
                if task is None:
                    exhausted = True
                    break
                work, size = task
                waiting.append((pool.submit(work) if callable(work) else work, size))
                held += size
            if not waiting:
                return
            result, size = waiting.popleft()
            results = result.result() if isinstance(result, Future) else result
            if look is not None:
                look(results)
            yield from results
            held -= size
    finally:
        for result, _ in waiting:
            if isinstance(result, Future):
                result.cancel()
