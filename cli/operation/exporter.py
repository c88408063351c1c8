"""``penstock exporter``: all mounts of the machine for Prometheus."""

from __future__ import annotations

import signal
import threading

import click

from penstock.api.mounts.metrics import serve_metrics
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation

__all__ = ["exporter"]


class _AddressType(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``; an IPv6 address stands in brackets."""

    name = "address"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no address: write it as 127.0.0.1:9402", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


@click.command(
    cls=Command,
    examples=("penstock exporter", "penstock exporter --listen 0.0.0.0:9402"),
)
@click.option(
    "--listen",
    type=_AddressType(),
    default="127.0.0.1:9402",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on; port 0 picks a free one.",
)
@pass_invocation
def exporter(invocation: Invocation, listen: tuple[str, int]) -> None:
    """Serve the metrics of your mounts on this machine to Prometheus, at /metrics.

    You see your own mounts; root sees those of root. A mount that does not answer is reported with penstock_up 0. The
    exporter runs until SIGTERM or Ctrl-C, and notifies systemd when it is ready (Type=notify).
    """
    output = invocation.output
    host, port = listen
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())

    def ready(bound: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{bound}/metrics"
        if output.json:
            output.document({"url": url})
        else:
            output.line(f"metrics are at {url}")
        output.finish()

    serve_metrics(host, port, ready, over)
