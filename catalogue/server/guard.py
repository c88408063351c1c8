"""What every request passes: a bound on its body, headers for browsers, a line of the log, counts for Prometheus.

The log is a line of JSON a request, on standard error: without the query, and with the route in place of the path,
because both may hold what opens something. Plain ASGI: no task and no queue for a request that streams.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["MOST_BODY", "Guard", "RequestMetrics"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MOST_BODY = 16 << 20
"""Bytes of one request. What is larger comes in pieces."""
_LET_PASS = 5.0
"""Seconds for which what is too large is read and thrown away."""

_log = logging.getLogger("penstock.catalogue.requests")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # without any, browsers send forms with the origin "null"
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY = (
    b"default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; object-src 'none'; "
    b"base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


class RequestMetrics:
    """What is counted of requests, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("penstock_http_requests", "Requests by route.", labels, registry=self.registry)
        self.seconds = Histogram(
            "penstock_http_seconds", "Seconds until the end of an answer.", ("route",), registry=self.registry
        )
        self.sent = Counter("penstock_http_sent_bytes", "Bytes of bodies sent.", registry=self.registry)
        self.open = Gauge("penstock_http_open_requests", "Requests that are being answered.", registry=self.registry)


class _TooLargeError(Exception):
    pass


async def _let_pass(receive: Receive, most: int) -> None:
    """Read what is left of a request, within bounds: a client that still sends when this closes hears no answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LET_PASS):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: App, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, sent, received = time.monotonic(), 500, 0, 0
        has_begun = False
        headers = dict(scope["headers"])

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BODY:
                raise _TooLargeError
            return message

        async def sending(message: Message) -> None:
            nonlocal status, sent, has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                status = message["status"]
                names = {name.lower() for name, _ in message["headers"]}
                added = [each for each in _HEADERS if each[0] not in names]
                if b"content-security-policy" not in names:
                    added.append((b"content-security-policy", _POLICY))
                message = {**message, "headers": [*message["headers"], *added]}
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.open.inc()
        try:
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or int(length) > MOST_BODY:
                raise _TooLargeError
            await self._app(scope, bounded, sending)
        except _TooLargeError:
            if has_begun:
                raise
            form = {"kind": "usage", "what": "the request is too large", "why": f"{MOST_BODY} bytes are the most"}
            body = json.dumps({"error": {**form, "fix": "Send files in pieces.", "candidates": []}}).encode()
            start = [(b"content-type", b"application/json"), (b"connection", b"close")]
            start.append((b"content-length", str(len(body)).encode()))
            await _let_pass(receive, 4 * MOST_BODY - received)
            await sending({"type": "http.response.start", "status": 413, "headers": start})
            await sending({"type": "http.response.body", "body": body})
        finally:
            self._metrics.open.dec()
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.monotonic() - begun
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            self._metrics.sent.inc(sent)
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "bytes": sent,
                "caller": scope.get("state", {}).get("caller", ""),
                "client": scope["client"][0] if scope.get("client") else "",
            }
            _log.info(json.dumps(line))
