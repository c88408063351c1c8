"""``penstock checkout --mount``: a tracked directory as a lazy, writable mount."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.invocation import Invocation
from penstock.project.lazy_mount import mount_path
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import Project

__all__ = ["check_out_mounted"]


def check_out_mounted(invocation: Invocation, project: Project, paths: Sequence[str]) -> None:
    """Mount tracked directories where they belong."""
    settings = invocation.settings()
    for path, pointer in pointers(project, tracked_paths(project, paths)).items():
        info = mount_path(project, path, pointer, settings)
        if invocation.output.json:
            invocation.output.record({"path": path, "handle": info.handle, "mountpoint": info.mountpoint})
        else:
            invocation.output.line(f"{path}: mounted; what is changed in it is taken in by penstock add {path}")
