"""``penstock find`` and ``penstock validate``: files of a version by their metadata, and what is wrong with them."""

from __future__ import annotations

import click

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.list_limit import at_most
from penstock.cli.params import HANDLE
from penstock.cli.text import quote_name

from .browse import entry_record

__all__ = ["find", "validate"]


def _package(invocation: Invocation, handle: Handle) -> Package:
    return Package(Handle(handle.bucket, handle.dataset, handle.ref), invocation.settings())


@click.command(
    cls=Command,
    examples=(
        "penstock find demo/photos --where 'label == \"cat\" and size > 1MB'",
        "penstock find demo/photos:v1 2024 --where 'camera.iso >= 800 and not (name like \"*.tif\")' --json",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("prefix", default="")
@click.option("--where", metavar="EXPRESSION", help="Only files for which the expression is true.")
@click.option("--all", "every", is_flag=True, help="List even more than 10,000,000 files.")
@pass_invocation
def find(invocation: Invocation, handle: Handle, prefix: str, where: str | None, every: bool) -> None:
    r"""Find files of a version, at and below PREFIX, by an expression over their metadata.

    \b
    == != < <= > >=        compare numbers or texts; == and != any values
    VALUE in LIST          [a, b], or a field that is a list; or a text in a text
    FIELD like "*.jpg"     exists FIELD         and, or, not, ( )

    A field is path, name, size, hash, or a metadata field: label, camera.iso, boxes.0, meta.size, meta."two words".
    You can write sizes as 1MB. Naming a field that no file has is an error.
    """
    below = "/".join(filter(None, (handle.subdir, prefix.strip("/"))))
    with _package(invocation, handle) as package:
        found = at_most(package.filter(below, where=where), every=every, fix="--all lists every one.")
        for entry in found:
            if invocation.output.json:
                invocation.output.record(entry_record(entry, long=True))
            else:
                invocation.output.line(quote_name(entry.key))


@click.command(
    cls=Command,
    examples=(
        "penstock validate demo/photos --schema label.schema.json",
        "penstock validate demo/photos:v1 --rules rules.toml --json",
    ),
)
@click.argument("handle", type=HANDLE)
@click.option(
    "--schema", type=click.Path(), metavar="FILE", help="JSON Schema that the metadata of each file must match."
)
@click.option(
    "--rules", type=click.Path(), metavar="FILE", help="Rules about folders, types, counts and pairs (JSON or TOML)."
)
@pass_invocation
def validate(invocation: Invocation, handle: Handle, schema: str | None, rules: str | None) -> None:
    """Check a version against a metadata schema or rules, and list the problems by path.

    File types are detected from the first bytes of each file. The exit code is 1 if there are problems.
    """
    count = 0
    with _package(invocation, handle) as package:
        for problem in package.validate(schema, rules, prefix=handle.subdir):
            count += 1
            if invocation.output.json:
                invocation.output.record(problem._asdict())
            else:
                place = f"{quote_name(problem.path)}: " if problem.path else ""
                invocation.output.line(f"{place}{problem.what} ({problem.rule})")
    if count:
        invocation.output.notice(f"{count} problem{'' if count == 1 else 's'}")
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    invocation.output.notice("all is as it should be")
