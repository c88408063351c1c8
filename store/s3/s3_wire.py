"""Connections to S3 that keep time and measure: every byte of an answer comes through here.

Four things that urllib3 and botocore leave open, and that a server, a proxy or a dead line can make a reader wait or
run out of memory by:

- A timeout bounds one wait for the socket. Heads that come a byte at a time never meet it. Here every wait ends with
  the deadline of the call, and an answer that comes in drops (`_FLOOR`) ends sooner.
- A kept connection may be dead, with nobody there to say so: a NAT has forgotten it, the machine slept. One that was
  idle for long is not used; one that was idle for a moment has little time to show that it lives (`_FIRST_BYTE`), and
  when it does not, none that is as old is trusted: the next attempt connects anew. The kernel gives up what is not
  acknowledged (TCP_USER_TIMEOUT), and asks idle ones whether they live (TCP keep-alive).
- Lists and error messages are read whole into memory: here up to a bound.
- After `100 Continue` botocore reads a head without an end, and for ever when the connection ends in it.

`bounded` says which deadline holds in this thread.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPResponse,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSResponse,
)
from botocore.httpsession import URLLib3Session

from penstock.store.retry import Deadline

from .http_range import BentAnswer
from .s3_body import DeadlinePassed, SentBody, TooSlow, read_body

__all__ = ["HttpSession", "bounded", "socket_options"]

_IDLE = 30.0
"""Seconds of silence after which a connection is not used again. NATs forget after minutes, some sooner."""
_QUIET = 1.0
"""Seconds of silence after which a connection has to show that it lives."""
_FIRST_BYTE = 3.0
"""Seconds that it has for that. A server that only was slow is asked a second time, and has its whole time then."""
_FLOOR = 1024
"""Bytes a second, over one read timeout: below that an answer is given up, and asked for on another connection."""
_SENT = 128 << 10
"""Bytes of a body that are handed to the socket at once, within one timeout."""
_LARGEST_LIST = 8 << 20
"""Bytes of a list, or another answer that is no object: a thousand keys of S3's length take half of it."""
_LARGEST_COMPLAINT = 64 << 10
"""Bytes of an error's body; of a longer one the status has to do."""
_LINE = 65536
_LINES = 100

_thread = threading.local()


@contextmanager
def bounded(deadline: Deadline) -> Iterator[None]:
    """Let all answers that this thread waits for end with `deadline`."""
    _thread.deadline = deadline
    try:
        yield
    finally:
        del _thread.deadline


def socket_options(read_timeout: float) -> list[tuple[int, int, int]]:
    """Return what is set on each socket, so that the kernel finds out about dead connections."""
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(read_timeout * 500))),  # ms: half of it
    ]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps, as servers and NATs do


class _Trust:
    """What the connections of one pool know of each other: one that was silent since `since` may be dead."""

    def __init__(self) -> None:
        self.since = 0.0

    def lose(self, since: float) -> None:
        self.since = max(self.since, since)


class _Received(io.RawIOBase):
    """The bytes of one answer, as they come. Raises TimeoutError, DeadlinePassed, TooSlow and OSError."""

    def __init__(self, connection: _Connection, sock: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._socket = sock
        self._raw = sock.makefile("rb", 0)
        self._deadline: Deadline = _thread.deadline
        self._usual: float = connection.timeout
        self._patience = min(connection.first_byte, self._usual)
        self._set = self._usual
        self._since = 0.0
        self._count = self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._deadline.remaining()
        if left <= 0:
            raise self._late()
        patience = min(self._patience, left)
        if patience != self._set:
            self._socket.settimeout(patience)
            self._set = patience
        try:
            count = self._raw.readinto(buffer)
        except OSError as error:
            if not self._since:
                self._connection.unanswered()
            if isinstance(error, TimeoutError) and patience == left:
                raise self._late() from error
            raise
        if count:
            self._note(count)
        return count

    def _note(self, count: int) -> None:
        self._connection.heard = now = _now()
        self._total += count
        self._count += count
        if not self._since:
            self._since, self._patience = now, self._usual
        elif (taken := now - self._since) > self._usual:
            if self._count < _FLOOR * taken:
                raise TooSlow(f"{self._count} bytes came in {taken:.1f} s")
            self._since, self._count = now, 0

    def _late(self) -> DeadlinePassed:
        return DeadlinePassed(f"its time was over when {self._total} bytes had come")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Watched:
    """As much of a socket as an answer reads from."""

    def __init__(self, connection: _Connection, sock: socket.socket) -> None:
        self._connection = connection
        self._socket = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self._connection, self._socket))


def _begin_answer(connection: _Connection, kind: Any, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
    made: http.client.HTTPResponse = kind(_Watched(connection, sock), **options)
    return made


class _Connection:
    """What both kinds of connections have on top of botocore's; `heard`: when something came last."""

    sock: socket.socket | None
    timeout: float
    response_class: Any
    trust = _Trust()
    heard = 0.0
    first_byte = _FIRST_BYTE
    _asked = 0.0
    _response_received = False

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        self.heard = _now()

    @property
    def is_connected(self) -> bool:
        fresh = self.heard > self.trust.since and _now() - self.heard < _IDLE
        return fresh and super().is_connected  # type: ignore[misc]  # pyright: ignore

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        self._asked = _now()
        # A large body that goes out shows that the line works, and the answer may take its time.
        suspect = self.sock is not None and self._asked - self.heard > _QUIET and not isinstance(body, SentBody)
        self.first_byte = _FIRST_BYTE if suspect else float("inf")
        try:
            super().request(method, url, body, *args, **options)  # type: ignore[misc]  # pyright: ignore
        except OSError:
            self.unanswered()
            raise

    def unanswered(self) -> None:
        """Note that a request went out and nothing came back: what is as old as this is not to be trusted."""
        self.trust.lose(self._asked)

    def getresponse(self) -> Any:
        self.response_class = functools.partial(_begin_answer, self, self.response_class)
        return super().getresponse()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def _handle_expect_response(self, body: Any) -> None:
        """Read what came in answer to ``Expect: 100-continue``: leave to send the body, or the answer proper."""
        assert self.sock is not None
        with _Received(self, self.sock) as received:  # unbuffered: what follows is for the answer that follows
            line = received.readline(_LINE)
            words = line.split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
                raise http.client.BadStatusLine(repr(line[:100]))
            if words[1] != b"100":
                status = (words[0].decode("latin-1"), int(words[1]), b"".join(words[2:]).strip().decode("latin-1"))
                self.response_class = functools.partial(AWSHTTPResponse, status_tuple=status)
                self._response_received = True  # the body is not sent
                return
            for _ in range(_LINES):
                line = received.readline(_LINE)
                if line in (b"\r\n", b"\n"):
                    break
                if not line.endswith(b"\n"):
                    raise http.client.RemoteDisconnected("the connection ended after leave to send was given")
            else:
                raise http.client.HTTPException(f"more than {_LINES} lines came with leave to send")
        if body is not None:
            self.send(body)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class _PlainConnection(_Connection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Connection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool:
    """What both kinds of pools have on top of botocore's: their connections share what they learn."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._trust = _Trust()
        super().__init__(*args, **options)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        connection.trust = self._trust
        connection.blocksize = _SENT
        return connection


class _PlainPool(_Pool, AWSHTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(_Pool, AWSHTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Answer(AWSResponse):
    """An answer whose body is read up to a bound, where botocore reads it whole."""

    def receive(self) -> None:
        """Read the body. Raises BentAnswer when it is too long for a list, and what `read_body` raises."""
        refused = self.status_code >= 300
        most = _LARGEST_COMPLAINT if refused else _LARGEST_LIST
        body = read_body(self.raw, _thread.deadline, most + 1)
        if len(body) > most and not refused:
            raise BentAnswer(f"it sent more than {most >> 20} MiB where a list was asked for")
        self._content = b"" if len(body) > most else body


class HttpSession(URLLib3Session):
    """Sends the requests of one client. Thread-safe."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme  # type: ignore[attr-defined]

    def send(self, request: Any) -> AWSResponse:
        """Return the answer to a request: with its body, unless that is an object's."""
        streams, request.stream_output = request.stream_output, True
        try:
            plain = super().send(request)
        finally:
            request.stream_output = streams
        if streams and plain.status_code < 300:
            return plain
        answer = _Answer(plain.url, plain.status_code, cast("Any", plain.headers), plain.raw)
        answer.receive()
        return answer
