"""A command of the user's that says whether a version may be: run only where this machine's user trusts its text.

The text comes from the bucket, and so perhaps from an enemy. It is run by sh(1) in an empty folder, with one line of
JSON for each path that changed on its standard input, and in its environment PENSTOCK_CHECK_VERSION, a handle of what
is to be, and PENSTOCK_CHECK_BASE, one of what has passed, or empty. What it writes is what is told when it ends with
anything but 0.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile

from penstock.errors import ProtectedError
from penstock.manifest.entry import display_path
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.settings.trust import allowed_commands
from penstock.repo.validation.problem import Problem

from .proposed_version import ProposedVersion

__all__ = ["check_command", "command_mark"]

_SECONDS = 600.0
_MOST_TOLD = 64 << 10
_LINES = 50


def command_mark(text: str) -> str:
    """Return what the record of trusted commands has of one."""
    return content_hash(text.encode("utf-8", "surrogateescape")).hex()


def check_command(text: str, version: ProposedVersion) -> list[Problem]:
    """Run a command; return what it says against the version. ProtectedError: it is not trusted here."""
    if command_mark(text) not in allowed_commands():
        raise ProtectedError(
            f"branch {version.branch!r} of {version.repository.dataset!r} is protected by a command",
            why=f"on this machine nobody has said that it may be run: {text[:200]}",
            fix=f"If you know what it does: penstock protect {version.repository.handle}:{version.branch} --trust",
        )
    repository, top = version.repository, version.manifest.top_hash.hex()
    # All of it is there; so that the command can open it, it gets a name that no ref leads to.
    key = object_keys.manifest_key(repository.dataset, top)
    version.access.create(repository.store, key, version.manifest.encode(), contested=False)
    base = f"{repository.handle}:{version.base.top_hash.hex()}" if version.base is not None else ""
    environment = {
        **os.environ,
        "PENSTOCK_CHECK_VERSION": f"{repository.handle}:{top}",
        "PENSTOCK_CHECK_BASE": base,
    }
    with tempfile.TemporaryDirectory(prefix="penstock-check-") as folder, tempfile.TemporaryFile() as changes:
        for change in version.changes():
            entry = change.new or change.old
            assert entry is not None
            what = "added" if change.old is None else "deleted" if change.new is None else "modified"
            row = {"path": display_path(change.path), "change": what, "size": entry.size, "hash": entry.shown_hash}
            changes.write(json.dumps(row).encode() + b"\n")
        changes.seek(0)
        with tempfile.TemporaryFile() as told:
            process = subprocess.Popen(
                ["/bin/sh", "-c", text],
                stdin=changes,
                stdout=told,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            told.seek(0)
            lines = told.read(_MOST_TOLD).decode("utf-8", "replace").splitlines()[:_LINES]
    if code == 0:
        return []
    ended = f"it ended with {code}" if code is not None else f"it was not done after {_SECONDS:.0f} seconds"
    return [Problem("", "command", f"{text[:100]}: {ended}"), *(Problem("", "command", line) for line in lines if line)]
