"""The key of this user: what tells state that he made on this machine from state that came with somebody's data.

A state that is kept in a directory of the user's names files that are sent, or says what need not be read again. One
that came with a cloned repository or an unpacked archive must not pass for his own: its checksum has this key, which
is kept where no data set leads to.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

from penstock.errors import AccessError

from .user_folders import make_user_folder

__all__ = ["user_key"]

_KEY_SIZE = 32


def user_key() -> bytes:
    """Return the key, 32 bytes, made when it is first needed. AccessError: it cannot be, or is no key."""
    path = os.path.join(make_user_folder("state"), "package.key")
    try:
        if not os.path.lexists(path):
            temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
            with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
                stream.write(os.urandom(_KEY_SIZE))
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
            os.unlink(temporary)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            key = stream.read(_KEY_SIZE + 1)
    except OSError as error:
        raise AccessError(
            "the key of this user's own state cannot be kept",
            why=error.strerror or str(error),
            fix="Set XDG_STATE_HOME to a directory of yours.",
        ) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or len(key) != _KEY_SIZE:
        raise AccessError(f"{path} is not used", why="it is no key of yours", fix="Remove it.")
    return key
