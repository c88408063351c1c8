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

_STATE = click.option("--state", metavar="DIR", help="Directory where the server keeps its keys.")
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
    """Create, list and revoke keys that give access to datasets on a server."""


@key.command(
    cls=Command,
    examples=(
        "penstock key create --admin --title mine",
        'penstock key create demo/photos --scope READ --expires 30d --title "for Bea"',
    ),
)
@click.argument("handle", type=HANDLE, required=False)
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["READ", "WRITE"]), help="READ by default.")
@click.option("--title", default="", metavar="TEXT", help="What the key is for.")
@click.option(
    "--expires", callback=_seconds, metavar="TIME", help="Lifetime, such as 30d, 12h or 15m (default: unlimited)."
)
@click.option("--admin", is_flag=True, help="Also allow creating datasets and keys.")
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
    """Create a key for one dataset or all datasets of a server, and print it. It is not shown again."""
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
@click.option("--title", default="", metavar="TEXT", help="Whose key it is.")
@click.option("--admin", is_flag=True, help="Also allow creating datasets and keys.")
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
    """Accept requests signed with an SSH key; FILE is the public key."""
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
@click.option("--expires", default="1h", callback=_seconds, metavar="TIME", help="Lifetime, from 15m to 12h.")
@pass_invocation
def credentials(invocation: Invocation, url: str, expires: float) -> None:
    """Get temporary S3 credentials for reading a bucket from a server, using PENSTOCK_KEY.

    They are printed as shell variables that every S3 client understands.
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
    """List all valid keys."""
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
    """Revoke a key."""
    with _state(state) as database:
        from penstock.catalogue.state.key_table import KeyTable

        KeyTable(database).revoke(name)
    if invocation.output.json:
        invocation.output.document({"revoked": name})
    else:
        invocation.output.line(f"{name} opens nothing any more")
