"""``penstock reset`` and ``penstock revert``: go back, and keep the history of it."""

from __future__ import annotations

import click

from penstock.repo.bucket.repository import DEFAULT_BRANCH
from penstock.repo.history.branches import require_head, reset_branch
from penstock.repo.history.log import find_published
from penstock.repo.history.revert import revert as revert_commit
from penstock.repo.history.side_choice import choice
from penstock.repo.read.open_dataset import open_dataset
from penstock.repo.settings.handle import Handle

from .commands import Command
from .invocation import Invocation, pass_invocation
from .merge import side_options
from .params import HANDLE
from .versions import SHORT, authorship, first_line, name_of, tell_risk, without_subdir

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
@click.option("--author", metavar="NAME", help="Who does it; as git has it by default.")
@pass_invocation
def reset(invocation: Invocation, handle: Handle, to: str, author: str | None) -> None:
    """Let a branch stand at the version TO: a branch, tag, commit or top hash of the dataset, older or not.

    Where it stood before is in `penstock log --reflog`, and can be mounted and reset to until `penstock gc` takes what
    nothing leads to any more.
    """
    handle = without_subdir(handle)
    branch = handle.ref or DEFAULT_BRANCH
    with open_dataset(handle, invocation.settings(), writes=True) as dataset:
        require_head(dataset.repository, branch)
        target = find_published(dataset.repository, to)
        before = reset_branch(dataset.repository, branch, target, authorship(author, "", "reset"))
        tell_risk(invocation.output, dataset.repository.refs.risk)
    output = invocation.output
    if output.json:
        output.document(
            {
                "branch": branch,
                "commit": target.commit.hex(),
                "top_hash": target.top_hash.hex(),
                "before": before.commit.hex() if before is not None else None,
                "changed": before is not None,
            }
        )
    elif before is None:
        output.line(f"{name_of(handle, branch)} stands at {target.commit.hex()[:SHORT]} already")
    else:
        output.line(f"{name_of(handle, branch)} is at {target.commit.hex()[:SHORT]}; it was at {before.commit.hex()}")


@click.command(
    cls=Command,
    examples=(
        "penstock revert demo/photos 4f2a9c1",
        "penstock revert demo/photos:review main --ours labels.csv",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("commit")
@click.option("-m", "--message", default="", metavar="TEXT", help="Say why.")
@click.option("--author", metavar="NAME", help="Who does it; as git has it by default.")
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
    """Make a version that undoes what one COMMIT changed in its first parent, and keeps all that came after.

    A path that was changed again since is a conflict: exit code 4, and nothing has happened. --ours keeps what the
    branch has, --theirs takes what was there before the commit.
    """
    handle = without_subdir(handle)
    branch = handle.ref or DEFAULT_BRANCH
    choose = choice(ours, theirs)
    with open_dataset(handle, invocation.settings(), writes=True) as dataset:
        who = authorship(author, message, "revert")
        done = revert_commit(dataset.repository, dataset.load, branch, commit, who, choose, dataset.load_many)
        tell_risk(invocation.output, dataset.repository.refs.risk)
    undone, landed = done.undone, done.landed
    output = invocation.output
    if output.json:
        output.document(
            {
                "branch": branch,
                "reverted": undone.commit.hex(),
                "commit": landed.published.commit.hex(),
                "top_hash": landed.published.top_hash.hex(),
                "changed": landed.changed,
            }
        )
    elif landed.changed:
        output.line(
            f"{name_of(handle, branch)} is at {landed.published.commit.hex()[:SHORT]}: {first_line(done.message)}"
        )
    else:
        output.line(f"{name_of(handle, branch)} has nothing of {undone.commit.hex()[:SHORT]} left to undo")
