"""The overlay's answer to a call that cannot be done: an OSError that is meant for whoever made the call.

Any other OSError is about the overlay's own files, and none of the caller's business but for a full disk.
"""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(OSError):  # noqa: N818  # an answer, not a failure
    """`errno` is what the system call ends with."""
