"""``penstock push``, ``pull``, ``fetch`` of what a project tracks."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import format_size
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.project.exchange import fetch_versions, push_versions
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import find_project

from .tracked import LINK, check_out_paths, project_paths

__all__ = ["fetch", "pull", "push"]

_REMOTE = click.option("--remote", metavar="NAME", help="Use this remote instead of the project's default.")


@click.command(cls=Command, examples=("penstock push", "penstock push raw/01", "penstock push --remote backup"))
@click.argument("paths", nargs=-1)
@_REMOTE
@pass_invocation
def push(invocation: Invocation, paths: tuple[str, ...], remote: str | None) -> None:
    """Send the tracked data of the project here to its remote: everything, or the given paths.

    Data that is already there is not sent again; imported data stays at its source. To publish any directory as a
    version, use `penstock push DIRECTORY BUCKET/DATASET`.
    """
    project, output = find_project(), invocation.output
    found = pointers(project, tracked_paths(project, project_paths(project, paths)))
    wanted = {path: pointer for path, pointer in found.items() if pointer.imported is None}
    if not wanted:
        output.notice("nothing is tracked here: penstock add PATH")
        return
    with invocation.progress() as progress:
        report = push_versions(project, wanted, invocation.settings(), progress, remote=remote, only=bool(paths))
    if report.risk:
        from penstock.cli.versions import tell_risk

        tell_risk(output, report.risk)
    if output.json:
        output.document({**asdict(report), "top_hash": report.top_hash.hex()})
        return
    place = f"{report.remote}/{project.file.dataset}:{report.branch}"
    if not report.changed:
        output.line(f"{place} has everything")
        return
    for path in report.sent:
        output.line(f"{path} sent")
    output.line(
        f"{place} stands at {report.top_hash.hex()[:12]}: {format_size(report.bytes)} of data in {report.objects} "
        f"object{'' if report.objects == 1 else 's'}"
    )


@click.command(
    cls=Command,
    examples=("penstock pull", "penstock pull raw/01 --path train/", "penstock pull --remote backup"),
)
@click.argument("paths", nargs=-1)
@click.option(
    "--path",
    "parts",
    multiple=True,
    metavar="PATH",
    help="Only this path inside the tracked directories; can be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite edited files; they are kept in .penstock/kept.")
@LINK
@_REMOTE
@pass_invocation
def pull(
    invocation: Invocation,
    paths: tuple[str, ...],
    parts: tuple[str, ...],
    force: bool,
    link: bool | None,
    remote: str | None,
) -> None:
    """Fetch the tracked data of the project here and check it out: everything, or the given paths.

    Data that is already here is not fetched again. Edited files are kept and listed. If it is interrupted, run it again
    to continue.
    """
    project = find_project()
    settings = invocation.settings()
    wanted = pointers(project, tracked_paths(project, project_paths(project, paths)))
    with invocation.progress() as progress:
        fetch_versions(project, wanted, settings, progress, remote=remote, data=False)
    check_out_paths(invocation, project, paths, force=force, parts=parts, link=link, remote=remote)


@click.command(cls=Command, examples=("penstock fetch", "penstock fetch raw/01"))
@click.argument("paths", nargs=-1)
@_REMOTE
@pass_invocation
def fetch(invocation: Invocation, paths: tuple[str, ...], remote: str | None) -> None:
    """Fetch tracked data into the project's local bucket, for a later checkout that works offline."""
    project, output = find_project(), invocation.output
    wanted = pointers(project, tracked_paths(project, project_paths(project, paths)))
    with invocation.progress() as progress:
        count = fetch_versions(project, wanted, invocation.settings(), progress, remote=remote)
    if output.json:
        output.document({"objects": count})
    else:
        output.line(f"{count} object{'' if count == 1 else 's'} fetched")
