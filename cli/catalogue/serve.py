"""``penstock serve``: the catalogue of one or more buckets over HTTP."""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation

from .extra import catalogue_extra

__all__ = ["serve_"]


@click.command(
    "serve",
    cls=Command,
    examples=("penstock serve demo --trust-loopback", "penstock serve lab demo --host 0.0.0.0 --port 8800"),
)
@click.argument("buckets", nargs=-1, required=True, metavar="BUCKET...")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=8800, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--url", default="", metavar="URL", help="How users reach it, behind a proxy.")
@click.option("--state", metavar="DIR", help="Where keys, sessions and jobs are kept.")
@click.option("--trust-loopback", is_flag=True, help="Whoever is on this machine is an admin, without a key.")
@click.option("--integration", multiple=True, metavar="REMOTE", help="Keys that write may register data from it.")
@click.option("--role", default="", metavar="ARN", help="Give out credentials of this role of the store, to read.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Jobs that run at once.")
@pass_invocation
def serve_(
    invocation: Invocation,
    buckets: tuple[str, ...],
    host: str,
    port: int,
    url: str,
    state: str | None,
    trust_loopback: bool,
    integration: tuple[str, ...],
    role: str,
    workers: int,
) -> None:
    """Serve the catalogue of buckets: pages for people, and an interface for programs.

    It runs until it is ended (SIGTERM, Ctrl-C). Requests are logged on standard error, a line of JSON each.
    `penstock key create --admin` makes the first key.
    """
    output = invocation.output

    def ready(address: str) -> None:
        if output.json:
            output.document({"url": url or address})
        else:
            output.line(f"serving {', '.join(buckets)} at {url or address}")
        output.finish()

    with catalogue_extra():
        from penstock.catalogue.serving import serve

    serve(
        buckets,
        invocation.settings(),
        host=host,
        port=port,
        address=url,
        state=state,
        is_trusting=trust_loopback,
        integrations=integration,
        workers=workers,
        role=role,
        ready=ready,
    )
