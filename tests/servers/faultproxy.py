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
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from .faultlink import HEAD_LIMIT, Link, RequestSeen
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
from .ports import LOOPBACK, reserve_port

__all__ = [
    "Answer",
    "Armed",
    "Endless",
    "Fault",
    "FaultProxy",
    "FlipByte",
    "FlipRequestByte",
    "RequestSeen",
    "Reset",
    "Rewrite",
    "Stall",
    "Status",
    "Trickle",
    "TrickleHead",
    "Truncate",
]

T = TypeVar("T")
Match = Callable[[str, str], bool]


def any_request(method: str, path: str) -> bool:
    """Match every request."""
    return bool(method and path)


@dataclass(slots=True)
class Armed:
    """A fault that waits for its requests; `struck` counts those that it has met."""

    fault: Fault
    match: Match
    times: int
    struck: int = 0


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
        self._links: set[Link] = set()
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

    def forget(self) -> int:
        """Let every connection there is go silent, as a NAT does that has forgotten them; return how many there were.

        Requests on them vanish: no answer, no end. New connections work.
        """

        async def silence() -> int:
            for link in self._links:
                link.silent = True
            return len(self._links)

        return self._call(silence())

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
                self._serve, LOOPBACK, self.port, reuse_address=True, limit=HEAD_LIMIT, backlog=1024
            )

    async def _close_all(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        if begun := asyncio.all_tasks() - {asyncio.current_task()}:  # accepted in this moment
            await asyncio.wait(begun, timeout=5)
        await asyncio.sleep(0)  # transports close their sockets one turn of the loop after they are told to

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        link = Link(client, to_client, self._upstream, self._see)
        task = asyncio.current_task()
        if task is None or self._server is None:
            link.reset()  # accepted in the moment of going down
            return
        self._tasks.add(task)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._tasks.discard(task)
            self._links.discard(link)

    def _see(self, seen: RequestSeen) -> Fault | None:
        """Record a request, and return what it is to suffer."""
        self.requests.append(seen)
        with self._lock:
            for armed in self._armed:
                if armed.struck < armed.times and armed.match(seen.method, seen.path):
                    armed.struck += 1
                    return armed.fault
        return None
