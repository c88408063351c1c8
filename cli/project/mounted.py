"""``penstock checkout --mount``: a tracked directory as a lazy, writable mount."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.invocation import Invocation
from penstock.project.lazy_mount import add_mounted, mount_path
from penstock.project.pointer import pointer_path
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import Project

__all__ = ["check_out_mounted", "take_in"]


def check_out_mounted(invocation: Invocation, project: Project, paths: Sequence[str]) -> None:
    """Mount tracked directories where they belong."""
    settings = invocation.settings()
    for path, pointer in pointers(project, tracked_paths(project, paths)).items():
        info = mount_path(project, path, pointer, settings)
        if invocation.output.json:
            invocation.output.record({"path": path, "handle": info.handle, "mountpoint": info.mountpoint})
        else:
            invocation.output.line(f"{path}: mounted; what is changed in it is taken in by penstock add {path}")


def take_in(invocation: Invocation, project: Project, path: str) -> list[str]:
    """Take in what was changed in a mounted directory; return the files that git is to be given."""
    with invocation.progress() as progress:
        before, after, changed = add_mounted(project, path, invocation.settings(), progress)
    files = [pointer_path(path)] if after.top != before.top else []
    if invocation.output.json:
        invocation.output.record(
            {
                "path": path,
                "top_hash": after.top.hex(),
                "entries": after.entries,
                "bytes": after.bytes,
                "changed": changed,
                "added": None,
                "modified": None,
                "removed": None,
                "bytes_read": None,
                "files": files,
            }
        )
    else:
        what = f"{changed} change{'' if changed == 1 else 's'}" if changed else "nothing changed"
        invocation.output.line(f"{path}: {what}")
    return files
