"""``penstock protect`` and ``penstock approve``: what a branch takes, and who has looked at it."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.datasets.dataset_protection import BranchProtection
from penstock.api.handles import DEFAULT_BRANCH, Handle, handle_text
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import Output
from penstock.cli.params import HANDLE
from penstock.cli.versions import SHORT, dataset_named, local_time
from penstock.errors import UsageError

__all__ = ["approve", "protect"]


@click.command(
    cls=Command,
    examples=(
        "penstock protect demo/photos:main --check leak:photos-test --check approval",
        "penstock protect demo/photos:main --check 'pairs:labels/*.json=images/*.jpg' --check size:100MB",
        "penstock protect demo/photos:main --check rules:rules.toml",
        "penstock protect demo/photos                      # what holds",
        "penstock protect demo/photos:main --remove",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="NAME",
    help="What a version has to fit: schema:FILE, rules:FILE, pairs:PATHS=WITH, size:MOST, total:MOST, entries:MOST, "
    "leak:DATASET[:REF], command:TEXT, approval[:N].",
)
@click.option("--anyway", is_flag=True, help="Even if what the branch has does not fit.")
@click.option("--remove", is_flag=True, help="Protect the branch no more.")
@click.option("--trust", is_flag=True, help="Let the commands that protect it be run on this machine.")
@click.option("--author", metavar="NAME", help="Who does it; as git has it by default.")
@pass_invocation
def protect(
    invocation: Invocation,
    handle: Handle,
    checks: tuple[str, ...],
    anyway: bool,
    remove: bool,
    trust: bool,
    author: str | None,
) -> None:
    """Let a branch take no version that does not fit the checks that are named, in place of those it had.

    Commits, merges, resets and pushes to the branch that do not fit are refused with the paths, exit code 6, and
    nothing has moved. Each check costs what has changed. The rules stand in the bucket, and every Penstock that knows
    of them holds to them; docs/CONFIDENCE.md says what they do not hold against. Without options: what holds.
    """
    if sum((bool(checks), remove, trust)) > 1:
        raise UsageError("--check, --remove and --trust go one at a time")
    dataset, output = dataset_named(handle, invocation), invocation.output
    branch = handle.ref or DEFAULT_BRANCH
    if checks:
        _tell(output, dataset.protect(checks, branch=branch, anyway=anyway, author=author))
    elif remove:
        dataset.unprotect(branch, author=author)
        output.notice(f"{handle_text(handle, branch)} is protected no more")
    elif trust:
        for text in dataset.trust_checks(branch):
            output.line(f"may be run on this machine: {text}")
    else:
        found = [each for each in dataset.protections() if handle.ref in (None, each.branch)]
        for each in found:
            _tell(output, each)
        if not found:
            output.notice(f"{handle_text(handle)} is not protected")


def _tell(output: Output, found: BranchProtection) -> None:
    if output.json:
        output.record(asdict(found))
        return
    output.line(f"{found.branch}, by rule {found.number} of {found.author}, {local_time(found.time)}")
    for check in found.checks:
        output.line(f"  {check}")
    if found.unchecked:
        output.notice(
            f"{found.branch} was moved by a client that holds to no rules; what comes next has to fit as a whole"
        )


@click.command(
    cls=Command,
    examples=("penstock approve demo/photos:review", "penstock approve demo/photos:4f2a9c1 -m 'labels looked through'"),
)
@click.argument("handle", type=HANDLE)
@click.option("-m", "--message", default="", metavar="TEXT", help="Say what was looked at.")
@click.option("--author", metavar="NAME", help="Who approves; as git has it by default.")
@pass_invocation
def approve(invocation: Invocation, handle: Handle, message: str, author: str | None) -> None:
    """Say that one approves of a version that somebody else made, for branches that ask for it.

    The record stands beside the version, under its commit. Then `penstock merge` and `penstock reset` may bring it to
    a branch that is protected by `approval`.
    """
    if handle.ref is None:
        raise UsageError(f"{str(handle)!r} names no version", fix=f"Name a branch, tag or commit: {handle}:REF")
    done = dataset_named(handle, invocation).approve(handle.ref, message=message, author=author)
    if invocation.output.json:
        invocation.output.document(asdict(done))
    else:
        invocation.output.line(f"{done.author} approves of {done.commit[:SHORT]}")
