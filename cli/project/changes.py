"""``penstock diff``, ``gc``, ``merge-pointer`` of what a project tracks."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict

import click

from penstock.api.handles import format_size
from penstock.api.packages.comparison import ChangeCounts
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import side_options
from penstock.cli.versions import change_line, counts_line, painted_change
from penstock.project.local_gc import collect_local, find_cleared
from penstock.project.pointer import pointer_path, read_pointer, write_pointer
from penstock.project.pointer_changes import open_changes, pointer_changes, revisions
from penstock.project.pointer_merge import conflicting_locks, conflicting_pointers, merge_pointers, merged_lock
from penstock.project.project import Project, find_project
from penstock.project.project_file import read_bounded
from penstock.project.stages.definition.lock_file import LOCK_FILE, MOST_BYTES
from penstock.project.state_folder import replace_file

from .tracked import project_paths

__all__ = ["diff", "gc", "merge_pointer"]


@click.command(
    cls=Command,
    examples=(
        "penstock diff                       # the work tree's pointers, beside the last commit",
        "penstock diff main...HEAD           # what a branch has changed",
        "penstock diff v1 v2 --stat",
        "penstock diff main...HEAD --markdown --pictures report > report.md",
        "penstock diff HEAD~1 raw/01",
    ),
)
@click.argument("arguments", nargs=-1, metavar="[REV [REV]] [PATH…]")
@click.option("--stat", is_flag=True, help="Print only counts.")
@click.option("--markdown", is_flag=True, help="Write a report for a pull request, with counts, values and pictures.")
@click.option("--pictures", metavar="FOLDER", type=click.Path(), help="With --markdown: write the pictures to FOLDER.")
@click.option("--pictures-url", metavar="URL", help="With --pictures: the address where FOLDER will be visible.")
@pass_invocation
def diff(
    invocation: Invocation,
    arguments: tuple[str, ...],
    stat: bool,
    markdown: bool,
    pictures: str | None,
    pictures_url: str | None,
) -> None:
    """List the differences in tracked data between two git commits: A (added), M (modified), D (deleted).

    With one revision, compare it with the pointers in the work tree; A...B lists what B changed since their common
    ancestor. To compare versions, use `penstock diff D:v1 D:v2`; for a mount, `penstock diff DIRECTORY`. The exit code
    is 1 if there are differences.
    """
    project, output = find_project(), invocation.output
    is_path = [os.path.lexists(pointer_path(each)) or each.endswith(".penstock") for each in arguments]
    split = is_path.index(True) if True in is_path else len(arguments)
    old, new = revisions(project, arguments[:split])
    if markdown:
        if output.json:
            raise click.UsageError("--markdown goes alone: it has a format of its own.")
        from penstock.project.stages.reports.change_report import PictureFolder, change_report

        folder = PictureFolder(pictures, pictures_url or pictures) if pictures is not None else None
        for line in change_report(
            project, invocation.settings, old, new, project_paths(project, arguments[split:]), folder
        ):
            output.line(line)
        return
    found = pointer_changes(project, old, new, project_paths(project, arguments[split:]))
    with open_changes(project, invocation.settings()) as opened:
        for change in found:
            counts: Counter[str] = Counter()
            came = went = 0
            for each in opened.files(change):
                counts[each.change] += 1
                came += each.new_size or 0
                went += each.old_size or 0
                if stat:
                    continue
                if output.json:
                    output.record(asdict(each))
                else:
                    output.line(*painted_change(change_line(each)))
            told = ChangeCounts(counts["added"], counts["modified"], counts["deleted"], 0, came, went)
            if stat and output.json:
                output.record({"path": change.path, **asdict(told)})
            elif stat:
                output.line(f"{change.path}: {counts_line(told)}")
    if found:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    output.notice("No changes")


@click.command(cls=Command, examples=("penstock gc", "penstock gc --delete"))
@click.option("--delete/--dry-run", "delete", default=False, help="Delete it (default: only report).")
@pass_invocation
def gc(invocation: Invocation, delete: bool) -> None:
    """Delete local data of the project here that its remotes have. Data that was not pushed is never deleted.

    To clean up a bucket, use `penstock gc BUCKET`.
    """
    project, output = find_cleared(), invocation.output
    with invocation.progress() as progress:
        found = collect_local(project, invocation.settings(), progress, delete=delete)
    if output.json:
        output.document({**asdict(found), "deleted": delete})
        return
    verb = "deleted" if delete else "would go"
    output.line(
        f"{found.versions} versions that a remote has, {found.objects} objects with {format_size(found.bytes)}, "
        f"{verb}; {found.kept} versions stay"
    )
    if found.objects and not delete:
        output.notice("penstock gc --delete deletes them")


@click.command(
    "merge-pointer",
    cls=Command,
    examples=("penstock merge-pointer raw/01", "penstock merge-pointer raw/01 --ours labels.csv --theirs images"),
)
@click.argument("path")
@click.option("--driver", nargs=3, type=click.Path(), metavar="BASE OURS THEIRS", help="For git's merge driver.")
@side_options
@pass_invocation
def merge_pointer(
    invocation: Invocation,
    path: str,
    driver: tuple[str, str, str] | None,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
) -> None:
    """Merge two branches' changes to a tracked directory after git reports a conflict in its pointer.

    Files that only one side changed are taken from that side. If both sides changed a file, it is listed, nothing
    happens, and the exit code is 4; resolve it with --ours or --theirs, for all files or by path. `penstock init
    --hooks` lets git do this by itself. In penstock.lock, stages are merged; a stage that both sides have run is
    brought up to date by the next `penstock repro`.
    """
    project, settings = find_project(), invocation.settings()
    if os.path.basename(path) == LOCK_FILE:
        _merge_lock(invocation, project, path, driver)
        return
    if driver is not None:
        before, mine, other = driver
        base = read_pointer(before) if os.path.getsize(before) else None
        merged = merge_pointers(project, path, base, read_pointer(mine), read_pointer(other), settings)
        write_pointer(mine, merged.pointer)
        return
    (inside,) = project_paths(project, [path])
    sides = conflicting_pointers(project, inside)
    with invocation.progress() as progress:
        merged = merge_pointers(project, inside, *sides, settings, progress, take_ours=ours, take_theirs=theirs)
    file = os.path.join(project.root, pointer_path(inside))
    write_pointer(file, merged.pointer)
    if invocation.output.json:
        invocation.output.document({"path": inside, "top_hash": merged.pointer.top.hex(), "both": []})
    else:
        invocation.output.line(f"{inside}: {merged.ours} changes of ours, {merged.theirs} of theirs")
        invocation.output.notice(f"git add {pointer_path(inside)}; penstock checkout {inside} brings the data")


def _merge_lock(invocation: Invocation, project: Project, path: str, driver: tuple[str, str, str] | None) -> None:
    if driver is not None:
        # As git calls it, the path is from the top, and the three are files of git's own.
        base, ours, theirs = (read_bounded(each, MOST_BYTES) or b"" for each in driver)
        inside, target = path, driver[1]
    else:
        (inside,) = project_paths(project, [path])
        base, ours, theirs = conflicting_locks(project, inside)
        target = os.path.join(project.root, inside)
    merged, both = merged_lock(inside, base, ours, theirs)
    replace_file(target, merged)
    output = invocation.output
    if output.json:
        output.document({"path": inside, "top_hash": None, "both": both})
        return
    for name in both:
        output.notice(f"{inside}: both sides have run {name}: penstock repro brings it up to date")
    if driver is None:
        output.notice(f"git add {inside}")
