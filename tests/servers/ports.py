"""Loopback ports that nobody else is handed while a server has yet to listen on them, or has stopped listening.

A socket that is bound and does not listen keeps its port from being given out again, refuses connections, and, where
both sides set SO_REUSEADDR (Ceph, its gateway and asyncio all do), lets a server bind and listen over it.
"""

from __future__ import annotations

import socket

__all__ = ["LOOPBACK", "reserve_port"]

LOOPBACK = "127.0.0.1"


def reserve_port() -> socket.socket:
    """Return a socket bound to a free port of loopback; its holder closes it when the port is no longer needed."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((LOOPBACK, 0))
    return held
