"""What `FsspecStore` asks of a server, and what it is told: coroutines, one class a kind of server.

A `RemoteFiles` is one connection of one process, made by blocking; its coroutines run in the event loop of its library
(`loop`), any number at a time. Paths are absolute there, and good: whoever calls has checked the keys they are made of.
FileNotFoundError and FileExistsError are answers; all else that may go wrong is among `errors`, and `explain` sorts it.

**Invariant:** a reader never sees half of what `write` and `copy` write, and of any number of `write(new=True)` of one
path exactly one ends without FileExistsError. A server that cannot give that is told by UsageError.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from penstock.errors import PenstockError
from penstock.store.base import Buffer
from penstock.store.options import StoreOptions

__all__ = ["RemoteFacts", "RemoteFiles", "RemoteLevel"]


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What is said of a file without reading it. `etag` is None, or changes with the content unless it `is_weak`."""

    size: int
    modified: float | None
    etag: str | None
    is_weak: bool = False


class RemoteLevel(NamedTuple):
    """What lies directly below a folder: names, in no order."""

    folders: list[str]
    files: list[tuple[str, RemoteFacts]]


class RemoteFiles(ABC):
    """Files of a server, by path."""

    errors: ClassVar[tuple[type[Exception], ...]]
    has_empty_folders: ClassVar[bool] = False
    """Whether a folder may be there without anything in it."""
    reserved: ClassVar[str | None] = None
    """A name at the top of a store that no key has."""
    refused: ClassVar[str] = ""
    """A character that no key may have, for the server takes it for another."""
    loop: asyncio.AbstractEventLoop

    @classmethod
    @abstractmethod
    def connect(cls, url: str, options: StoreOptions) -> Self:
        """Make a connection for the store at an address. AccessError, StoreUnreachableError."""

    @property
    def is_lost(self) -> bool:
        """Whether another connection has to be made."""
        return False

    @abstractmethod
    async def read(self, path: str, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; none when it lies at or past the end."""

    @abstractmethod
    async def look(self, path: str) -> RemoteFacts | None:
        """Return what is known of a file; None: there is none."""

    @abstractmethod
    async def write(self, path: str, body: Buffer, *, new: bool) -> None:
        """Write a file whole; with `new`, only if there is none: FileExistsError."""

    @abstractmethod
    async def write_file(self, path: str, descriptor: int, size: int) -> None:
        """Write a file from an open one of this machine, `size` bytes, without holding them all."""

    @abstractmethod
    async def level(self, path: str) -> RemoteLevel:
        """Return what lies directly below a folder; nothing, where there is none."""

    @abstractmethod
    async def delete(self, path: str) -> None:
        """Remove a file, and folders that it leaves empty; one that is gone is no error."""

    @abstractmethod
    async def copy(self, source: str, path: str) -> None:
        """Write a file as another one of the same server is."""

    @abstractmethod
    def explain(self, error: Exception, what: str) -> PenstockError | None:
        """Return what an error means; None: it may go better the next time."""

    def close(self) -> None:  # noqa: B027 - most let go of their connections by themselves
        """Let go of the connection."""
