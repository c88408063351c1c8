"""What a workspace is beside its files: its commit in git, its container, its Python, for the version's environment.

**Invariants:** no secret is in it: no variable of the environment, no user or password of an address, and nothing that
follows one, is recorded. What is read of programs is bounded in bytes and in time, and what they cannot say is left out
and noted; a workspace that is in no repository, or in no container, is simply without.

`.git` stays out of such a version: the commit stands for it, and its settings may hold passwords.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

__all__ = ["LEFT_OUT", "WorkspaceRecord", "address_without_secrets", "record_workspace"]

LEFT_OUT = frozenset((b".git",))
"""Names that no version of a workspace has, at any depth."""

_READMES = ("readme.md", "readme", "readme.rst", "readme.txt")
_PATIENCE = 60.0
_MOST_ANSWER = 4 << 20
_MOST_TEXT = 2048
_MOST_PACKAGES = 128 << 10
"""Bytes of the list of packages: 4,000 of them. A commit's record is read whole, and has 1 MiB at the most."""
_LIST_PACKAGES = """
import json, platform
from importlib.metadata import distributions
found = {(str(each.metadata["Name"]), str(each.version)) for each in distributions()}
print(json.dumps({"python": platform.python_version(), "packages": sorted(found)}))
"""


class _Installed(msgspec.Struct):
    python: str
    packages: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """`environment`: what to record, text by name. `notes`: what its owner should know."""

    environment: dict[str, str]
    notes: tuple[str, ...]


def record_workspace(directory: str, environ: Mapping[str, str] | None = None) -> WorkspaceRecord:
    """Look at a directory and what surrounds it; `environ` stands for `os.environ`."""
    environ = os.environ if environ is None else environ
    notes: list[str] = []
    found = {**_git(directory, notes.append), **_container(environ, notes.append), **_python(environ, notes.append)}
    if not _has_readme(directory):
        notes.append("there is no README at the top: say in one what this is")
    return WorkspaceRecord({name: value for name, value in found.items() if value}, tuple(notes))


def address_without_secrets(address: str) -> str:
    """Return a git remote's address without user, password, query and fragment; empty where it cannot be told apart."""
    address = _printable(address)
    if "://" in address:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return ""
        if parts.scheme not in ("http", "https", "ssh", "git", "ftp", "ftps", "file"):
            return ""
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
    if "::" in address:  # for a program that may be told anything
        return ""
    host, colon, path = address.partition(":")
    if colon and "/" not in host:  # user@host:path; its user is a name to log in with, and has no password
        return f"{host.rpartition('@')[2]}:{path}"
    return address


def _git(directory: str, note: Callable[[str], None]) -> dict[str, str]:
    # Nothing is to be run on the word of the repository's settings, nor written.
    command = ("git", "-c", "core.fsmonitor=false", "-C", directory)
    surroundings = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def ask(*arguments: str) -> str | None:
        answer = _answer((*command, *arguments), surroundings)
        return None if answer is None else answer.strip()

    if ask("rev-parse", "--is-inside-work-tree") != "true":
        place = Path(directory).absolute()
        if any((each / ".git").exists() for each in (place, *place.parents)):
            note("git does not say in which commit this is: `git status` says why")
        return {}
    branch = ask("symbolic-ref", "--short", "--quiet", "HEAD") or ""
    changed = ask("status", "--porcelain", "--untracked-files=normal")
    remote = ask("config", "--get", f"branch.{branch}.remote") if branch else None
    address = ask("remote", "get-url", remote or "origin")
    return {
        "git_commit": ask("rev-parse", "--verify", "--quiet", "HEAD") or "",
        "git_branch": _printable(branch),
        "git_dirty": "unknown" if changed is None else "yes" if changed else "no",
        "git_remote": address_without_secrets(address) if address else "",
    }


def _container(environ: Mapping[str, str], note: Callable[[str], None]) -> dict[str, str]:
    """Name the image of the container that this runs in. Podman and Apptainer tell; for others the user does."""
    for name in ("PENSTOCK_CONTAINER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if environ.get(name):
            return {"container_image": _printable(environ[name])}
    try:
        told = Path("/run/.containerenv").read_text(errors="replace")[:_MOST_ANSWER]
    except OSError:
        told = ""
    named = dict(re.findall(r'^(image|imageid)="([^"\n]*)"$', told, re.MULTILINE))
    if named:
        return {"container_image": _printable(" ".join(named[name] for name in sorted(named)))}
    if told or os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        note("nothing here says which image this container is of: set PENSTOCK_CONTAINER_IMAGE to its name and digest")
    return {}


def _python(environ: Mapping[str, str], note: Callable[[str], None]) -> dict[str, str]:
    """List what is installed for the Python of the workspace: that of its virtual environment, else this one."""
    prefix = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    program = os.path.join(prefix, "bin", "python") if prefix else sys.executable
    # At the root, since what lies in the workspace may be called as a module is.
    answer = _answer((program, "-c", _LIST_PACKAGES), None, "/")
    try:
        found = msgspec.json.decode(answer or "", type=_Installed)
    except msgspec.DecodeError:
        note(f"{program} does not say what is installed for it, which is not recorded")
        return {}
    lines: list[str] = []
    size = 0
    for at, (name, version) in enumerate(found.packages):
        line = _printable(f"{name}=={version}")
        size += len(line.encode()) + 1
        if size > _MOST_PACKAGES:
            lines.append(f"and {len(found.packages) - at} more")
            break
        lines.append(line)
    return {"python": _printable(found.python), "packages": "\n".join(lines)}


def _answer(command: tuple[str, ...], environ: Mapping[str, str] | None, place: str | None = None) -> str | None:
    """Return what a program prints; None: it failed, printed too much, or took too long."""
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ, cwd=place
        ) as running:
            timer = threading.Timer(_PATIENCE, running.kill)
            timer.start()
            try:
                assert running.stdout is not None  # it is a pipe
                said = running.stdout.read(_MOST_ANSWER + 1)
                if len(said) > _MOST_ANSWER:
                    running.kill()
            finally:
                timer.cancel()
    except OSError:  # there is no such program
        return None
    return said.decode("utf-8", "replace") if running.returncode == 0 and len(said) <= _MOST_ANSWER else None


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:_MOST_TEXT])


def _has_readme(directory: str) -> bool:
    try:
        with os.scandir(directory) as found:
            return any(each.name.lower() in _READMES and each.is_file() for each in found)
    except OSError:  # the push says what is wrong with it
        return True
