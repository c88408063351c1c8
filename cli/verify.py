"""``penstock verify``: whether a version in its bucket is what it was when it was published."""

from __future__ import annotations

import click

from penstock.repo.settings.handle import Handle
from penstock.repo.settings.sizes import format_size
from penstock.repo.verify.damage import SHOWN_PATHS, Damage
from penstock.repo.verify.verification import VersionReport, verify

from .commands import Command
from .exits import ExitCode
from .invocation import Invocation, pass_invocation
from .output import JsonValue
from .params import HANDLE
from .text import quote_name

__all__ = ["verify_"]


@click.command(
    "verify",
    cls=Command,
    examples=(
        "penstock verify demo/photos",
        "penstock verify demo/photos:v1 --deep",
        "penstock verify demo/photos --deep --repair ./photos",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option("--deep", is_flag=True, help="Read every byte and compare its hash; without, names and sizes.")
@click.option(
    "--repair",
    type=click.Path(file_okay=True, dir_okay=True),
    metavar="DIR",
    help="Put back what is damaged from files in DIR, found by hash.",
)
@pass_invocation
def verify_(invocation: Invocation, handle: Handle, deep: bool, repair: str | None) -> None:
    """Check that a version is in its bucket as it was published.

    Every node is read, and every object is there and long enough; with --deep every byte is read from the store and
    hashed. What is wrong is named, with the paths that it affects: exit code 5; 1 when there are only objects that the
    store does not give out, such as archived ones. With --repair, data objects that are
    damaged or missing are made anew, as far as a local directory holds the same content.
    """
    settings = invocation.settings()
    with invocation.progress() as progress:
        report = verify(handle, settings, progress, deep=deep, repair=repair)
    if invocation.output.json:
        invocation.output.document(_as_json(report, deep))
    else:
        _tell(invocation, report, deep)
    if report.is_refused:
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    if not report.is_sound:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _tell(invocation: Invocation, report: VersionReport, deep: bool) -> None:
    line = invocation.output.line
    line(f"{report.handle}: {_verdict(report)}")
    line(f"  top hash  {report.top_hash.hex()}")
    line(f"  content   {report.entries} entries, {format_size(report.bytes)}")
    line(f"  checked   {report.nodes} nodes, {report.objects} objects")
    if deep:
        line(f"  read      {format_size(report.bytes_read)}")
    for damage in report.damages:
        state = ", repaired" if damage.repaired else ""
        line(f"{damage.address}: {damage.kind}{state}")
        line(f"  why       {damage.why}")
        if damage.fix:
            line(f"  fix       {damage.fix}")
        line(f"  affects   {damage.affected} entries")
        for path in damage.paths:
            line(f"            {quote_name(path)}")
        if damage.affected > len(damage.paths) == SHOWN_PATHS:
            line("            and more")


def _verdict(report: VersionReport) -> str:
    if not report.damages:
        return "all is well"
    if report.is_refused:
        return f"{len(report.damages)} of the objects could not be read"
    repaired = sum(damage.repaired for damage in report.damages)
    objects = f"{len(report.damages)} damaged object{'' if len(report.damages) == 1 else 's'}"
    return f"{objects}, {repaired} repaired" if repaired else objects


def _as_json(report: VersionReport, deep: bool) -> dict[str, JsonValue]:
    return {
        "handle": report.handle,
        "top_hash": report.top_hash.hex(),
        "sound": report.is_sound,
        "deep": deep,
        "entries": report.entries,
        "bytes": report.bytes,
        "nodes": report.nodes,
        "objects": report.objects,
        "bytes_read": report.bytes_read,
        "damages": [_damage_json(damage) for damage in report.damages],
    }


def _damage_json(damage: Damage) -> dict[str, JsonValue]:
    return {
        "object": damage.address,
        "kind": str(damage.kind),
        "why": damage.why,
        "fix": damage.fix,
        "affected": damage.affected,
        "paths": damage.paths,
        "repaired": damage.repaired,
    }
