"""The faults that a `FaultProxy` can be told to commit, as values.

Offsets and lengths count bytes of the body as the application sees it, without HTTP's own framing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "Answer",
    "Endless",
    "Fault",
    "FlipByte",
    "FlipRequestByte",
    "Reset",
    "Rewrite",
    "Stall",
    "Status",
    "Trickle",
    "TrickleHead",
    "Truncate",
]

_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and body; the server never sees the request."""

    code: int = 503
    body: bytes = _SLOW_DOWN
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST).

    At once, before the server sees anything of the request; or, with `after_forward`, when the server has done its
    work and answered: the lost answer.
    """

    after_forward: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """The server does its work; its answer is held for `seconds`.

    From the first byte on, or, with `after_bytes`, when head and so many bytes of the body have gone out.
    """

    seconds: float
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Send the head unchanged and the first `n_bytes` of the body, then close the connection in order (FIN)."""

    n_bytes: int


@dataclass(frozen=True, slots=True)
class FlipByte:
    """Invert every bit of the byte at `offset` of the answer's body; a shorter body passes unchanged."""

    offset: int


@dataclass(frozen=True, slots=True)
class FlipRequestByte:
    """Invert every bit of the byte at `offset` of the request's body; a shorter body passes unchanged."""

    offset: int


@dataclass(frozen=True, slots=True)
class Trickle:
    """Send the answer's body at this rate; the head goes out at once."""

    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class TrickleHead:
    """Send the answer's head at this rate, then the body."""

    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Endless:
    """Answer with this status and a chunked body that ends when the client goes away; the server sees nothing."""

    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Answer:
    """An answer that is being rewritten: header fields by lower-case name. Its length is told by the proxy.

    Unless ``transfer-encoding`` is among the fields: then the body goes out in one chunk.
    """

    status: int
    fields: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The server does its work; `change` makes another answer of its own, in place."""

    change: Callable[[Answer], None]


Fault = Status | Reset | Stall | Truncate | FlipByte | FlipRequestByte | Trickle | TrickleHead | Endless | Rewrite
