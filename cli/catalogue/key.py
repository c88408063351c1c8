"""``penstock key``: keys of a server, made, listed and revoked where its state is kept."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from penstock.api.handles import Handle, dataset_alone
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

from .extra import catalogue_extra

if TYPE_CHECKING:
    from penstock.catalogue.orm.dataset import DatasetScope
    from penstock.catalogue.state.database import Database

__all__ = ["key"]

_STATE = click.option("--state", metavar="DIR", help="Where the server keeps its keys.")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@contextmanager
def _state(folder: str | None) -> Iterator[Database]:
    with catalogue_extra():
        from penstock.catalogue.state.database import open_database
    with closing(open_database(folder)) as database:
        yield database


def _hash_of(invocation: Invocation, handle: Handle | None) -> str:
    """Return the hash of a dataset that is there; of none, an empty one."""
    if handle is None:
        return ""
    from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue

    alone = dataset_alone(handle)
    with closing(BucketCatalogue(alone.bucket, invocation.settings())) as found:
        return found.info(alone.dataset or "").dataset_hash


def _wanted(scopes: tuple[str, ...], *, admin: bool) -> list[DatasetScope]:
    from penstock.catalogue.orm.dataset import DatasetScope

    return [DatasetScope[each] for each in scopes or (("READ", "WRITE") if admin else ("READ",))]


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdigit():
        raise click.BadParameter(f"{text!r} is no time: write 30d, 12h or 15m")
    return int(number) * _UNITS[unit]


@click.group(cls=LazyGroup, examples=("penstock key create --admin --title mine", "penstock key list"))
def key() -> None:
    """Make, list and revoke keys that open datasets on a server."""


@key.command(
    cls=Command,
    examples=(
        "penstock key create --admin --title mine",
        'penstock key create demo/photos --scope READ --expires 30d --title "for Bea"',
    ),
)
@click.argument("handle", type=HANDLE, required=False)
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["READ", "WRITE"]), help="READ by default.")
@click.option("--title", default="", metavar="TEXT", help="What it is for.")
@click.option("--expires", callback=_seconds, metavar="TIME", help="30d, 12h, 15m: never by default.")
@click.option("--admin", is_flag=True, help="It makes datasets and keys, and reads and writes.")
@_STATE
@pass_invocation
def create(
    invocation: Invocation,
    handle: Handle | None,
    scopes: tuple[str, ...],
    title: str,
    expires: float | None,
    admin: bool,
    state: str | None,
) -> None:
    """Make a key, of one dataset or of all that a server has, and print it: this once."""
    with _state(state) as database:
        from penstock.catalogue.state.key_table import KeyTable

        dataset = _hash_of(invocation, handle)
        wanted = _wanted(scopes, admin=admin)
        made = KeyTable(database).create(title, wanted, dataset, lifetime=expires, is_admin=admin)
    output = invocation.output
    if output.json:
        output.document({"id": made.api_key, "key": made.secret, "dataset_hash": made.dataset_hash})
    else:
        output.line(made.secret)
        output.notice("it is kept nowhere: who has it uses it, for example as PENSTOCK_KEY")


@key.command(
    "add-ssh",
    cls=Command,
    examples=(
        'penstock key add-ssh ~/.ssh/id_ed25519.pub --admin --title "my laptop"',
        "penstock key add-ssh bea.pub demo/photos --scope READ",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("handle", type=HANDLE, required=False)
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["READ", "WRITE"]), help="READ by default.")
@click.option("--title", default="", metavar="TEXT", help="Whose it is.")
@click.option("--admin", is_flag=True, help="They make datasets and keys, and read and write.")
@_STATE
@pass_invocation
def add_ssh(
    invocation: Invocation,
    file: str,
    handle: Handle | None,
    scopes: tuple[str, ...],
    title: str,
    admin: bool,
    state: str | None,
) -> None:
    """Let whoever has the private half of an SSH key sign requests; FILE is the public one."""
    with _state(state) as database:
        from penstock.catalogue.state.signed_request import SshKeyTable

        with open(file, encoding="utf-8", errors="replace") as stream:
            public = stream.read(10_000)
        dataset = _hash_of(invocation, handle)
        name = SshKeyTable(database).register(public, title, _wanted(scopes, admin=admin), dataset, is_admin=admin)
    if invocation.output.json:
        invocation.output.document({"fingerprint": name, "dataset_hash": dataset})
    else:
        invocation.output.line(name)


@key.command(
    cls=Command,
    examples=("penstock key credentials https://data.example.org/demo", 'eval "$(penstock key credentials URL)"'),
)
@click.argument("url")
@click.option("--expires", default="1h", callback=_seconds, metavar="TIME", help="15m to 12h.")
@pass_invocation
def credentials(invocation: Invocation, url: str, expires: float) -> None:
    """Ask a server for credentials of its store that read a bucket for a while, with PENSTOCK_KEY.

    What is printed is for a shell: variables that every S3 client knows.
    """
    with catalogue_extra():
        from penstock.catalogue.client import UserClient
    base, _, bucket = url.rstrip("/").rpartition("/")
    known = invocation.settings().locate_bucket(url.rstrip("/"))[1].key
    with closing(UserClient.create_with_key(known or "", url=base)) as client:
        told = client.storage_credentials(bucket, round(expires))
    if invocation.output.json:
        invocation.output.document(told)
        return
    lines = {
        "AWS_ACCESS_KEY_ID": told["access_key"],
        "AWS_SECRET_ACCESS_KEY": told["secret_key"],
        "AWS_SESSION_TOKEN": told["session_token"],
        "AWS_ENDPOINT_URL": told["endpoint"],
        "AWS_DEFAULT_REGION": told["region"],
    }
    for name, value in lines.items():
        if value:
            invocation.output.line(f"export {name}={shlex.quote(value)}")
    invocation.output.notice(f"they read {told['url']} until {told['expires']}")


@key.command("list", cls=Command, examples=("penstock key list",))
@_STATE
@pass_invocation
def list_(invocation: Invocation, state: str | None) -> None:
    """List the keys that are valid."""
    with _state(state) as database:
        from penstock.catalogue.state.key_table import KeyTable

        found = KeyTable(database).list()
    output = invocation.output
    if output.json:
        for each in found:
            output.record(
                {
                    "id": each.api_key,
                    "title": each.title,
                    "scopes": [scope.name for scope in each.scopes],
                    "dataset_hash": each.dataset_hash,
                    "is_admin": each.is_admin,
                    "expires": each.expires_at.isoformat() if each.expires_at else None,
                }
            )
        return
    rows = [
        (
            each.api_key,
            each.dataset_hash or "all",
            "+".join(scope.name for scope in each.scopes) + ("+ADMIN" if each.is_admin else ""),
            f"{each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "never",
            each.title,
        )
        for each in found
    ]
    output.table(rows, headers=("key", "dataset", "scopes", "expires", "title"))


@key.command(cls=Command, examples=("penstock key revoke 0123456789abcdef",))
@click.argument("name", metavar="KEY")
@_STATE
@pass_invocation
def revoke(invocation: Invocation, name: str, state: str | None) -> None:
    """Let a key open nothing from now on."""
    with _state(state) as database:
        from penstock.catalogue.state.key_table import KeyTable

        KeyTable(database).revoke(name)
    if invocation.output.json:
        invocation.output.document({"revoked": name})
    else:
        invocation.output.line(f"{name} opens nothing any more")
