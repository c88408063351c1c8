"""Lines of text that two versions changed, joined by git's own merge (git-merge-file(1)), for `Dataset.merge`.

Text is what has up to 8 MiB without a NUL byte. Where the same lines were changed, git says so, and the conflict stays
one. Nothing is written but what git needs, in a temporary directory.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

from penstock.errors import UsageError

__all__ = ["joined_text"]

_MOST = 8 << 20
_SECONDS = 60.0


def joined_text(_: str, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """Return two texts joined; None: they are none, or both changed the same lines. UsageError: there is no git."""
    if any(len(body) > _MOST or b"\0" in body for body in (ours, base, theirs)):
        return None
    with tempfile.TemporaryDirectory(prefix="penstock-merge-") as folder:
        names = [os.path.join(folder, name) for name in ("ours", "base", "theirs")]
        for name, body in zip(names, (ours, base, theirs), strict=True):
            with open(name, "wb") as stream:
                stream.write(body)
        command = ["git", "merge-file", "-p", "-q", *names]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS, cwd=folder)
        except subprocess.TimeoutExpired:
            return None
        except FileNotFoundError as error:
            raise UsageError(
                "text cannot be merged", why="there is no git, whose merge-file does it", fix="Install git."
            ) from error
    return done.stdout if done.returncode == 0 else None
