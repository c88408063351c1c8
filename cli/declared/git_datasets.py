"""``git datasets``: the console script ``git-datasets``, which git finds by its name."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from penstock import __version__
from penstock.cli.command_classes import LazyCommand
from penstock.cli.main import Root, run

__all__ = ["main", "root"]

_COMMANDS = {
    "checkout": LazyCommand("declared.showing:checkout", "Have folders and databases show what the commit has."),
    "config": LazyCommand("declared.tracking:config", "Read or set how this repository's datasets are made."),
    "doctor": LazyCommand("declared.tracking:doctor", "Check what datasets of this repository rest on."),
    "log": LazyCommand("declared.showing:log_", "Show the versions that commits have."),
    "pull": LazyCommand("declared.transfer:pull", "Fetch the files of the datasets."),
    "push": LazyCommand("declared.transfer:push", "Send versions to the remotes of the datasets."),
    "run": LazyCommand("declared.making:run_", "Make what a commit would make, now."),
    "schema": LazyCommand("declared.tracking:schema", "Show what a file declares."),
    "status": LazyCommand("declared.showing:status", "Tell what a commit would do, and what is not as it should be."),
    "track": LazyCommand("declared.tracking:track", "Have commits of a file make versions of its datasets."),
    "trust": LazyCommand("declared.tracking:trust", "Let this repository's code run, and its data follow git."),
    "untrack": LazyCommand("declared.tracking:untrack", "Have git do no more for a file."),
}


@click.group(
    cls=Root,
    program="git datasets",
    lazy=_COMMANDS,
    invoke_without_command=True,
    examples=("git datasets track index.py", "git commit index.py", "git push"),
)
@click.version_option(__version__, message="git-datasets %(version)s")
@click.pass_context
def root(context: click.Context) -> None:
    """Datasets as code: a committed file describes the state of its database and data folders."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line of this process; or, as ``git-datasets hook``, what git's hooks call."""
    if sys.argv[1:2] == ["hook"]:
        from .hook import main as hook

        hook(sys.argv[2:])
    run(root)


if __name__ == "__main__":
    sys.exit(main())
