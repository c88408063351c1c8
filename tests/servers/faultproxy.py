"""An HTTP/1.1 proxy in front of a real server that misbehaves when it is told to, and only then.

    with FaultProxy("127.0.0.1:9000") as proxy:
        proxy.fail(fault=Status(503), match=lambda method, path: method == "PUT", times=2)
        ...  # the client talks to proxy.endpoint

Faults are taken in the order in which they were armed: a request suffers the first one that matches and has times
left, never two. Everything else passes unchanged: keep-alive, chunks, 100-continue, early answers. Runs in a thread
of its own; every method may be called from any thread.

**Invariant:** a request is in `requests` before its first byte reaches the server or its answer the client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from .faults import Fault, FlipByte, FlipRequestByte, Reset, Stall, Status, Trickle, Truncate
from .http1 import Head, answer_has_body, has_framed_end, read_body, read_head, request_has_body
from .ports import LOOPBACK, reserve_port

__all__ = [
    "Armed",
    "Fault",
    "FaultProxy",
    "FlipByte",
    "FlipRequestByte",
    "RequestSeen",
    "Reset",
    "Stall",
    "Status",
    "Trickle",
    "Truncate",
]

T = TypeVar("T")
Match = Callable[[str, str], bool]
_HEAD_LIMIT = 1 << 20
_TICK = 0.02  # seconds between the spoonfuls of a trickle
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing with this sends RST


def any_request(method: str, path: str) -> bool:
    """Match every request."""
    return bool(method and path)


@dataclass(slots=True)
class RequestSeen:
    """One request; `path` with its query, header names in lower case, `body_length` as far as it has come."""

    method: str
    path: str
    headers: dict[str, str]
    body_length: int = 0


@dataclass(slots=True)
class Armed:
    """A fault that waits for its requests; `struck` counts those that it has met."""

    fault: Fault
    match: Match
    times: int
    struck: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    """A client's connection, and ours to the server on its behalf once there is one."""

    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader | None = None
    to_server: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        """Let the client's connection end in RST."""
        with suppress(OSError):  # closed by now
            self.to_client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.abort()

    async def finish(self) -> None:
        """Send what is still to go to the client, then FIN."""
        self.to_client.close()
        await self.to_client.wait_closed()

    def abort(self) -> None:
        """Close both sides now."""
        for side in (self.to_client, self.to_server):
            if side is not None:
                side.transport.abort()


class _LinkEndError(Exception):
    """This connection has ended; `reset` tells how the client is to learn of it."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass(slots=True)
class _Flip:
    """Inverts the byte at `offset` of the stream of pieces passed through it."""

    offset: int | None
    passed: int = 0

    def __call__(self, data: bytes) -> bytes:
        at = -1 if self.offset is None else self.offset - self.passed
        self.passed += len(data)
        if not 0 <= at < len(data):
            return data
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


class FaultProxy:
    """A proxy for `upstream` (``host:port``) that listens from construction to `close`.

    `endpoint` is ``http://127.0.0.1:PORT``; `requests` holds what came, in order.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").rpartition(":")
        self._upstream = (host, int(port))
        self._held = reserve_port()
        self.port: int = self._held.getsockname()[1]
        self.endpoint = f"http://{LOOPBACK}:{self.port}"
        self.requests: list[RequestSeen] = []
        self._armed: list[Armed] = []
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        self.up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fail(self, *, fault: Fault, match: Match = any_request, times: int = 1) -> Armed:
        """Let the next `times` requests for which ``match(method, path)`` holds suffer `fault`."""
        armed = Armed(fault, match, times)
        with self._lock:
            self._armed.append(armed)
        return armed

    def heal(self) -> None:
        """Disarm every fault."""
        with self._lock:
            self._armed.clear()

    def count(self, method: str, match: Match = any_request) -> int:
        """Return how many requests of this method have come (and match)."""
        return sum(1 for seen in list(self.requests) if seen.method == method and match(method, seen.path))

    def down(self) -> None:
        """Cut every connection and refuse new ones, as if the server were gone."""
        self._call(self._close_all())

    def up(self) -> None:
        """Listen (again), on the same port."""
        self._call(self._listen())

    def close(self) -> None:
        """Stop for good. Calling it again does nothing."""
        if self._loop.is_closed():
            return
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._held.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, LOOPBACK, self.port, reuse_address=True, limit=_HEAD_LIMIT, backlog=1024
            )

    async def _close_all(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # transports close their sockets one turn of the loop after they are told to

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        link = _Link(client, to_client)
        task = asyncio.current_task()
        if task is None or self._server is None:
            link.reset()  # accepted in the moment of going down
            return
        self._tasks.add(task)
        try:
            while True:
                await self._exchange(link)
        except _LinkEndError as done:
            if not done.reset:
                with suppress(OSError):
                    await link.finish()
                return
            link.reset()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            # Going down (the task's end is all that is wanted), or one side went away, and so does the other.
            link.reset()
        finally:
            link.abort()
            self._tasks.discard(task)

    async def _exchange(self, link: _Link) -> None:
        """Pass one request and its answer; raises _LinkEndError when the connection ends with it."""
        head = await read_head(link.client)
        if head is None:
            raise _LinkEndError
        method, path, _ = head.words
        seen = RequestSeen(method, path, head.fields)
        self.requests.append(seen)
        fault = self._next_fault(method, path)
        if isinstance(fault, Status):
            await self._answer(link, head, seen, fault)
            return
        if isinstance(fault, Reset) and not fault.after_forward:
            raise _LinkEndError(reset=True)
        if link.to_server is None:
            link.server, link.to_server = await asyncio.open_connection(*self._upstream, limit=_HEAD_LIMIT)
        sending = asyncio.create_task(self._pass_request(link, head, seen, fault))
        try:
            answer = await self._pass_answer(link, method, fault)
            if "expect" not in head.fields:
                await sending  # answered before all of the request was in: the rest still comes
            whole = sending.done() and sending.result()
        finally:
            sending.cancel()
        ends = answer_has_body(answer, method) and not has_framed_end(answer)
        if ends or not whole or answer.closes or head.closes:
            raise _LinkEndError

    def _next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for armed in self._armed:
                if armed.struck < armed.times and armed.match(method, path):
                    armed.struck += 1
                    return armed.fault
        return None

    async def _answer(self, link: _Link, head: Head, seen: RequestSeen, fault: Status) -> None:
        """Answer in the server's stead. A body that still waits for its 100 is refused, as a real server would."""
        waits = "expect" in head.fields
        if request_has_body(head) and not waits:
            async for piece in read_body(link.client, head):
                seen.body_length += len(piece.data) if piece.payload else 0
        closes = waits or head.closes
        fields = [*fault.headers, ("Content-Length", str(len(fault.body)))]
        fields += [("Connection", "close")] if closes else []
        lines = [f"HTTP/1.1 {fault.code} Fault", *(f"{name}: {value}" for name, value in fields), "", ""]
        link.to_client.write("\r\n".join(lines).encode("latin-1"))
        if head.words[0] != "HEAD":
            link.to_client.write(fault.body)
        await link.to_client.drain()
        if closes:
            raise _LinkEndError

    async def _pass_request(self, link: _Link, head: Head, seen: RequestSeen, fault: Fault | None) -> bool:
        """Pass the request; False when the server stopped taking it. A client that goes away ends the link."""
        assert link.to_server is not None
        flip = _Flip(fault.offset if isinstance(fault, FlipRequestByte) else None)
        link.to_server.write(head.raw)
        if not request_has_body(head):
            return True
        try:
            async for piece in read_body(link.client, head):
                if piece.payload:
                    seen.body_length += len(piece.data)
                link.to_server.write(flip(piece.data) if piece.payload else piece.data)
                try:
                    await link.to_server.drain()
                except OSError:
                    return False  # its answer says why
        except (asyncio.IncompleteReadError, OSError):
            link.reset()
            return False
        return True

    async def _pass_answer(self, link: _Link, method: str, fault: Fault | None) -> Head:
        assert link.server is not None
        while True:
            head = await read_head(link.server)
            if head is None:
                raise _LinkEndError(reset=True)  # the server has dropped us, so the client is dropped
            if head.status >= 200:
                break
            link.to_client.write(head.raw)  # 100 Continue
            await link.to_client.drain()
        loses = isinstance(fault, Reset)
        if isinstance(fault, Stall) and fault.after_bytes is None:
            await asyncio.sleep(fault.seconds)
        if not loses:
            link.to_client.write(head.raw)
            await link.to_client.drain()
        flip = _Flip(fault.offset if isinstance(fault, FlipByte) else None)
        sent = 0
        if answer_has_body(head, method):
            async for piece in read_body(link.server, head):
                if loses:
                    continue
                if piece.payload:
                    await self._send(link.to_client, flip(piece.data), sent, fault)
                    sent += len(piece.data)
                else:
                    link.to_client.write(piece.data)
                await link.to_client.drain()
        if loses:
            raise _LinkEndError(reset=True)
        return head

    async def _send(self, out: asyncio.StreamWriter, data: bytes, sent: int, fault: Fault | None) -> None:
        """Send a piece of the answer's body, before which `sent` bytes have gone out."""
        match fault:
            case Truncate(n_bytes) if sent + len(data) >= n_bytes:
                out.write(data[: max(0, n_bytes - sent)])
                await out.drain()
                raise _LinkEndError
            case Stall(seconds, int(after)) if sent <= after < sent + len(data):
                out.write(data[: after - sent])
                await out.drain()
                await asyncio.sleep(seconds)
                out.write(data[after - sent :])
            case Trickle(rate):
                spoon = max(1, int(rate * _TICK))
                for at in range(0, len(data), spoon):
                    await asyncio.sleep(len(data[at : at + spoon]) / rate)
                    out.write(data[at : at + spoon])
                    await out.drain()
            case _:
                out.write(data)
