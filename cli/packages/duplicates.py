"""``penstock duplicates`` and ``penstock leaks``: what is there twice, within a version or in two of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from penstock.api.handles import Handle, format_size
from penstock.api.packages.package import Package
from penstock.api.packages.package_similarity import DuplicateGroup
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.here import VERSION
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import at_most
from penstock.cli.output import Painted
from penstock.cli.text import quote_name

__all__ = ["duplicates", "leaks"]

_SHOWN = 20
_DEFAULT = 6


def _near_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options about pictures that look alike."""
    for option in (
        click.option("--all", "every", is_flag=True, help="List more than 10,000,000 groups, too."),
        click.option(
            "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Show such pairs as pictures there."
        ),
        click.option(
            "--threshold",
            type=click.IntRange(0, 24),
            metavar="BITS",
            help=f"Pictures whose hashes differ in at most so many of 64 bits; {_DEFAULT} with --near.",
        ),
        click.option("--near", is_flag=True, help="Look for pictures that look alike, too: decodes each once."),
    ):
        function = option(function)
    return function


@click.command(
    cls=Command,
    examples=(
        "penstock duplicates demo/photos",
        "penstock duplicates demo/photos:v1 demo/photos:main        # what both have",
        "penstock duplicates demo/photos --threshold 8 --html alike.html",
    ),
)
@click.argument("handle", type=VERSION)
@click.argument("other", type=VERSION, required=False)
@_near_options
@pass_invocation
def duplicates(invocation: Invocation, /, handle: Handle, other: Handle | None, **options: Any) -> None:
    """List what is there more than once in a version, or in a directory of one: files, and directories as wholes.

    With a second handle, what both have. Told by hashes, without reading a file. --near decodes pictures that were not
    looked at before (penstock[similarity]), and lists pairs that look alike, the nearest first.
    """
    _look(invocation, handle, other, **options)


@click.command(
    cls=Command,
    examples=(
        "penstock leaks demo/photos:v1/train demo/photos:v1/test",
        "penstock leaks demo/photos:train demo/photos:test --near --html leaks.html",
    ),
)
@click.argument("train", type=VERSION)
@click.argument("test", type=VERSION)
@_near_options
@pass_invocation
def leaks(invocation: Invocation, /, train: Handle, test: Handle, **options: Any) -> None:
    """List what of a test set is in a training set, too; the exit code is 1 if there is anything.

    Each is a version, or a directory of one. By hashes, so that nothing is read; with --near also pictures that look
    alike, though they are scaled, or compressed in another way.
    """
    if _look(invocation, train, test, **options):
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    invocation.output.notice("nothing of one is in the other")


def _look(
    invocation: Invocation,
    first: Handle,
    second: Handle | None,
    *,
    near: bool,
    threshold: int | None,
    html: str | None,
    every: bool,
) -> int:
    """List what was found; how many groups and pairs that is."""
    settings, output = invocation.settings(), invocation.output
    groups = files = excess = 0
    with ExitStack() as stack:
        package = stack.enter_context(Package(first, settings))
        other = stack.enter_context(Package(second, settings)) if second is not None else None
        fix = "--all lists every one."
        with invocation.progress() as progress:
            for group in at_most(package.duplicates(other, progress=progress), every=every, fix=fix):
                groups += 1
                files += group.count
                excess += group.bytes * (group.count - 1)
                _tell(invocation, group, str(first), str(second) if second is not None else "")
        if groups:
            kept = "" if other is not None else f", {format_size(excess)} more than one of each"
            output.notice(f"{groups:,} the same, at {files:,} places{kept}")
        pairs = 0
        if near or threshold is not None or html is not None:
            pairs = _tell_near(invocation, package, other, _DEFAULT if threshold is None else threshold, html)
        if not groups and not pairs and other is None:
            output.notice("nothing is there twice")
    return groups + pairs


def _tell(invocation: Invocation, group: DuplicateGroup, first: str, second: str) -> None:
    output = invocation.output
    if output.json:
        output.record(asdict(group))
        return
    slash = "/" if group.kind == "directory" else ""
    what = f", {group.entries:,} entries" if slash else ""
    output.line(Painted(group.hash[:12], "yellow"), f" {format_size(group.bytes)}{what}, {group.count:,} times")
    for handle, paths in ((first, group.paths), (second, group.other_paths)):
        for path in paths:
            output.line(f"  {f'{handle}: ' if second else ''}{quote_name(path) if path else ''}{slash}")
    if (left := group.count - len(group.paths) - len(group.other_paths)) > 0:
        output.line(f"  and {left:,} more")


def _tell_near(
    invocation: Invocation, package: Package, other: Package | None, threshold: int, html: str | None
) -> int:
    output = invocation.output
    with invocation.progress() as progress:
        found = package.near_duplicates(other, threshold=threshold, html=html, progress=progress)
    for pair in found.pairs:
        if output.json:
            output.record({"kind": "near", **pair._asdict()})
        else:
            output.line(f"{pair.distance:>2} bits  {quote_name(pair.path)}  {quote_name(pair.other_path)}")
    output.notice(
        f"{found.compared:,} pictures compared, {found.made:,} decoded now; {len(found.pairs):,} pairs look alike"
    )
    for each in found.uncompared[:_SHOWN]:
        output.notice(f"not compared: {quote_name(each.path)}: {each.why}")
    if len(found.uncompared) > _SHOWN:
        output.notice(f"not compared: {len(found.uncompared) - _SHOWN:,} more")
    if html is not None:
        output.notice(f"{html} shows them")
    return len(found.pairs)
