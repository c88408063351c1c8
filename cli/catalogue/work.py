"""``penstock reencode`` and ``penstock register``: long work of the catalogue, waited for or left to go on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import click

from penstock.api.handles import Handle
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE, REMOTE_NAME
from penstock.errors import PenstockError

from .job import result_lines, waited
from .meant_dataset import opened_dataset

__all__ = ["reencode", "register"]

_STATE = click.option("--state", metavar="DIR", help="Directory with the state of jobs that run without a server.")


@click.command(cls=Command, examples=("penstock reencode demo/films HASH", "penstock rows demo/films --type video"))
@click.argument("handle", type=HANDLE)
@click.argument("hashes", nargs=-1, required=True, metavar="HASH...")
@_STATE
@pass_invocation
def reencode(invocation: Invocation, handle: Handle, hashes: tuple[str, ...], state: str | None) -> None:
    """Re-encode videos, named by their data hashes, as H.264 with a constant rate and exact frame numbers in browsers.

    Each becomes a new row beside its source, with its sound. Ended early, `penstock job show --wait` goes on with it.
    """
    with opened_dataset(invocation, handle, state=state) as dataset:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            task = dataset.re_encode_data(hashes)
        for each in said:
            invocation.output.notice(str(each.message))
        _told(invocation, waited(invocation, dataset, task))


def _told(invocation: Invocation, shown: Mapping[str, Any]) -> None:
    if shown["status"] != "DONE":
        lines = result_lines({**shown, "error": ""})
        raise PenstockError(shown["error"] or "nothing was done", why="; ".join(lines[:20]))
    if invocation.output.json:
        invocation.output.document(dict(shown))
        return
    for line in result_lines(shown):
        invocation.output.line(line)


@click.command(
    cls=Command,
    examples=(
        "penstock register demo/films films.json --remote lab",
        "penstock register demo/films films.json --remote lab --ignore-errors",
    ),
)
@click.argument("handle", type=HANDLE)
@click.argument("spec", type=click.Path(exists=True, dir_okay=False), metavar="JSON")
@click.option("--remote", required=True, metavar="NAME", type=REMOTE_NAME, help="Remote that holds the objects.")
@click.option("--ignore-errors", is_flag=True, help="Register valid objects, and list the others.")
@_STATE
@pass_invocation
def register(
    invocation: Invocation, handle: Handle, spec: str, remote: str, ignore_errors: bool, state: str | None
) -> None:
    """Register objects as data rows without copying them; at most 2 MiB of each are read.

    JSON is {"videos": [{"objectUrl": "s3://bucket/key", "title": "...", "clientMetadata": {}}], "images": [...],
    "image_groups": [{"title": "...", "objectUrl_0": "..."}], "skip_duplicate_urls": true}.
    """
    with opened_dataset(invocation, handle, state=state) as dataset:
        task = dataset.add_private_data_to_dataset_start(remote, spec, ignore_errors)
        _told(invocation, waited(invocation, dataset, task))
