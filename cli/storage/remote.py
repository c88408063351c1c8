"""``penstock remote``: give buckets names, and say how each is reached.

A remote lives in the configuration file alone: to add or remove one touches no bucket and no network.
"""

from __future__ import annotations

from typing import Any

import click

from penstock.api.settings import (
    ADDRESSING_STYLES,
    ENCRYPTIONS,
    Remote,
    add_remote,
    find_config,
    remotes,
    remove_remote,
)
from penstock.cli.commands import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import JsonValue
from penstock.cli.params import complete_remote_names

__all__ = ["remote"]


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    examples=(
        "penstock remote add demo file:///srv/store",
        "penstock remote add lab s3://lab-data --endpoint-url https://s3.lab.example --profile lab",
        "penstock remote list",
    ),
)
@click.pass_context
def remote(context: click.Context) -> None:
    """Give buckets names: add, list, remove."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@remote.command(
    cls=Command,
    examples=(
        "penstock remote add demo file:///srv/store",
        "penstock remote add demo ./store                  # a directory below this one",
        "penstock remote add lab s3://lab-data/penstock --endpoint-url https://s3.lab.example --profile lab",
        "penstock remote add open s3://open-data --anonymous --region eu-west-1",
    ),
)
@click.argument("name")
@click.argument("url")
@click.option("--endpoint-url", metavar="URL", help="Where the S3 service is, when it is not Amazon's.")
@click.option("--profile", metavar="NAME", help="Profile in the AWS configuration to take credentials from.")
@click.option("--region", metavar="NAME", help="Region of the bucket.")
@click.option("--addressing-style", type=click.Choice(ADDRESSING_STYLES), help="Where the bucket's name goes.")
@click.option("--anonymous", is_flag=True, help="Do not sign requests: for public buckets.")
@click.option("--request-payer", is_flag=True, help="Accept to pay for requests to a requester-pays bucket.")
@click.option("--sse", type=click.Choice(ENCRYPTIONS), help="Have the server encrypt what is written.")
@click.option("--sse-kms-key-id", metavar="ID", help="Key for --sse aws:kms.")
@click.option("--deadline", type=float, metavar="SECONDS", help="Longest that one call may take, with its retries.")
@click.option("--unsafe", is_flag=True, help="Write to it even if it may lose versions; see docs/STORES.md.")
@click.option("--force", is_flag=True, help="Replace a remote of that name.")
@pass_invocation
def add(invocation: Invocation, /, name: str, url: str, force: bool, **options: Any) -> None:
    """Let NAME stand for the bucket at URL.

    URL is s3://bucket[/prefix], or a directory: file:///dir or a path. From then on NAME/dataset is a handle, and
    NAME hides an S3 bucket that is called the same. Nothing is created or contacted yet.
    """
    added = add_remote(name, url, config=invocation.config, replace=force, **options)
    path = find_config(invocation.config)
    if invocation.output.json:
        invocation.output.document({"config": str(path), **_as_json(added)})
    else:
        invocation.output.line(f"{name} is {added.url}, in {path}")


@remote.command("list", cls=Command, examples=("penstock remote list", "penstock remote list --json"))
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the remotes and how each is reached."""
    settings = invocation.settings()
    found = remotes(settings).values()
    if invocation.output.json:
        invocation.output.document({"config": str(settings.config_path), "remotes": [_as_json(each) for each in found]})
    elif found:
        invocation.output.table(
            ((each.name, each.url, _options_text(each)) for each in found), headers=("NAME", "URL", "OPTIONS")
        )
    else:
        invocation.output.notice(f"no remotes in {settings.config_path}; penstock remote add NAME URL makes one")


@remote.command(cls=Command, examples=("penstock remote remove demo",))
@click.argument("name", shell_complete=complete_remote_names)
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Forget the remote NAME. The bucket and what is in it stay."""
    removed = remove_remote(name, config=invocation.config)
    path = find_config(invocation.config)
    if invocation.output.json:
        invocation.output.document({"config": str(path), **_as_json(removed)})
    else:
        invocation.output.line(f"{name} was {removed.url}; it is no longer in {path}")


def _as_json(each: Remote) -> dict[str, JsonValue]:
    return {"name": each.name, **each.settings()}


def _options_text(each: Remote) -> str:
    settings = {key: value for key, value in each.settings().items() if key != "url"}
    return " ".join(key if value is True else f"{key}={value}" for key, value in settings.items())
