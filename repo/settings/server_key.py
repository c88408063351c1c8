"""The key that opens buckets behind a server: ``PENSTOCK_KEY``, or the first line of ``PENSTOCK_KEY_FILE``.

Never an argument of a command: those of all processes can be read by everybody on a machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from penstock.errors import AccessError, UsageError

__all__ = ["key_of_environment"]

_MOST = 1000


def key_of_environment(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the key; None: there is none. AccessError: its file cannot be read. UsageError: it can be no key."""
    environ = os.environ if environ is None else environ
    key = environ.get("PENSTOCK_KEY") or ""
    path = environ.get("PENSTOCK_KEY_FILE")
    if not key and path:
        try:
            with open(os.path.expanduser(path), "rb") as stream:
                key = stream.readline(_MOST + 1).decode("ascii", "replace").strip()
        except OSError as error:
            raise AccessError(f"the key in {path} cannot be read", why=error.strerror or str(error)) from error
    if not key:
        return None
    if len(key) > _MOST or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("what stands for a key is none", why="a key is one word", fix="Set PENSTOCK_KEY to it.")
    return key
