"""The control socket of a mount: one line of JSON asks, one line of JSON answers, and the connection ends.

It lies beside the state file of the mount (`registry`); who connects must be its owner or root all the same.
`control_client` is the other end. A request is ``{"command": NAME, ...}``; the answer ``{"answer": ...}`` or
``{"error": {"kind", "what", "why", "fix", "candidates"}}``.

**Invariant:** no client can harm the mount: requests are bounded in size, number and time, and what goes wrong with
one is its own affair. Used by `serve`, on the event loop.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import trio

from penstock.errors import AccessError, PenstockError, UsageError
from penstock.mountpoint.error_form import failure_json

__all__ = ["ControlArguments", "ControlCommand", "ControlSocket"]

_log = logging.getLogger(__name__)

_MOST_REQUEST = 1 << 20
_DEADLINE = 6.0
"""Seconds for one client, from its connecting to its last byte."""
_CLIENTS = 16
_CREDENTIALS = struct.Struct("3i")

ControlArguments = Mapping[str, object]
ControlCommand = Callable[[ControlArguments], Awaitable[object]]
"""Takes what a request says besides its command; returns what JSON can hold."""


class ControlSocket:
    """Answers at `path` what `commands` has. Listens from construction on; `registry` removes it."""

    def __init__(self, path: str, commands: Mapping[str, ControlCommand]) -> None:
        """Listen. OSError when that cannot be."""
        self.path = path
        self._commands = commands
        self._clients = trio.CapacityLimiter(_CLIENTS)
        with suppress(FileNotFoundError):
            os.unlink(path)  # of a process with the same id, before
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The path itself may be longer than the 107 bytes that a socket's address holds.
            listening.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            os.chmod(path, 0o600)
            listening.listen(_CLIENTS)
        except OSError:
            listening.close()
            raise
        finally:
            os.close(directory)
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))

    async def serve(self) -> None:
        """Answer until cancelled."""
        await trio.serve_listeners(self._attend, [self._listener])

    async def _attend(self, client: trio.SocketStream) -> None:
        """See to one client, and swallow whatever becomes of the connection."""
        with trio.move_on_after(_DEADLINE), suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with client, self._clients:
                answer = await self._answer(client)
                await client.send_all(json.dumps(answer).encode("ascii") + b"\n")

    async def _answer(self, client: trio.SocketStream) -> dict[str, object]:
        try:
            _check_peer(client)
            request = await _receive(client)
            name = request.pop("command", None)
            command = self._commands.get(name) if isinstance(name, str) else None
            if command is None:
                raise UsageError(
                    f"this mount knows no command {name!r}",
                    why="it may have been made by another version of Penstock",
                    fix=f"It knows {', '.join(sorted(self._commands))}.",
                )
            return {"answer": await command(request)}
        except PenstockError as error:
            return _failure(error)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001  # one question fails, the mount lives on
            _log.error("a question on the control socket failed", exc_info=error)
            return _failure(PenstockError("a fault in Penstock", why=f"{type(error).__name__}: {error}"))


def _failure(error: PenstockError) -> dict[str, object]:
    return {"error": failure_json(error)}


def _check_peer(client: trio.SocketStream) -> None:
    found = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(found)
    if uid not in (0, os.geteuid()):
        raise AccessError("this mount is another user's", why=f"it belongs to uid {os.geteuid()}, and you are {uid}")


async def _receive(client: trio.SocketStream) -> dict[str, object]:
    """Return the request. UsageError: it is too long, or none."""
    body = bytearray()
    while b"\n" not in body:
        part = await client.receive_some(65536)
        if not part:
            break
        body += part
        if len(body) > _MOST_REQUEST:
            raise UsageError("the request is too long", why=f"the most is {_MOST_REQUEST} bytes")
    try:
        request = json.loads(bytes(body).partition(b"\n")[0])
    except (ValueError, RecursionError) as error:
        raise UsageError("the request is no JSON", why=str(error)) from error
    if not isinstance(request, dict):
        raise UsageError("the request is no JSON object")
    return request
