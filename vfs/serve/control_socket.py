"""The control socket of a mount: one line asks, one line answers (`control_messages`), and the connection ends.

It lies beside the state file of the mount (`registry`); who connects must be its owner or root all the same.
`control_client` is the other end.

**Invariant:** no client can harm the mount: requests are bounded in size, number and time, and what goes wrong with
one is its own affair. Runs on the event loop.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import trio

from penstock import __version__
from penstock.error_form import to_form
from penstock.errors import AccessError, PenstockError, UsageError
from penstock.mountpoint.control_messages import PROTOCOL, Answer, Envelope, Question, Request, RequestRefusal
from penstock.wire import NoMessageError, checked, encode_message, parse

__all__ = ["ControlCommand", "ControlSocket"]

_log = logging.getLogger(__name__)

_MOST_REQUEST = 1 << 20
_DEADLINE = 6.0
"""Seconds for one client, from its connecting to its last byte."""
_CLIENTS = 16
_CREDENTIALS = struct.Struct("3i")

ControlCommand = Callable[[Any, int], Awaitable[msgspec.Struct]]
"""Takes a request and the process id of who asks, 0 when that is not known; returns what it is answered with."""


class ControlSocket:
    """Answers at `path` what `commands` has, by classes of requests. Listens at once; `registry` removes it."""

    def __init__(self, path: str, commands: Mapping[type[msgspec.Struct], ControlCommand]) -> None:
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
                await client.send_all(encode_message(answer))

    async def _answer(self, client: trio.SocketStream) -> Answer | RequestRefusal:
        try:
            pid = _check_peer(client)
            request = _request(await _receive(client))
            command = self._commands.get(type(request))
            if command is None:
                raise UsageError(
                    "this mount cannot do that",
                    why="it is read-only, and nothing can have been changed in it",
                    fix="penstock mount --writable mounts so that it can be changed.",
                )
            return Answer(msgspec.to_builtins(await command(request, pid)))
        except PenstockError as error:
            return RequestRefusal(to_form(error))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001  # one question fails, the mount lives on
            _log.error("a question on the control socket failed", exc_info=error)
            return RequestRefusal(to_form(PenstockError("a fault in Penstock", why=f"{type(error).__name__}: {error}")))


def _check_peer(client: trio.SocketStream) -> int:
    """Return the id of the process that asks, 0 where it is not one that can be seen from here."""
    found = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    if uid not in (0, os.geteuid()):
        raise AccessError("this mount is another user's", why=f"it belongs to uid {os.geteuid()}, and you are {uid}")
    return int(pid)


async def _receive(client: trio.SocketStream) -> bytes:
    """Return the line that was sent. UsageError: it is too long."""
    body = bytearray()
    while b"\n" not in body:
        part = await client.receive_some(65536)
        if not part:
            break
        body += part
        if len(body) > _MOST_REQUEST:
            raise UsageError("the request is too long", why=f"the most is {_MOST_REQUEST} bytes")
    return bytes(body).partition(b"\n")[0]


def _request(body: bytes) -> Request:
    """Return what is asked. UsageError: it is no question, or one of another version of Penstock."""
    try:
        value = parse(body)
        envelope: Envelope = checked(value, Envelope)
        if envelope.protocol != PROTOCOL:
            theirs = f"Penstock {envelope.version}" if envelope.version else "an older Penstock"
            raise UsageError(
                "this mount was made by another version of Penstock",
                why=f"it is of {__version__}, protocol {PROTOCOL}; you are {theirs}, protocol {envelope.protocol}",
                fix="Unmount it, and mount it again: what was changed in it is kept.",
            )
        question: Question = checked(value, Question)
    except NoMessageError as error:
        raise UsageError("the request is no question to a mount", why=str(error)) from error
    return question.request
