"""``penstock reset`` and ``penstock revert``: go back, and keep the history of it."""

from __future__ import annotations

import click

from penstock.api.datasets.versions import first_line
from penstock.api.handles import DEFAULT_BRANCH, Handle, handle_text
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE, side_options
from penstock.cli.versions import SHORT, dataset_named, tell_risk

__all__ = ["reset", "revert"]


@click.command(
    cls=Command,
    examples=(
        "penstock reset demo/photos v1                 # branch main",
        "penstock reset demo/photos:review 4f2a9c1",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("to")
@click.option("--author", metavar="NAME", help="Author to record (default: as in git).")
@pass_invocation
def reset(invocation: Invocation, handle: Handle, to: str, author: str | None) -> None:
    """Move a branch to the version TO: a branch, tag, commit or top hash of the dataset, older or newer.

    `penstock log --reflog` shows where the branch was before. That version can still be mounted and reset to, until
    `penstock gc` deletes what no branch or tag leads to.
    """
    branch = handle.ref or DEFAULT_BRANCH
    done = dataset_named(handle, invocation).reset(to, branch=branch, author=author)
    output = invocation.output
    tell_risk(output, done.risk)
    if output.json:
        output.document(
            {
                "branch": branch,
                "commit": done.commit,
                "top_hash": done.top_hash,
                "before": done.before,
                "changed": done.changed,
            }
        )
    elif not done.changed:
        output.line(f"{handle_text(handle, branch)} stands at {done.commit[:SHORT]} already")
    else:
        output.line(f"{handle_text(handle, branch)} is at {done.commit[:SHORT]}; it was at {done.before}")


@click.command(
    cls=Command,
    examples=(
        "penstock revert demo/photos 4f2a9c1",
        "penstock revert demo/photos:review main --ours labels.csv",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("commit")
@click.option("-m", "--message", default="", metavar="TEXT", help="Describe the reason.")
@click.option("--author", metavar="NAME", help="Author to record (default: as in git).")
@side_options
@pass_invocation
def revert(
    invocation: Invocation,
    handle: Handle,
    commit: str,
    message: str,
    author: str | None,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
) -> None:
    """Create a version that undoes the changes of one COMMIT and keeps everything that came after.

    A path that has changed again since then is a conflict: nothing happens, and the exit code is 4. --ours keeps what
    the branch has, --theirs takes what was there before the commit.
    """
    branch = handle.ref or DEFAULT_BRANCH
    dataset = dataset_named(handle, invocation)
    done = dataset.revert(commit, branch=branch, message=message, ours=ours, theirs=theirs, author=author)
    output = invocation.output
    tell_risk(output, done.risk)
    if output.json:
        output.document(
            {
                "branch": branch,
                "reverted": done.reverted,
                "commit": done.commit,
                "top_hash": done.top_hash,
                "changed": done.changed,
            }
        )
    elif done.changed:
        output.line(f"{handle_text(handle, branch)} is at {done.commit[:SHORT]}: {first_line(done.message)}")
    else:
        output.line(f"{handle_text(handle, branch)} has nothing of {done.reverted[:SHORT]} left to undo")
