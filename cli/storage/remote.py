"""``penstock remote``: give buckets names, and say how each is reached.

A remote lives in the configuration file alone: to add or remove one touches no bucket and no network.
"""

from __future__ import annotations

import os
from contextlib import suppress
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
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import JsonValue
from penstock.cli.params import REMOTE_NAME
from penstock.errors import NotFoundError
from penstock.project.project import Project, find_project
from penstock.project.project_file import PROJECT_FILE
from penstock.project.project_remotes import add_project_remote, remove_project_remote, set_default_remote
from penstock.project.project_trust import ProjectTrust, read_trust

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
    """Give buckets short names, and choose where a project pushes to."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@remote.command(
    cls=Command,
    examples=(
        "penstock remote add demo file:///srv/store",
        "penstock remote add demo ./store                  # a directory below this one",
        "penstock remote add lab s3://lab-data/penstock --endpoint-url https://s3.lab.example --profile lab",
        "penstock remote add open s3://open-data --anonymous --region eu-west-1",
        "penstock remote add nas ssh://me@nas.example/srv/data   # takes penstock[ssh]; gs:// [gcs], az:// [azure]",
        "penstock remote add -d storage s3://lab-data    # the project here pushes there",
    ),
)
@click.argument("name")
@click.argument("url")
@click.option(
    "--endpoint-url", metavar="URL", help="Address of the service, if it is not Amazon's; for Azure, of the account."
)
@click.option("--profile", metavar="NAME", help="AWS profile to take credentials from.")
@click.option("--region", metavar="NAME", help="Region of the bucket.")
@click.option(
    "--addressing-style",
    type=click.Choice(ADDRESSING_STYLES),
    help="Put the bucket name in the path or in the host name.",
)
@click.option("--anonymous", is_flag=True, help="Do not sign requests: for public buckets.")
@click.option("--request-payer", is_flag=True, help="Agree to pay for requests to a requester-pays bucket.")
@click.option("--sse", type=click.Choice(ENCRYPTIONS), help="Ask the server to encrypt what is written.")
@click.option("--sse-kms-key-id", metavar="ID", help="Key for --sse aws:kms.")
@click.option("--deadline", type=float, metavar="SECONDS", help="Time limit for one call, including retries.")
@click.option("--unsafe", is_flag=True, help="Allow writing even if the server may lose versions; see docs/STORES.md.")
@click.option("--force", is_flag=True, help="Replace an existing remote.")
@click.option("-d", "--default", "default", is_flag=True, help="Make it the default remote of the project here.")
@click.option("--project", "of_project", is_flag=True, help="Add it to the penstock.toml of the project here.")
@pass_invocation
def add(
    invocation: Invocation, /, name: str, url: str, force: bool, default: bool, of_project: bool, **options: Any
) -> None:
    """Use NAME as the name of the bucket at URL.

    URL is s3://bucket[/prefix], or a directory: file:///dir or a path; or, with extras, gs://bucket[/prefix],
    az://container[/prefix], ssh://[user@]host[:port]/dir. From then on you can write NAME/dataset as a handle; NAME
    takes precedence over an S3 bucket with the same name. Nothing is created or contacted yet.

    With -d or --project the remote belongs to the project here, and everybody who clones it has it too.
    """
    if default or of_project:
        project = find_project()
        given = {key: value for key, value in options.items() if value is not None and value is not False}
        its = add_project_remote(project, name, url, invocation.settings(), default=default, replace=force, **given)
        path = os.path.join(project.root, PROJECT_FILE)
        if invocation.output.json:
            invocation.output.document({"config": path, "default": default, "trusted": True, **_as_json(its)})
        else:
            invocation.output.line(f"{name} is {its.url}, in {path}{', the default' if default else ''}")
        return
    added = add_remote(name, url, config=invocation.config, replace=force, **options)
    path = str(find_config(invocation.config))
    if invocation.output.json:
        invocation.output.document({"config": path, "default": False, "trusted": True, **_as_json(added)})
    else:
        invocation.output.line(f"{name} is {added.url}, in {path}")


@remote.command("list", cls=Command, examples=("penstock remote list", "penstock remote list --json"))
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the remotes and their options."""
    settings = invocation.settings()
    found = list(remotes(settings).values())
    project: Project | None = None
    with suppress(NotFoundError):
        project = find_project()
    trust = read_trust(project) if project is not None else ProjectTrust()
    theirs = list(project.file.remotes.values()) if project is not None else []
    default = project.file.remote if project is not None else None
    project_config = os.path.join(project.root, PROJECT_FILE) if project is not None else ""
    if invocation.output.json:
        config = str(settings.config_path)
        for each in found:
            invocation.output.record({"config": config, "default": False, "trusted": True, **_as_json(each)})
        for each in theirs:
            facts = {"default": each.name == default, "trusted": trust.knows(each)}
            invocation.output.record({"config": project_config, **facts, **_as_json(each)})
    elif found or theirs:
        rows = [(each.name, each.url, _options_text(each)) for each in found]
        for each in theirs:
            notes = ["project's", "default" if each.name == default else "", "" if trust.knows(each) else "not trusted"]
            rows.append((each.name, each.url, " ".join(filter(None, (_options_text(each), *notes)))))
        invocation.output.table(rows, headers=("NAME", "URL", "OPTIONS"))
    else:
        invocation.output.notice(f"no remotes in {settings.config_path}; penstock remote add NAME URL makes one")


@remote.command(cls=Command, examples=("penstock remote default", "penstock remote default storage"))
@click.argument("name", required=False)
@pass_invocation
def default(invocation: Invocation, name: str | None) -> None:
    """Show the default remote of the project here, or set it to NAME."""
    project = find_project()
    if name is not None:
        set_default_remote(project, name, invocation.settings())
        project = find_project()
    if invocation.output.json:
        invocation.output.document({"default": project.file.remote})
    elif project.file.remote is None:
        invocation.output.notice("the project has no default remote: penstock remote add -d NAME URL")
    else:
        invocation.output.line(project.file.remote)


@remote.command(cls=Command, examples=("penstock remote remove demo",))
@click.argument("name", type=REMOTE_NAME)
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Remove the remote NAME, the project's or yours. The bucket and its contents are not touched."""
    path = str(find_config(invocation.config))
    try:
        project = find_project()
        removed = remove_project_remote(project, name)
        path = os.path.join(project.root, PROJECT_FILE)
    except NotFoundError:
        removed = remove_remote(name, config=invocation.config)
    if invocation.output.json:
        invocation.output.document({"config": path, "default": False, "trusted": True, **_as_json(removed)})
    else:
        invocation.output.line(f"{name} was {removed.url}; it is no longer in {path}")


def _as_json(each: Remote) -> dict[str, JsonValue]:
    return {"name": each.name, **each.settings()}


def _options_text(each: Remote) -> str:
    settings = {key: value for key, value in each.settings().items() if key != "url"}
    return " ".join(key if value is True else f"{key}={value}" for key, value in settings.items())
