"""A directory that changes while it is pushed: noticed, named, and nothing is published."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConflictError, IntegrityError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.repo.push import file_reader
from penstock.repo.push.directory_walk import LocalFile, Step, walk_directory
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE, FilePiece, FileRead, read_ahead

World = Any  # see conftest


def steps_of(directory: str, meddle: Callable[[LocalFile], None]) -> Iterator[Step]:
    """Yield what a walk does; `meddle` comes between the listing of a file and its reading."""
    for step in walk_directory(directory, lambda _: None):
        if isinstance(step, LocalFile):
            meddle(step)
        yield step


def read_all(steps: Iterator[Step]) -> dict[bytes, FileRead]:
    with ThreadPoolExecutor(2) as pool:
        return {step.file.names[-1]: step for step in read_ahead(steps, pool) if isinstance(step, FileRead)}


def replace(path: bytes, make: Callable[[bytes], None]) -> None:
    os.unlink(path)
    make(path)


def grow_beyond(path: bytes) -> None:
    with open(path, "wb") as file:
        file.truncate(PACKED_SIZE + 1)


MEDDLING: dict[str, Callable[[bytes], None]] = {
    "gone": os.unlink,
    "a directory now": lambda path: replace(path, os.mkdir),
    "a pipe now": lambda path: replace(path, os.mkfifo),
    "a symlink now": lambda path: replace(path, lambda place: os.symlink("/etc/passwd", place)),
    "too large now": grow_beyond,
}


@pytest.mark.parametrize("size", [5, PACKED_SIZE + 1], ids=["small", "large"])
@pytest.mark.parametrize("meddling", MEDDLING)
def test_a_file_that_is_something_else_by_now(world: World, meddling: str, size: int) -> None:
    directory = world.plant({b"victim": bytes(size)})
    if size > PACKED_SIZE and meddling == "too large now":
        return  # it is of that size already
    with pytest.raises(ConflictError) as caught:
        read_all(steps_of(directory, lambda file: MEDDLING[meddling](file.path)))
    assert f"{directory}/victim" in caught.value.what


def test_a_symlink_that_is_something_else_by_now(world: World) -> None:
    directory = world.plant({b"victim": world.Link(b"x")})
    with pytest.raises(ConflictError, match="victim"):
        read_all(steps_of(directory, lambda file: replace(file.path, os.mkdir)))


def test_a_parent_that_is_gone(world: World) -> None:
    directory = world.plant({b"d/victim": b"x"})
    with pytest.raises(ConflictError, match="victim"):
        read_all(steps_of(directory, lambda file: os.rename(f"{directory}/d", f"{directory}/e")))


def test_a_small_file_written_before_it_is_read_is_read_as_it_is_then(world: World) -> None:
    directory = world.plant({b"file": b"old"})
    read = read_all(steps_of(directory, lambda file: Path(os.fsdecode(file.path)).write_bytes(b"newer")))
    assert (read[b"file"].data, read[b"file"].size) == (b"newer", 5)
    assert read[b"file"].file.mtime_ns == os.stat(f"{directory}/file").st_mtime_ns


def change_while_read(monkeypatch: pytest.MonkeyPatch, path: str, times: int) -> list[int]:
    """Append to a file each time that it has been read: between read(2) and the look at what fstat says now."""
    changes: list[int] = []
    genuine = os.read

    def read(descriptor: int, length: int) -> bytes:
        data = genuine(descriptor, length)
        if len(changes) < times and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            changes.append(len(data))
            with open(path, "ab") as file:
                file.write(b"+")
        return data

    monkeypatch.setattr(file_reader.os, "read", read)
    return changes


def test_a_small_file_that_changes_once_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = world.plant({b"a": b"1", b"victim": b"22"})
    assert change_while_read(monkeypatch, f"{directory}/victim", 1) == []
    world.push(directory)
    assert world.read_back(world.open()) == {b"a": b"1", b"victim": b"22+"}


def test_a_small_file_that_keeps_changing_ends_the_push(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = world.plant({b"a": b"1", b"victim": b"22"})
    changes = change_while_read(monkeypatch, f"{directory}/victim", 100)
    with pytest.raises(ConflictError, match=r"victim.*changed while"):
        world.push(directory)
    assert len(changes) == 3
    assert world.keys() == []


@pytest.mark.parametrize("change", ["write", "append", "truncate", "unlink", "replace"])
def test_a_large_file_that_changes_while_it_is_read(world: World, change: str) -> None:
    """The reader is never more than 128 MiB and a piece ahead, so what is changed then is behind it."""
    directory = world.plant({})
    path = Path(directory, "victim")
    with open(path, "wb") as file:
        file.truncate(8 * PIECE_SIZE)
    seen = 0
    with ThreadPoolExecutor(2) as pool, pytest.raises(ConflictError, match="victim"):
        for step in read_ahead(walk_directory(directory, lambda _: None), pool):
            assert isinstance(step, FilePiece)
            seen += 1
            if seen > 1:
                continue
            if change == "write":
                with open(path, "r+b") as file:
                    file.seek(7 * PIECE_SIZE)
                    file.write(b"!")
            elif change == "append":
                with open(path, "ab") as file:
                    file.write(b"!")
            elif change == "truncate":
                os.truncate(path, BLOCK_SIZE)
            else:
                os.unlink(path)
                if change == "replace":
                    with open(path, "wb") as file:
                        file.truncate(8 * PIECE_SIZE)
    assert 1 <= seen <= 6


def test_reading_ahead_is_bounded(world: World) -> None:
    directory = world.plant({})
    with open(f"{directory}/file", "wb") as file:
        file.truncate(12 * PIECE_SIZE)
    submitted = 0

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **more: Any) -> Any:
            nonlocal submitted
            submitted += 1
            return super().submit(*arguments, **more)

    with Counting(2) as pool:
        for taken, step in enumerate(read_ahead(walk_directory(directory, lambda _: None), pool)):
            if isinstance(step, FilePiece):
                assert submitted - taken <= 5


def test_who_stops_listening_does_not_pay_for_what_was_still_to_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = world.plant({})
    with open(f"{directory}/file", "wb") as file:
        file.truncate(12 * PIECE_SIZE)
    gate = threading.Event()
    reads: list[int] = []
    genuine = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        reads.append(offset)
        if offset:
            assert gate.wait(60)
        return genuine(descriptor, length, offset)

    monkeypatch.setattr(file_reader.os, "pread", pread)
    with ThreadPoolExecutor(1) as pool:
        steps = read_ahead(walk_directory(directory, lambda _: None), pool)
        next(steps)
        steps.close()
        gate.set()
    assert len(reads) <= 2


def test_a_disk_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = world.plant({b"victim": b"x"})

    def fail(descriptor: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file_reader.os, "read", fail)
    with pytest.raises(IntegrityError, match="victim") as caught:
        world.push(directory)
    assert "Input/output error" in caught.value.why
    assert world.keys() == []
