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
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    default=8800,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--url", default="", metavar="URL", help="Public address, if the server is behind a proxy.")
@click.option("--state", metavar="DIR", help="Directory for keys, sessions and jobs.")
@click.option("--trust-loopback", is_flag=True, help="Treat everybody on this machine as an admin, without a key.")
@click.option(
    "--integration",
    multiple=True,
    metavar="REMOTE",
    help="Allow keys with write access to register data from this remote.",
)
@click.option("--role", default="", metavar="ARN", help="Hand out read credentials of this role of the store.")
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Number of jobs that run at the same time.",
)
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
    """Serve a catalogue of the datasets in buckets: web pages for people, and an API for programs.

    The server runs until SIGTERM or Ctrl-C. Each request is logged on standard error as a line of JSON.
    `penstock key create --admin` creates the first key.
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
