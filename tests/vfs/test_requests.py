"""Requests taken from a session's descriptor and answered: a socket that keeps packets apart stands for the device."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
from views.memory import Made, MemorySource, Spec, with_file_system

from penstock.errors import StoreUnreachableError
from penstock.vfs.answers import Answers
from penstock.vfs.filesystem import ReadOnlyFileSystem
from penstock.vfs.protocol import Owner
from penstock.vfs.requests import answer_requests

LOOKUP, FORGET, GETATTR, READ, WRITE, INTERRUPT, GETXATTR = 1, 2, 3, 15, 16, 36, 22
SPEC: Spec = {b"a": Made(b"hello"), b"b": Made(b"world"), b"empty": Made()}


class Kernel:
    """The other end of the descriptor."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._unique = 0

    def send(self, opcode: int, inode: int, body: bytes = b"") -> int:
        """Send a request; return its number."""
        self._unique += 1
        head = struct.pack("=IIQQIIIHH", 40 + len(body), opcode, self._unique, inode, 0, 0, 0, 0, 0)
        self._end.send(head + body)
        return self._unique

    async def answer(self) -> tuple[int, int, bytes]:
        """Return the next answer: which request's, the errno or 0, and what follows."""
        await trio.lowlevel.wait_readable(self._end)
        data = self._end.recv(1 << 21)
        length, error, unique = struct.unpack_from("=IiQ", data)
        assert length == len(data)
        return unique, -error, data[16:]

    async def ask(self, opcode: int, inode: int, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request and return its answer."""
        sent = self.send(opcode, inode, body)
        unique, error, rest = await self.answer()
        assert unique == sent
        return error, rest

    def take(self) -> int:
        """Take the answers that are there, without waiting; return how many."""
        taken = 0
        while self.has_answer():
            self._end.recv(1 << 21)
            taken += 1
        return taken

    def has_answer(self) -> bool:
        return bool(select.select([self._end], [], [], 0)[0])


def read_body(offset: int = 0, size: int = 4096) -> bytes:
    return struct.pack("=QQIIQII", 0, offset, size, 0, 0, 0, 0)


def with_kernel(source: MemorySource, body: Callable[[Kernel], Awaitable[None]]) -> None:
    """Run `body` beside what answers it."""

    async def main(file_system: ReadOnlyFileSystem) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                answers = Answers(file_system, Owner(1, 2))
                nursery.start_soon(answer_requests, theirs.fileno(), answers, nursery)
                await body(Kernel(ours))
                nursery.cancel_scope.cancel()

    with_file_system(source, main)


def test_names_and_bytes_the_first_time_and_again() -> None:
    async def body(kernel: Kernel) -> None:
        for _ in range(2):  # from the source, then from memory
            error, entry = await kernel.ask(LOOKUP, 1, b"b\0")
            inode, size = struct.unpack_from("=Q32xQQ", entry)[1:]
            assert (error, size) == (0, 5)
            assert await kernel.ask(READ, inode, read_body()) == (0, b"world")
            assert await kernel.ask(READ, inode, read_body(3, 1)) == (0, b"l")
            assert await kernel.ask(READ, inode, read_body(5)) == (0, b"")

    with_kernel(MemorySource(SPEC), body)


def test_a_name_that_is_not_there_need_not_be_asked_for_again() -> None:
    async def body(kernel: Kernel) -> None:
        error, entry = await kernel.ask(LOOKUP, 1, b"nowhere\0")
        inode, _, holds = struct.unpack_from("=QQQ", entry)
        assert (error, inode) == (0, 0)
        assert holds > 86400
        assert await kernel.ask(LOOKUP, 1, b"x" * 256 + b"\0") == (errno.ENAMETOOLONG, b"")

    with_kernel(MemorySource(SPEC), body)


def test_what_no_mount_does_is_refused_and_the_next_request_answered() -> None:
    async def body(kernel: Kernel) -> None:
        assert await kernel.ask(WRITE, 2, b"data") == (errno.ENOSYS, b"")
        assert await kernel.ask(4242, 2) == (errno.ENOSYS, b"")
        assert await kernel.ask(GETATTR, 99) == (errno.ESTALE, b"")
        assert await kernel.ask(READ, 99, read_body()) == (errno.EBADF, b"")
        assert await kernel.ask(READ, 1, read_body()) == (errno.EBADF, b"")  # a directory
        assert await kernel.ask(READ, 2, b"too short") == (errno.EIO, b"")
        assert await kernel.ask(GETXATTR, 1, struct.pack("=II", 1, 0) + b"user.penstock.version\0") == (
            errno.ERANGE,
            b"",
        )
        error, size = await kernel.ask(GETXATTR, 1, struct.pack("=II", 0, 0) + b"user.penstock.version\0")
        assert (error, struct.unpack("=II", size)) == (0, (64, 0))

    with_kernel(MemorySource(SPEC), body)


def test_what_wants_no_answer_gets_none() -> None:
    async def body(kernel: Kernel) -> None:
        kernel.send(FORGET, 2, struct.pack("=Q", 1))
        kernel.send(INTERRUPT, 0, struct.pack("=Q", 1))
        assert (await kernel.ask(GETATTR, 1))[0] == 0
        assert not kernel.has_answer()

    with_kernel(MemorySource(SPEC), body)


def test_who_waits_for_the_store_holds_up_nobody() -> None:
    source = MemorySource(SPEC)

    async def body(kernel: Kernel) -> None:
        assert await kernel.ask(READ, 2, read_body()) == (0, b"hello")
        source.gate.clear()
        slow = kernel.send(READ, 3, read_body())
        for _ in range(100):
            assert await kernel.ask(READ, 2, read_body()) == (0, b"hello")
        source.gate.set()
        assert await kernel.answer() == (slow, 0, b"world")

    with_kernel(source, body)


def test_a_store_that_fails_is_an_error_and_then_good_again() -> None:
    source = MemorySource(SPEC)
    source.faults.append(StoreUnreachableError("gone"))

    async def body(kernel: Kernel) -> None:
        assert await kernel.ask(READ, 2, read_body()) == (errno.EIO, b"")
        assert await kernel.ask(READ, 2, read_body()) == (0, b"hello")

    with_kernel(source, body)


def test_other_tasks_get_their_turn_however_many_requests_there_are() -> None:
    async def body(kernel: Kernel) -> None:
        assert await kernel.ask(READ, 2, read_body()) == (0, b"hello")
        for _ in range(96):
            kernel.send(READ, 2, read_body())
        batches = []
        while sum(batches) < 96:
            await trio.lowlevel.checkpoint()
            batches.append(kernel.take())
        assert max(batches) <= 32

    with_kernel(MemorySource(SPEC), body)


def test_a_descriptor_that_cannot_be_read_is_not_taken_for_the_end() -> None:
    device = os.open("/dev/fuse", os.O_RDWR)  # part of no session

    async def body(file_system: ReadOnlyFileSystem) -> None:
        async with trio.open_nursery() as nursery:
            with pytest.raises(PermissionError):
                await answer_requests(device, Answers(file_system, Owner(1, 2)), nursery)

    try:
        with_file_system(MemorySource(SPEC), body)
    finally:
        os.close(device)
