"""``penstock lineage``: what a version, or a file of it, was made from, back to the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.api.packages.package_lineage import LineageStep
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE
from penstock.cli.versions import local_time

__all__ = ["lineage"]


@click.command(
    "lineage",
    cls=Command,
    examples=(
        "penstock lineage demo/small",
        "penstock lineage demo/small:v1 2024/cat.jpg",
        "penstock lineage demo/small --json",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("path", default="")
@pass_invocation
def lineage(invocation: Invocation, handle: Handle, path: str) -> None:
    """Show what a version, or a file PATH in it, was made from, step by step back to the source.

    Versions made by a transform, a sample or a split record the version they came from and how: the function and its
    hash, parameters, and library versions. Sources that no longer exist are marked.
    """
    with Package(handle, invocation.settings()) as package:
        steps = package.lineage(path)
    if invocation.output.json:
        for step in steps:
            invocation.output.record(asdict(step))
        return
    for step in steps:
        _tell(invocation, step)


def _tell(invocation: Invocation, step: LineageStep) -> None:
    line = invocation.output.line
    line(f"{step.address.rstrip('/')}/{step.dataset}{f'  {step.path}' if step.path else ''}")
    if step.top_hash:
        line(f"  top hash    {step.top_hash}")
    if step.commit:
        line(f"  commit      {step.commit}")
    if step.missing:
        line(f"  not to be read: {step.missing}")
    if step.author is not None:
        line(f"  made by     {step.author}, {local_time(step.time or '')}{f': {step.message}' if step.message else ''}")
    if not step.operation:
        return
    line(f"  {step.operation} of")
    for name, table in (("function", step.function), ("parameters", step.parameters), ("libraries", step.libraries)):
        if table:
            line(f"    {name:<11} {_words(table)}")


def _words(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in table.items())
