"""``penstock add``, ``status``, ``checkout`` of what a project tracks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import AccessError, IntegrityError
from penstock.project.pointer import SUFFIX, pointer_path
from penstock.project.project import Project, find_project

if TYPE_CHECKING:
    from penstock.cli.output import JsonValue
    from penstock.project.project_status import PathStatus
    from penstock.repo.tracked.checkout import Checkout

__all__ = ["LINK", "add", "checkout", "project_paths", "status"]

_SHOWN = 50
_NAMES = {"A": "added", "M": "modified", "D": "deleted"}
LINK = click.option(
    "--link/--copy",
    default=None,
    help="Check out read-only links into the local bucket, or copies (default: as before).",
)


def project_paths(project: Project, paths: Sequence[str]) -> list[str]:
    """Return what is named on the command line as paths of the project; a pointer stands for what it points to."""
    return [project.path_of(path.removesuffix(SUFFIX) if path.endswith(SUFFIX) else path) for path in paths]


@click.command(
    cls=Command, examples=("penstock add raw/01", "penstock add raw/* models/best.pt", "penstock add raw/01 --link")
)
@click.argument("paths", nargs=-1, required=True)
@LINK
@click.option("--force", is_flag=True, help="Add the files even if the pointer has changed in the meantime.")
@pass_invocation
def add(invocation: Invocation, paths: tuple[str, ...], link: bool | None, force: bool) -> None:
    """Track files and directories: create a pointer PATH.penstock for git, and ignore PATH in .gitignore.

    Add a path again to record its changes; only changed files are read. Nothing in it is modified, unless you give
    --link. The contents are kept in .penstock/ of this repository until they are pushed.
    """
    from penstock.project.pointer_files import tracked_paths
    from penstock.project.tracking import add_path

    project, output = find_project(), invocation.output
    settings = invocation.settings()
    others = tracked_paths(project)
    files: list[str] = []
    for path in project_paths(project, paths):
        if path in others and os.path.ismount(os.path.join(project.root, path)):
            from .mounted import take_in

            files += take_in(invocation, project, path)
            continue
        with invocation.progress() as progress:
            added = add_path(project, path, settings, progress, force=force, others=others, link=link)
        others.append(path)
        files += added.files
        found = added.addition
        if output.json:
            output.record(
                {
                    "path": path,
                    "top_hash": added.pointer.top.hex(),
                    "entries": added.pointer.entries,
                    "bytes": added.pointer.bytes,
                    "changed": found.added + found.modified + found.removed,
                    "added": found.added,
                    "modified": found.modified,
                    "removed": found.removed,
                    "bytes_read": found.bytes_read,
                    "files": list(added.files),
                }
            )
            continue
        counts = f"{found.added} added, {found.modified} modified, {found.removed} removed"
        output.line(f"{path}: {counts if found.changed or added.before is None else 'nothing changed'}")
        for each in found.skipped[:_SHOWN]:
            output.notice(f"skipped {os.fsdecode(each.path)}: a {each.what} is no file")
    if files and not output.json and project.git is not None:
        output.notice("to track the changes with git: git add " + " ".join(dict.fromkeys(files)))


@click.command(cls=Command, examples=("penstock status", "penstock status raw/01", "penstock status --json"))
@click.argument("paths", nargs=-1)
@pass_invocation
def status(invocation: Invocation, paths: tuple[str, ...]) -> None:
    """Compare the tracked data of the project here with its pointers: A (added), M (modified), D (deleted).

    For a mount, use `penstock status DIRECTORY`. The exit code is 1 if there are differences.
    """
    from penstock.project.project_status import project_status

    project, output = find_project(), invocation.output
    differs = False
    count = 0
    for found in project_status(project, project_paths(project, paths)):
        count += 1
        differs = differs or found.state != "clean"
        if output.json:
            output.record(_as_json(found))
        else:
            _tell(invocation, found)
    stale = not paths and _tell_stages(invocation, project)
    if not output.json:
        unchanged = "" if differs or stale else ", nothing changed"
        output.notice(f"project {project.root}: {count} tracked{unchanged}")
    differs = differs or stale
    if differs:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell_stages(invocation: Invocation, project: Project) -> bool:
    """Tell which stages are stale, and why; whether any is."""
    from penstock.project.stages.stage_tasks import stage_status

    output = invocation.output
    stale = False
    for each in stage_status(project, invocation.settings, output.notice):
        stale = stale or bool(each.reasons)
        if output.json:
            output.record(
                {
                    "path": None,
                    "stage": str(each.name),
                    "state": "stale" if each.reasons else "clean",
                    "why": "; ".join(map(str, each.reasons)),
                    "top_hash": None,
                    "pushed": [],
                    "counts": {},
                    "changes": [],
                }
            )
        elif each.reasons:
            output.line(f"stage {each.name}: stale")
            for reason in each.reasons:
                output.line(f"  {reason}")
    if stale:
        output.notice("penstock repro brings stages up to date")
    return stale


def _as_json(found: PathStatus) -> JsonValue:
    return {
        "path": found.path,
        "stage": None,
        "state": found.state,
        "why": found.why,
        "top_hash": found.pointer.top.hex() if found.pointer is not None else None,
        "pushed": sorted(found.pushed),
        "counts": {_NAMES[letter]: count for letter, count in found.counts.items()},
        "changes": [{"change": _NAMES[each.change], "path": each.path} for each in found.changes],
    }


def _tell(invocation: Invocation, found: PathStatus) -> None:
    output = invocation.output
    is_kept = found.pushed or found.pointer is None or found.pointer.imported is not None
    pushed = "" if is_kept else "  (not pushed from here)"
    if found.state == "clean":
        if pushed:
            output.line(f"{found.path}: clean{pushed}")
        return
    why = f": {found.why}" if found.why else ""
    output.line(f"{found.path}: {found.state}{why}{pushed}")
    for change in found.changes[:_SHOWN]:
        output.line(f"  {change.change} {change.path}")
    more = sum(found.counts.values()) - min(len(found.changes), _SHOWN)
    if more:
        output.notice(f"and {more} more below {found.path}")
    if found.state == "changed":
        output.notice(f"penstock add {found.path} takes it in; penstock checkout --force {found.path} puts it back")
    elif found.state in ("missing", "other version"):
        output.notice(f"penstock checkout {found.path} brings it; penstock pull fetches it, too")


@click.command(
    cls=Command,
    examples=(
        "penstock checkout",
        "penstock checkout raw/01 --force",
        "penstock checkout --mount raw        # terabytes in a second: what is read is fetched then",
    ),
)
@click.argument("paths", nargs=-1)
@click.option("--force", is_flag=True, help="Overwrite edited files; they are kept in .penstock/kept.")
@click.option(
    "--path",
    "parts",
    multiple=True,
    metavar="PATH",
    help="Only this path inside the tracked directories; can be repeated.",
)
@LINK
@click.option("--mount", is_flag=True, help="Mount the data, writable, instead of copying it.")
@click.option("--follow", is_flag=True, help="For git hooks: update what differs from the pointers, quietly.")
@pass_invocation
def checkout(
    invocation: Invocation,
    paths: tuple[str, ...],
    force: bool,
    parts: tuple[str, ...],
    link: bool | None,
    mount: bool,
    follow: bool,
) -> None:
    """Check out the versions that the pointers name: everything that the project tracks, or the given paths.

    Files that are up to date are left alone. Edited files are kept and listed, and the exit code is 1. Data that is not
    in the local bucket is fetched from a remote.
    """
    project = find_project()
    if follow:
        _follow(invocation, project)
    elif mount:
        from .mounted import check_out_mounted

        check_out_mounted(invocation, project, project_paths(project, paths))
    else:
        check_out_paths(invocation, project, paths, force=force, parts=parts, link=link)


def check_out_paths(
    invocation: Invocation,
    project: Project,
    paths: Sequence[str],
    *,
    force: bool = False,
    parts: Sequence[str] = (),
    link: bool | None = None,
    remote: str | None = None,
    told: bool = True,
) -> None:
    """Check paths out, and tell what was done; programs not, where something else is what they are `told`."""
    from penstock.project.pointer_files import pointers, tracked_paths
    from penstock.project.tracking import check_out_path

    settings = invocation.settings()
    edited = 0
    for path, pointer in pointers(project, tracked_paths(project, project_paths(project, paths))).items():
        with invocation.progress() as progress:
            done = check_out_path(
                project, path, pointer, settings, progress, force=force, paths=parts, remote=remote, link=link
            )
        if told or not invocation.output.json:
            _tell_done(invocation, path, done)
        edited += len(done.edited)
    if edited:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell_done(invocation: Invocation, path: str, done: Checkout) -> None:
    output = invocation.output
    if output.json:
        output.record(
            {
                "path": path,
                "fetched": done.fetched,
                "replaced": done.replaced,
                "modes": done.modes,
                "removed": done.removed,
                "bytes_fetched": done.bytes_fetched,
                "edited": done.edited,
                "kept": done.kept,
            }
        )
    elif done:
        output.line(f"{path}: {done.fetched} written, {done.replaced + done.modes} replaced, {done.removed} removed")
    for each in done.edited[:_SHOWN]:
        output.notice(f"{os.path.join(path, each)} was edited here, and stays; --force replaces it, and keeps it")
    for each in done.kept[:_SHOWN]:
        output.notice(f"kept {each}")
    if done.lost:
        what = f"{done.lost} file{'' if done.lost == 1 else 's'} of {path} could not be had; all others are there"
        why = "; ".join(done.reasons[:5])
        if done.damaged:
            raise IntegrityError(what, why=why, fix=f"Whoever has the data adds it again: {pointer_path(path)}")
        raise AccessError(what, why=why, fix="`penstock doctor` says what may be read.")


def _follow(invocation: Invocation, project: Project) -> None:
    from penstock.project.hooks.following import follow

    followed = follow(project, invocation.settings())
    for path, done in followed.done.items():
        _tell_done(invocation, path, done)
    for path, error in followed.failed.items():
        invocation.output.notice(f"{path} does not follow: {error}")
