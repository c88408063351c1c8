"""``penstock import-dvc``: a project of DVC as a project."""

from __future__ import annotations

import shlex

import click

from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.project.dvc.dvc_project import find_dvc_project
from penstock.project.dvc.history import DvcHistory, import_history
from penstock.project.dvc.import_project import Imported, import_project
from penstock.project.project import init_project
from penstock.project.project_trust import trust_project

__all__ = ["import_dvc"]

_SHOWN = 50


@click.command(
    "import-dvc",
    cls=Command,
    examples=(
        "penstock import-dvc --trust               # your own project: its remotes are read with your credentials",
        "penstock import-dvc ../project --no-checkout",
        "penstock import-dvc --trust --all-commits # all branches and tags, as versions in the default remote",
    ),
)
@click.argument("directory", default=".")
@click.option(
    "--trust", is_flag=True, help="Access DVC's remotes with your credentials, and local paths that it names."
)
@click.option("--all-commits", is_flag=True, help="Also push the data of each commit to the remote, as a version.")
@click.option("--remote", metavar="NAME", help="With --all-commits: use this remote instead of the project's default.")
@click.option("--no-checkout", is_flag=True, help="Do not check out any data.")
@pass_invocation
def import_dvc(
    invocation: Invocation, directory: str, trust: bool, all_commits: bool, remote: str | None, no_checkout: bool
) -> None:
    """Convert a DVC project: create pointers, stages and their lock beside DVC's own files.

    Contents come from DVC's cache, its remotes, and the repositories that it imports from; each is checked against its
    MD5. DVC's files are not changed, and none of its stages are run. What could not be converted is listed, and the
    exit code is 1. You can run it again; contents that were converted are not read again.
    """
    found = find_dvc_project(directory, trusted=trust)
    project, is_new = init_project(found.directory)
    if trust and is_new:
        trust_project(project)
    settings = invocation.settings()
    with invocation.progress() as progress:
        report = import_project(project, found, settings, progress, checkout=not no_checkout)
    if is_new and "penstock.toml" not in report.files:
        report.files.insert(0, "penstock.toml")
    history = None
    if all_commits:
        with invocation.progress() as progress:
            history = import_history(project, found, settings, progress, remote=remote)
    _tell(invocation, report, history)
    if report.failed or (history is not None and history.failed):
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _tell(invocation: Invocation, report: Imported, history: DvcHistory | None) -> None:
    output = invocation.output
    if output.json:
        output.document(
            {
                "taken": [{"path": each.path, "top_hash": each.pointer.top.hex()} for each in report.taken],
                "stages": report.stages,
                "remotes": report.remotes,
                "failed": {path: str(error) for path, error in report.failed.items()},
                "remarks": report.remarks,
                "files": report.files,
                "untrack": report.untrack,
                "history": None
                if history is None
                else {
                    "remote": history.remote,
                    "commits": history.commits,
                    "branches": history.branches,
                    "tags": history.tags,
                    "failed": history.failed,
                },
            }
        )
        return
    for each in report.taken:
        output.line(f"{each.path}: {each.pointer.entries} entries, {each.pointer.bytes} bytes")
        for edited in each.done.edited[:_SHOWN] if each.done is not None else ():
            output.notice(f"{each.path}/{edited} is not what DVC's files say, and stays")
    for name in report.stages:
        output.line(f"stage {name}")
    for told in report.remotes:
        output.line(f"remote {told}")
    if history is not None:
        output.line(
            f"{history.commits} commits are versions in {history.remote}: "
            f"branches {', '.join(history.branches) or '-'}; tags {', '.join(history.tags) or '-'}"
        )
    for remark in dict.fromkeys([*report.remarks, *(history.remarks if history is not None else ())]):
        output.notice(remark)
    for path, error in report.failed.items():
        output.notice(f"not taken: {path}: {error}")
    for told in history.failed if history is not None else ():
        output.notice(f"not taken: {told}")
    if report.untrack:
        words = " ".join(map(shlex.quote, report.untrack))
        output.notice(f"stages make what git tracks itself; to have them run: git rm --cached {words}")
    if report.files:
        output.notice("to track the changes with git: git add " + " ".join(map(shlex.quote, report.files)))
