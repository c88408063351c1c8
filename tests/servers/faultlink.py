"""One client's connection through the fault proxy: requests and answers pass, or suffer what their fault says.

Used by `faultproxy` only, in its event loop.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from .faults import (
    Answer,
    Endless,
    Fault,
    FlipByte,
    FlipRequestByte,
    Reset,
    Rewrite,
    Stall,
    Status,
    Trickle,
    TrickleHead,
    Truncate,
)
from .http1 import Head, answer_has_body, has_framed_end, read_body, read_head, request_has_body

__all__ = ["HEAD_LIMIT", "Link", "RequestSeen"]

HEAD_LIMIT = 1 << 20  # bytes that a head may have
_TICK = 0.02  # seconds between the spoonfuls of a trickle
_RST = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass(slots=True)
class RequestSeen:
    """One request; `path` with its query, header names in lower case, `body_length` as far as it has come."""

    method: str
    path: str
    headers: dict[str, str]
    body_length: int = 0


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


class Link:
    """A client's connection, and ours to the server on its behalf once there is one.

    `see` is told of each request when its head is in, and returns the fault that it is to suffer, or None.
    """

    def __init__(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        upstream: tuple[str, int],
        see: Callable[[RequestSeen], Fault | None],
    ) -> None:
        self._client, self._to_client = client, to_client
        self._upstream = upstream
        self._see = see
        self._server: asyncio.StreamReader | None = None
        self._to_server: asyncio.StreamWriter | None = None
        self.silent = False
        """Whether requests on it vanish, as with a NAT that has forgotten the connection: no answer, and no end."""

    async def run(self) -> None:
        """Serve the connection to its end. Cancelling ends it too, in RST."""
        try:
            while True:
                await self._exchange()
        except _LinkEndError as end:
            if end.reset:
                self.reset()
                return
            self._to_client.close()  # what is still to go, then FIN
            with suppress(OSError):
                await self._to_client.wait_closed()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            # Going down (the task's end is all that is wanted), or one side went away, and so does the other.
            self.reset()
        finally:
            self._abort()

    def reset(self) -> None:
        """Let the client's connection end in RST."""
        with suppress(OSError):  # closed by now
            self._to_client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._abort()

    def _abort(self) -> None:
        for side in (self._to_client, self._to_server):
            if side is not None:
                side.transport.abort()

    async def _exchange(self) -> None:
        """Pass one request and its answer; raises _LinkEndError when the connection ends with it."""
        head = await read_head(self._client)
        if head is None:
            raise _LinkEndError
        if self.silent:
            await asyncio.get_running_loop().create_future()  # until the link is cancelled
        method, path, _ = head.words
        seen = RequestSeen(method, path, head.fields)
        fault = self._see(seen)
        if isinstance(fault, Status):
            await self._answer(head, seen, fault)
            return
        if isinstance(fault, Endless):
            await self._answer_endlessly(fault)
        if isinstance(fault, Reset) and not fault.after_forward:
            raise _LinkEndError(reset=True)
        if self._to_server is None:
            self._server, self._to_server = await asyncio.open_connection(*self._upstream, limit=HEAD_LIMIT)
        sending = asyncio.create_task(self._pass_request(head, seen, fault))
        try:
            answer = await self._pass_answer(method, fault)
            if "expect" not in head.fields:
                await sending  # answered before all of the request was in: the rest still comes
            whole = sending.done() and sending.result()
        finally:
            sending.cancel()
        ends = answer_has_body(answer, method) and not has_framed_end(answer)
        if ends or not whole or answer.closes or head.closes:
            raise _LinkEndError

    async def _answer(self, head: Head, seen: RequestSeen, fault: Status) -> None:
        """Answer in the server's stead. A body that still waits for its 100 is refused, as a real server would."""
        waits = "expect" in head.fields
        if request_has_body(head) and not waits:
            async for piece in read_body(self._client, head):
                seen.body_length += len(piece.data) if piece.payload else 0
        closes = waits or head.closes
        fields = [*fault.headers, ("Content-Length", str(len(fault.body)))]
        fields += [("Connection", "close")] if closes else []
        lines = [f"HTTP/1.1 {fault.code} Fault", *(f"{name}: {value}" for name, value in fields), "", ""]
        self._to_client.write("\r\n".join(lines).encode("latin-1"))
        if head.words[0] != "HEAD":
            self._to_client.write(fault.body)
        await self._to_client.drain()
        if closes:
            raise _LinkEndError

    async def _answer_endlessly(self, fault: Endless) -> NoReturn:
        lines = [f"HTTP/1.1 {fault.code} Fault", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in fault.headers]
        self._to_client.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        while True:
            self._to_client.write(chunk)
            await self._to_client.drain()

    async def _pass_request(self, head: Head, seen: RequestSeen, fault: Fault | None) -> bool:
        """Pass the request; False when the server stopped taking it. A client that goes away ends the self."""
        assert self._to_server is not None
        flip = _Flip(fault.offset if isinstance(fault, FlipRequestByte) else None)
        self._to_server.write(head.raw)
        if not request_has_body(head):
            return True
        try:
            async for piece in read_body(self._client, head):
                if piece.payload:
                    seen.body_length += len(piece.data)
                self._to_server.write(flip(piece.data) if piece.payload else piece.data)
                try:
                    await self._to_server.drain()
                except OSError:
                    return False  # its answer says why
        except (asyncio.IncompleteReadError, OSError):
            self.reset()
            return False
        return True

    async def _pass_answer(self, method: str, fault: Fault | None) -> Head:
        assert self._server is not None
        while True:
            head = await read_head(self._server)
            if head is None:
                raise _LinkEndError(reset=True)  # the server has dropped us, so the client is dropped
            if head.status >= 200:
                break
            self._to_client.write(head.raw)  # 100 Continue
            await self._to_client.drain()
        if isinstance(fault, Rewrite):
            return await self._pass_rewritten(head, method, fault)
        loses = isinstance(fault, Reset)
        if isinstance(fault, Stall) and fault.after_bytes is None:
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, TrickleHead):
            for at in range(len(head.raw)):
                await asyncio.sleep(1 / fault.bytes_per_second)
                self._to_client.write(head.raw[at : at + 1])
        elif not loses:
            self._to_client.write(head.raw)
            await self._to_client.drain()
        flip = _Flip(fault.offset if isinstance(fault, FlipByte) else None)
        sent = 0
        if answer_has_body(head, method):
            async for piece in read_body(self._server, head):
                if loses:
                    continue
                if piece.payload:
                    await self._send(self._to_client, flip(piece.data), sent, fault)
                    sent += len(piece.data)
                else:
                    self._to_client.write(piece.data)
                await self._to_client.drain()
        if loses:
            raise _LinkEndError(reset=True)
        return head

    async def _pass_rewritten(self, head: Head, method: str, fault: Rewrite) -> Head:
        assert self._server is not None
        body = b""
        if answer_has_body(head, method):
            body = b"".join([piece.data async for piece in read_body(self._server, head) if piece.payload])
        answer = Answer(head.status, dict(head.fields), body)
        if method != "HEAD":
            answer.fields.pop("content-length", None)
            answer.fields.pop("transfer-encoding", None)
        fault.change(answer)
        body = answer.body
        if "transfer-encoding" in answer.fields:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif method != "HEAD":
            answer.fields["content-length"] = str(len(body))
        lines = [f"HTTP/1.1 {answer.status} Rewritten", *(f"{name}: {value}" for name, value in answer.fields.items())]
        self._to_client.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body if method != "HEAD" else b""))
        await self._to_client.drain()
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
