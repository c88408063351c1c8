"""Who made a version, and with what: what a commit records of its making."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
from collections.abc import Mapping

import penstock

__all__ = ["default_author", "environment"]


def default_author(environ: Mapping[str, str] | None = None) -> str:
    """Return ``Name <mail>`` from PENSTOCK_AUTHOR, else as git has it, else ``user@host``."""
    environ = os.environ if environ is None else environ
    if environ.get("PENSTOCK_AUTHOR"):
        return environ["PENSTOCK_AUTHOR"]
    name = environ.get("GIT_AUTHOR_NAME") or _git("user.name")
    mail = environ.get("GIT_AUTHOR_EMAIL") or _git("user.email")
    if name:
        return f"{name} <{mail}>" if mail else name
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _git(key: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "config", "--get", key], capture_output=True, text=True, timeout=5, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def environment(command: str) -> dict[str, str]:
    """Return what made a version: versions of Penstock, Python and the system."""
    return {
        "command": command,
        "penstock": penstock.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
