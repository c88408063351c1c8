"""Git as this package asks it: plumbing only, its output bounded, its answers in bytes. Blocking.

A repository's own configuration is its owner's. What a clone brings along (files) is never run by what is asked here.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from penstock.errors import AccessError, NotFoundError, UsageError

__all__ = ["GitError", "ask_git", "git_answer", "git_line", "git_succeeds"]

_PATIENCE = 60.0


class GitError(UsageError):
    """Git refused; `why` is what it said."""


def ask_git(
    directory: str,
    *arguments: str,
    given: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    patience: float = _PATIENCE,
) -> bytes:
    """Run ``git -C directory arguments`` and return its output.

    `GitError`: it ended with an error. NotFoundError: there is no git here. AccessError: it did not end in time.
    """
    done = _run(directory, arguments, given, environment, patience)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise GitError(f"git {arguments[0]} failed", why=said[-2000:] or f"exit code {done.returncode}")
    return done.stdout


def git_line(directory: str, *arguments: str) -> str:
    """Return the one line that git answers, without its end."""
    return os.fsdecode(ask_git(directory, *arguments)).removesuffix("\n")


def git_answer(directory: str, *arguments: str) -> str | None:
    """Return the one line that git answers; None: it ends with an error, its way to say that there is none."""
    done = _run(directory, arguments, None, None, _PATIENCE)
    return os.fsdecode(done.stdout).removesuffix("\n") if done.returncode == 0 else None


def git_succeeds(directory: str, *arguments: str) -> bool:
    """Whether git ends without an error: its way to say yes."""
    return _run(directory, arguments, None, None, _PATIENCE).returncode == 0


def _run(
    directory: str,
    arguments: Sequence[str],
    given: bytes | None,
    environment: Mapping[str, str] | None,
    patience: float,
) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(environment or {})}
    variables.pop("GIT_DIR", None)  # as hooks have them, of the repository that the hook belongs to
    variables.pop("GIT_WORK_TREE", None)
    variables.pop("GIT_PREFIX", None)
    try:
        return subprocess.run(
            ["git", "-C", directory, *arguments],
            input=given if given is not None else b"",
            capture_output=True,
            env=variables,
            timeout=patience,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotFoundError("there is no git on this machine", fix="Install git.") from error
    except subprocess.TimeoutExpired as error:
        raise AccessError(
            f"git {arguments[0]} did not end within {patience:.0f} seconds",
            fix="Try the same with git itself; a remote may not answer.",
        ) from error
