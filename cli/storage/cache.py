"""``penstock cache``: how full the block cache is, empty it, check it."""

from __future__ import annotations

from dataclasses import asdict

import click

from penstock.api.handles import format_size
from penstock.api.settings import Settings
from penstock.api.storage.block_cache import cache_info, clear_cache, verify_cache
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation

__all__ = ["cache"]


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    examples=("penstock cache info", "penstock cache clear", "penstock cache verify"),
)
@click.pass_context
def cache(context: click.Context) -> None:
    """Inspect, empty or check the block cache."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cache.command(cls=Command, examples=("penstock cache info", "penstock cache info --json"))
@pass_invocation
def info(invocation: Invocation) -> None:
    """Show where the cache is, how full it is, and whether it works."""
    found = cache_info(invocation.settings())
    if invocation.output.json:
        invocation.output.document({**asdict(found), "directory": str(found.directory)})
        return
    invocation.output.line(f"directory:   {found.directory}")
    invocation.output.line(f"size:        {format_size(found.bytes)} of {format_size(found.max_bytes)}")
    invocation.output.line(f"blocks:      {found.blocks} in {found.segments} segments")
    invocation.output.line(f"quarantined: {found.quarantined}")
    invocation.output.line(f"state:       {found.mode}")


@cache.command(cls=Command, examples=("penstock cache clear",))
@pass_invocation
def clear(invocation: Invocation) -> None:
    """Remove all blocks from the cache. Mounts keep working and fetch them again."""
    settings = invocation.settings()
    freed = clear_cache(settings)
    if invocation.output.json:
        invocation.output.document({"bytes_freed": freed})
    else:
        invocation.output.line(f"{format_size(freed)} freed")
    _warn(invocation, settings)


@cache.command(cls=Command, examples=("penstock cache verify",))
@pass_invocation
def verify(invocation: Invocation) -> None:
    """Check every cached block, and drop damaged ones. The exit code is 1 if there were any."""
    settings = invocation.settings()
    report = verify_cache(settings)
    if invocation.output.json:
        invocation.output.document(asdict(report))
    else:
        invocation.output.line(
            ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in asdict(report).items())
        )
    _warn(invocation, settings)
    if report.damaged or report.missing:
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _warn(invocation: Invocation, settings: Settings) -> None:
    mode = cache_info(settings).mode
    if mode != "ok":
        invocation.output.notice(f"the cache is {mode}")
