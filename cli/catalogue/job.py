"""``penstock job``: how long work of the catalogue is doing, on a server or on this machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from penstock.api.handles import Handle
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

from .meant_dataset import opened_dataset

if TYPE_CHECKING:
    from penstock.catalogue.client import Dataset

__all__ = ["job", "result_lines", "waited"]

_STATE = click.option("--state", metavar="DIR", help="Directory with the state of jobs that run without a server.")


@click.group(cls=LazyGroup, examples=("penstock job list demo/films", "penstock job show demo/films 3"))
def job() -> None:
    """Show or cancel re-encoding and other long-running jobs."""


@job.command("list", cls=Command, examples=("penstock job list demo/films",))
@click.argument("handle", type=HANDLE)
@_STATE
@pass_invocation
def list_(invocation: Invocation, handle: Handle, state: str | None) -> None:
    """List the newest jobs of this user or key."""
    with opened_dataset(invocation, handle, state=state) as dataset:
        found = dataset.tasks()
    if invocation.output.json:
        for each in found:
            invocation.output.record(dict(each))
        return
    rows = [
        (
            str(each["task"]),
            str(each["kind"]),
            str(each["status"]),
            f"{float(each['progress']):.0%}",
            f"{dt.datetime.fromtimestamp(float(each['created']), dt.UTC):%Y-%m-%d %H:%M}",
            str(each["error"]),
        )
        for each in found
    ]
    invocation.output.table(rows, headers=("task", "kind", "status", "done", "begun", "error"), right={0, 3})


@job.command(cls=Command, examples=("penstock job show demo/films 3", "penstock job show demo/films 3 --wait"))
@click.argument("handle", type=HANDLE)
@click.argument("task", type=click.IntRange(1))
@click.option("--wait", is_flag=True, help="Wait until the job is done; resume it if it was interrupted.")
@_STATE
@pass_invocation
def show(invocation: Invocation, handle: Handle, task: int, wait: bool, state: str | None) -> None:
    """Show the progress and the result of a job."""
    with opened_dataset(invocation, handle, state=state) as dataset:
        shown = dataset.task(task) if not wait else waited(invocation, dataset, task)
    if invocation.output.json:
        invocation.output.document(dict(shown))
        return
    invocation.output.line(f"{shown['kind']} {shown['task']}: {shown['status']}, {float(shown['progress']):.0%}")
    for line in result_lines(shown):
        invocation.output.line(line)


def waited(invocation: Invocation, dataset: Dataset, task: int) -> Mapping[str, Any]:
    """Wait for a job with its progress shown, and return it."""
    with invocation.progress() as progress:
        return dataset.wait_for_task(task, progress=progress)


def result_lines(shown: Mapping[str, Any]) -> list[str]:
    """Return what came of a job, a line for each thing."""
    result = shown["result"] or {}
    lines = [f"error: {shown['error']}"] if shown["error"] else []
    lines += [
        f"{made['source']} -> {made['data_hash']} {made['bucket_path']} {made['signed_url'] or ''}".rstrip()
        for made in result.get("videos", ())
    ]
    if "indexed" in result:
        lines += [f"{result['indexed']} new rows, {len(result['unknown'])} files that are none"]
    lines += [f"added {uid}" for uid in (*result.get("added", ()), *result.get("rows", ()))]
    lines += [f"there already: {uid}" for uid in result.get("present", ())]
    lines += [f"{what}: {why}" for what, why in (result.get("errors") or {}).items()]
    return lines


@job.command(cls=Command, examples=("penstock job cancel demo/films 3",))
@click.argument("handle", type=HANDLE)
@click.argument("task", type=click.IntRange(1))
@_STATE
@pass_invocation
def cancel(invocation: Invocation, handle: Handle, task: int, state: str | None) -> None:
    """Cancel a job; results so far are kept."""
    with opened_dataset(invocation, handle, state=state) as dataset:
        dataset.cancel_task(task)
    if invocation.output.json:
        invocation.output.document({"cancelled": task})
    else:
        invocation.output.line(f"job {task} ends")
