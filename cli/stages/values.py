"""``penstock metrics`` and ``penstock params``: numbers of stages, and how they differ between versions."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import UsageError
from penstock.project.project import find_project
from penstock.project.stages.findings.documents import Value
from penstock.project.stages.reports.revisions import ProjectRevision, Revisions
from penstock.project.stages.reports.stage_values import ValueDifference, differences, metrics_of, parameters_of

__all__ = ["metrics", "params"]


@click.group(cls=LazyGroup, examples=("penstock metrics show", "penstock metrics diff main"))
def metrics() -> None:
    """Show the metrics that stages wrote, or compare them between revisions."""


@click.group(cls=LazyGroup, examples=("penstock params diff", "penstock params diff v1 v2"))
def params() -> None:
    """Compare the parameters of stages between revisions."""


@metrics.command(cls=Command, examples=("penstock metrics show", "penstock metrics show --rev v1 scores.json"))
@click.argument("files", nargs=-1, metavar="[FILE]…", type=click.Path())
@click.option(
    "--rev", "revs", multiple=True, metavar="REV", help="Show the values at this git revision; can be repeated."
)
@pass_invocation
def show(invocation: Invocation, files: tuple[str, ...], revs: tuple[str, ...]) -> None:
    """Show the metrics of all stages, or from FILEs (JSON, YAML, TOML or CSV)."""
    output = invocation.output
    with _revisions(invocation) as revisions:
        shown = [revisions.at(rev) for rev in revs] or [revisions.work_tree()]
        found = [(each, metrics_of(each, _from_root(files))) for each in shown]
    if output.json:
        for revision, values in found:
            told = {file: {key: _plain(each) for key, each in keys.items()} for file, keys in values.items()}
            output.record({"revision": revision.name, "commit": revision.commit, "metrics": told})
        return
    rows = [
        (*([revision.name] if revs else []), file, key, _text(value))
        for revision, values in found
        for file, keys in values.items()
        for key, value in keys.items()
    ]
    output.table(rows)
    if not rows:
        output.notice("there are no metrics: a stage makes them with --metric FILE")


@metrics.command("diff", cls=Command, examples=("penstock metrics diff", "penstock metrics diff main HEAD --all"))
@click.argument("old", default="HEAD")
@click.argument("new", required=False)
@click.option("--all", "every", is_flag=True, help="Also show equal values.")
@pass_invocation
def metrics_diff(invocation: Invocation, old: str, new: str | None, every: bool) -> None:
    """Compare metrics between OLD (HEAD) and NEW (the work tree). The exit code is 1 if any differ."""
    with _revisions(invocation) as revisions:
        before, after = _two(revisions, old, new)
        _tell(invocation, differences(metrics_of(before), metrics_of(after), every=every))


@params.command("diff", cls=Command, examples=("penstock params diff", "penstock params diff main HEAD"))
@click.argument("old", default="HEAD")
@click.argument("new", required=False)
@click.option("--all", "every", is_flag=True, help="Also show equal values.")
@pass_invocation
def params_diff(invocation: Invocation, old: str, new: str | None, every: bool) -> None:
    """Compare parameters between OLD (HEAD) and NEW (the work tree). The exit code is 1 if any differ."""
    with _revisions(invocation) as revisions:
        before, after = _two(revisions, old, new)
        _tell(invocation, differences(parameters_of(before), parameters_of(after), every=every))


@contextmanager
def _revisions(invocation: Invocation) -> Iterator[Revisions]:
    with closing(Revisions(find_project(), invocation.settings)) as revisions:
        yield revisions


def _two(revisions: Revisions, old: str, new: str | None) -> tuple[ProjectRevision, ProjectRevision]:
    return revisions.at(old), revisions.at(new) if new is not None else revisions.work_tree()


def _from_root(files: tuple[str, ...]) -> list[str]:
    project = find_project()
    found = [project.path_of(each) for each in files]
    for given, path in zip(files, found, strict=True):
        if path in ("", ".") or os.path.isdir(given):
            raise UsageError(f"{given!r} is no file")
    return found


def _tell(invocation: Invocation, found: list[ValueDifference]) -> None:
    output = invocation.output
    if output.json:
        for each in found:
            output.record({name: _plain(value) for name, value in each._asdict().items()})
    else:
        rows = [
            (each.file, each.key, _text(each.old), _text(each.new), f"{each.change:+.6g}" if each.change else "")
            for each in found
        ]
        if rows:
            output.table(rows, headers=("file", "key", "old", "new", "change"), right=(4,))
        else:
            output.notice("No changes")
    if any(each.old != each.new for each in found):
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _plain(value: Value) -> Value:
    """Return a number that JSON has no form for as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
