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
    "checkout": LazyCommand("declared.showing:checkout", "Update folders and databases to HEAD."),
    "config": LazyCommand("declared.tracking:config", "Show or change settings of this repository's datasets."),
    "doctor": LazyCommand("declared.tracking:doctor", "Check this repository's datasets for problems."),
    "log": LazyCommand("declared.showing:log_", "Show the versions of datasets by commit."),
    "pull": LazyCommand("declared.transfer:pull", "Fetch the files of the datasets."),
    "push": LazyCommand("declared.transfer:push", "Send versions to the remotes of the datasets."),
    "run": LazyCommand("declared.making:run_", "Build the data of a commit now."),
    "schema": LazyCommand("declared.tracking:schema", "Show what a file declares."),
    "status": LazyCommand("declared.showing:status", "Show what a commit would do, and any problems."),
    "track": LazyCommand("declared.tracking:track", "Build datasets whenever a file is committed."),
    "trust": LazyCommand("declared.tracking:trust", "Trust this repository to run its code."),
    "untrack": LazyCommand("declared.tracking:untrack", "Stop building the datasets of a file."),
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
    """Datasets as code: a committed file declares a dataset, and git commits build it."""
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
