"""Tell the service manager that started this process how it is: what systemd calls sd_notify(3). Nothing without one.

Protocol: lines of ``NAME=value`` in one datagram to the socket that NOTIFY_SOCKET names, a path or ``@abstract``.
"""

from __future__ import annotations

import logging
import os
import socket

__all__ = ["notify"]

_log = logging.getLogger(__name__)
_ONE_LINE = {ord("\n"): " "}


def notify(**state: str) -> None:
    """Send what has come to pass: ``notify(READY="1", STATUS="serving")``. A manager that is gone is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    body = "".join(f"{name}={value.translate(_ONE_LINE)}\n" for name, value in state.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto(os.fsencode(body), "\0" + address[1:] if address[0] == "@" else address)
    except OSError as error:
        _log.warning("the service manager cannot be told: %s", error)
