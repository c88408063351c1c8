"""``penstock key``: keys of a server, made, listed and revoked where its state is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from penstock.api.handles import Handle, dataset_alone
from penstock.cli.commands import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.params import HANDLE

from .extra import catalogue_extra

if TYPE_CHECKING:
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
    from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
    from penstock.catalogue.orm.dataset import DatasetScope

    with _state(state) as database:
        from penstock.catalogue.state.key_table import KeyTable

        dataset = ""
        if handle is not None:
            alone = dataset_alone(handle)
            found = BucketCatalogue(alone.bucket, invocation.settings())
            with closing(found):
                dataset = found.info(alone.dataset or "").dataset_hash
        wanted = [DatasetScope[each] for each in scopes or (("READ", "WRITE") if admin else ("READ",))]
        made = KeyTable(database).create(title, wanted, dataset, lifetime=expires, is_admin=admin)
    output = invocation.output
    if output.json:
        output.document({"id": made.api_key, "key": made.secret, "dataset_hash": made.dataset_hash})
    else:
        output.line(made.secret)
        output.notice("it is kept nowhere: who has it uses it, for example as PENSTOCK_KEY")


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
