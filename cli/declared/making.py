"""``git datasets run``."""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation

from .made_lines import made_lines
from .opened import opened_repository

__all__ = ["run_"]


@click.command("run", cls=Command, examples=("git datasets run", "git datasets run --again"))
@click.option("--again", is_flag=True, help="Run the ingests again, and replace the data of HEAD.")
@pass_invocation
def run_(invocation: Invocation, again: bool) -> None:
    """Build the data of HEAD if it is missing; otherwise what a commit of the staged changes would build.

    The results are kept, so that the commit does not build anything twice.
    """
    from penstock.project.commits.commit_versions import CommitVersions
    from penstock.project.commits.work_tree import follow

    with opened_repository(invocation) as repository:
        repository.require_tracked()
        results = CommitVersions(repository).run(again=again)
        follow(repository)
        if invocation.output.json:
            for each in results:
                for name, built in each.built.items():
                    invocation.output.record(
                        {
                            "file": each.file,
                            "dataset": name,
                            "top_hash": built.version.id.top_hash.hex(),
                            "records": built.version.count,
                            "added": built.added,
                            "removed": built.removed,
                            "calls": built.calls,
                            "failed": built.failed,
                        }
                    )
        else:
            for line in made_lines(results):
                invocation.output.line(line)
