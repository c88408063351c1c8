"""``penstock import``, ``update``, ``get``, and ``list`` of a repository: data of another repository's project."""

from __future__ import annotations

import os

import click

from penstock.api.handles import format_size
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import NotFoundError
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import Project, find_project
from penstock.project.sources.imports import Updated, import_path, list_source, open_source_path, update_path

from .tracked import check_out_paths, project_paths

__all__ = ["get", "import_", "list_project", "update"]

_REV = click.option("--rev", metavar="REV", help="Branch, tag or commit (default: the repository's HEAD).")
_NO_CHECKOUT = click.option("--no-checkout", is_flag=True, help="Only write the pointer, and copy no data.")


@click.command(
    "import",
    cls=Command,
    examples=(
        "penstock import https://git.example/registry raw/01 -o data/inputs",
        "penstock import https://git.example/registry raw/01/train -o data --name train --rev v1 --no-checkout",
    ),
)
@click.argument("url")
@click.argument("path")
@click.option("-o", "--out", metavar="DIR", default=".", help="Folder to put it in, created if needed (default: here).")
@click.option("--name", metavar="NAME", help="Name in that folder (default: as in PATH).")
@_REV
@_NO_CHECKOUT
@pass_invocation
def import_(
    invocation: Invocation, url: str, path: str, out: str, name: str | None, rev: str | None, no_checkout: bool
) -> None:
    """Track data here that the project in the git repository URL tracks at PATH.

    This writes a pointer with the address, revision and version. The data stays in that project's remote and is checked
    out from there; the repository's history is not cloned. `penstock update` follows its branch.
    """
    project, settings = find_project(), invocation.settings()
    target = os.path.join(out, name or os.path.basename(path.rstrip("/")))
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    (inside,) = project_paths(project, [target])
    with invocation.progress() as progress:
        done = import_path(project, url, path, inside, settings, progress, rev=rev)
    _tell(invocation, done)
    if done.files and not invocation.output.json and project.git is not None:
        invocation.output.notice("to track the changes with git: git add " + " ".join(done.files))
    if not no_checkout:
        check_out_paths(invocation, project, [target], told=False)


@click.command(cls=Command, examples=("penstock update", "penstock update data/inputs/01 --rev v2"))
@click.argument("paths", nargs=-1)
@_REV
@_NO_CHECKOUT
@pass_invocation
def update(invocation: Invocation, paths: tuple[str, ...], rev: str | None, no_checkout: bool) -> None:
    """Update all imports, or the given paths, to the newest revision of their branches."""
    project, settings = find_project(), invocation.settings()
    found = pointers(project, tracked_paths(project, project_paths(project, paths)))
    wanted = [path for path, pointer in found.items() if paths or pointer.imported is not None]
    moved: list[str] = []
    for path in wanted:
        with invocation.progress() as progress:
            done = update_path(project, path, settings, progress, rev=rev)
        _tell(invocation, done)
        if done.changed:
            moved.append(os.path.join(project.root, path))
    if moved and not no_checkout:
        check_out_paths(invocation, project, moved, told=False)
    if not wanted:
        invocation.output.notice("nothing here was imported: penstock import URL PATH")


def _tell(invocation: Invocation, done: Updated) -> None:
    imported = done.pointer.imported
    assert imported is not None
    if invocation.output.json:
        invocation.output.record(
            {
                "path": done.path,
                "url": imported.url,
                "source": imported.path,
                "rev": imported.rev,
                "commit": imported.commit,
                "top_hash": done.pointer.top.hex(),
                "entries": done.pointer.entries,
                "bytes": done.pointer.bytes,
                "changed": done.changed,
            }
        )
        return
    size = f"{done.pointer.entries} entries, {format_size(done.pointer.bytes)}"
    what = f"at {imported.commit[:12]}: {size}" if done.changed else "is the newest already"
    invocation.output.line(f"{done.path} {what}")


def list_project(invocation: Invocation, url: str, rev: str | None) -> None:
    """List what the project in the git repository URL offers, without cloning it."""
    found = list_source(url, rev)
    if invocation.output.json:
        for each in found:
            invocation.output.record(
                {
                    "path": each.path,
                    "kind": each.kind,
                    "top_hash": each.top.hex(),
                    "entries": each.entries,
                    "bytes": each.bytes,
                }
            )
        return
    rows = ((each.path, str(each.entries), format_size(each.bytes), each.top.hex()[:12]) for each in found)
    invocation.output.table(rows, headers=("PATH", "ENTRIES", "BYTES", "VERSION"), right=(1, 2))


@click.command(
    cls=Command,
    examples=(
        "penstock get https://git.example/registry raw/01 -o ./01",
        "penstock get ../registry raw/01/train --rev v1",
    ),
)
@click.argument("url")
@click.argument("path")
@click.option("-o", "--out", metavar="DIR", help="Directory for the files (default: the name of PATH).")
@_REV
@pass_invocation
def get(invocation: Invocation, url: str, path: str, out: str | None, rev: str | None) -> None:
    """Copy the data that the project in the git repository URL tracks at PATH, without tracking it here."""
    target = out or os.path.basename(path.rstrip("/"))
    package = open_source_path(url, path, invocation.settings(), rev=rev, project=_project())
    with package, invocation.progress() as progress:
        report = package.download(target, progress=progress)
    if invocation.output.json:
        invocation.output.document({"directory": report.directory, "files": report.files, "bytes": report.bytes})
    else:
        invocation.output.line(f"{report.files} files, {format_size(report.bytes)} in {report.directory}")


def _project() -> Project | None:
    try:
        return find_project()
    except NotFoundError:
        return None
