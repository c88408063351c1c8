"""A proxy that makes a server on loopback as far away as an object store: first byte late, each connection paced.

The first byte of an answer is held until `delay` +- `jitter` after the last byte of its request; every connection
carries at most so many bytes a second each way (SO_MAX_PACING_RATE, which the kernel keeps for TCP by itself). It
counts what passes, so that a benchmark can tell requests and bytes. It runs in a process of its own, so that a client
under measurement shares no interpreter with it.

    python tests/servers/latency.py --upstream 127.0.0.1:9000 --delay-ms 25 --jitter-ms 5 --megabytes-per-second 100

prints its port and, on the next line, its control port: GET there answers the counts as JSON, POST answers them and
begins anew. From Python, `LatencyProxy` does the same. Run by `scripts/bench` and its own tests; imports nothing of
this folder, because it is a program too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import urllib.request
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

__all__ = ["Counts", "LatencyProxy", "MethodCounts"]

_LOOPBACK = "127.0.0.1"
_SO_MAX_PACING_RATE = 47  # <asm-generic/socket.h>; Python has no name for it
_CHUNK = 256 << 10
_PATHS_KEPT = 200_000
_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"PATCH"})


@dataclass(slots=True)
class MethodCounts:
    """What one method has cost; bytes as on the wire, heads included."""

    requests: int = 0
    bytes_to_store: int = 0
    bytes_to_client: int = 0


@dataclass(slots=True)
class Counts:
    """What has passed since the start or the last reset; `paths` holds the latest requests as (method, path)."""

    connections: int = 0
    methods: dict[str, MethodCounts] = field(default_factory=dict)
    paths: list[tuple[str, str]] = field(default_factory=list)

    def requests(self, *methods: str) -> int:
        """Return the number of requests of these methods, of all when none is named."""
        return sum(count.requests for name, count in self.methods.items() if not methods or name in methods)

    @property
    def bytes_to_store(self) -> int:
        """Bytes that went to the store."""
        return sum(count.bytes_to_store for count in self.methods.values())

    @property
    def bytes_to_client(self) -> int:
        """Bytes that came from the store."""
        return sum(count.bytes_to_client for count in self.methods.values())


class LatencyProxy:
    """The proxy in a process of its own, from construction to `close`; it ends with this process too."""

    def __init__(
        self,
        upstream: str,
        *,
        delay_ms: float = 25,
        jitter_ms: float = 5,
        megabytes_per_second: float = 100,
    ) -> None:
        arguments = {
            "--upstream": upstream.removeprefix("http://"),
            "--delay-ms": str(delay_ms),
            "--jitter-ms": str(jitter_ms),
            "--megabytes-per-second": str(megabytes_per_second),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--end-with-stdin", *(word for pair in arguments.items() for word in pair)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline(), self._process.stdout.readline()]
        if not all(lines):
            self.close()
            raise RuntimeError("the latency proxy did not start; its message is on stderr")
        self.port, self._control_port = map(int, lines)
        self.endpoint = f"http://{_LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def counts(self) -> Counts:
        """Return what has passed since the start or the last reset."""
        return self._ask("GET")

    def reset(self) -> Counts:
        """Return the same, and count from nothing again."""
        return self._ask("POST")

    def close(self) -> None:
        """End the process. Calling it again does nothing."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, method: str) -> Counts:
        request = urllib.request.Request(f"http://{_LOOPBACK}:{self._control_port}/", method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=30) as answer:
            value = json.load(answer)
        return Counts(
            connections=value["connections"],
            methods={name: MethodCounts(**count) for name, count in value["methods"].items()},
            paths=[(method, path) for method, path in value["paths"]],
        )


class _Proxy:
    """The sockets and the counting; lives in the program's one event loop."""

    def __init__(self, upstream: tuple[str, int], delay: float, jitter: float, bytes_per_second: int) -> None:
        self._upstream = upstream
        self._delay, self._jitter, self._rate = delay, jitter, bytes_per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        self._connections = 0
        self._methods: defaultdict[str, MethodCounts] = defaultdict(MethodCounts)
        self._paths: deque[tuple[str, str]] = deque(maxlen=_PATHS_KEPT)

    def report(self) -> bytes:
        return json.dumps(asdict(Counts(self._connections, dict(self._methods), list(self._paths)))).encode()

    async def accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listening)
            task = loop.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client, socket.socket() as store:
            for side in (client, store):
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._rate:
                    side.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self._rate)
                    # Else megabytes wait in the kernel, and the delay of the answer passes while they drain.
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
            with suppress(OSError):
                await loop.sock_connect(store, self._upstream)
                self._connections += 1
                exchange = _Exchange(client, store)
                await asyncio.gather(self._pass_requests(exchange), self._pass_answers(exchange))

    async def _pass_requests(self, exchange: _Exchange) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while size := await _receive(exchange.client, buffer):
            # No client of ours pipelines, so the first bytes after an answer has begun are the head of a request.
            if exchange.answered and (method := bytes(view[:8]).split(b" ", 1)[0]) in _METHODS:
                exchange.answered = False
                exchange.method = method.decode()
                line = bytes(view[: min(size, 8192)]).split(b"\r\n", 1)[0]
                self._paths.append((exchange.method, line.decode("latin-1").split(" ")[1]))
                self._methods[exchange.method].requests += 1
            self._methods[exchange.method].bytes_to_store += size
            exchange.due = loop.time() + self._delay + random.uniform(-self._jitter, self._jitter)
            exchange.held = True
            await loop.sock_sendall(exchange.store, view[:size])
        with suppress(OSError):
            exchange.store.shutdown(socket.SHUT_WR)

    async def _pass_answers(self, exchange: _Exchange) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while size := await _receive(exchange.store, buffer):
            self._methods[exchange.method].bytes_to_client += size
            if exchange.held and bytes(view[:12]) != b"HTTP/1.1 100":
                exchange.held = False
                exchange.answered = True
                await asyncio.sleep(max(0.0, exchange.due - loop.time()))
            await loop.sock_sendall(exchange.client, view[:size])
        with suppress(OSError):
            exchange.client.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class _Exchange:
    """A connection's two sockets, and where it stands: an answer is `held` until loop time `due`."""

    client: socket.socket
    store: socket.socket
    method: str = ""
    due: float = 0.0
    held: bool = False
    answered: bool = True


async def _receive(source: socket.socket, buffer: bytearray) -> int:
    """Read what there is; 0 at the end of the stream, in order or not."""
    try:
        return await asyncio.get_running_loop().sock_recv_into(source, buffer)
    except ConnectionError:
        return 0


async def _control(proxy: _Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    body = proxy.report()
    if head.startswith(b"POST "):
        proxy.reset()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def _main(options: argparse.Namespace) -> None:
    host, _, port = options.upstream.rpartition(":")
    proxy = _Proxy(
        (host, int(port)),
        options.delay_ms / 1e3,
        options.jitter_ms / 1e3,
        int(options.megabytes_per_second * 1e6),
    )
    listening = socket.create_server((_LOOPBACK, options.port), backlog=1024)
    listening.setblocking(False)
    control = await asyncio.start_server(lambda r, w: _control(proxy, r, w), _LOOPBACK, 0)
    print(listening.getsockname()[1], control.sockets[0].getsockname()[1], sep="\n", flush=True)
    accepting = asyncio.ensure_future(proxy.accept(listening))
    if options.end_with_stdin:
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 1) else accepting.cancel())
    with suppress(asyncio.CancelledError):
        await accepting


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Delay and pace an HTTP server on loopback.")
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="listen here; default: any free port")
    parser.add_argument("--delay-ms", type=float, default=25)
    parser.add_argument("--jitter-ms", type=float, default=5)
    parser.add_argument("--megabytes-per-second", type=float, default=100, help="each connection; 0: no limit")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does")
    asyncio.run(_main(parser.parse_args()))
