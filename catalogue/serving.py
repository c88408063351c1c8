"""A server, put together and run: buckets, state, application, pages, signals.

`make_context` and `make_server` are for whoever runs it within a program; `serve` runs until SIGTERM or SIGINT, lets
requests that are under way end, and closes what is open.
"""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

import uvicorn
from fastapi import FastAPI

from penstock.api.settings import Settings
from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogues
from penstock.catalogue.jobs.job_work import make_workers
from penstock.catalogue.page.page_context import page_life
from penstock.catalogue.page.page_routes import page_routers, plain_routes
from penstock.catalogue.server.app import make_app
from penstock.catalogue.server.context import ServerContext
from penstock.catalogue.state.database import Database, open_database
from penstock.catalogue.state.key_table import KeyTable
from penstock.catalogue.state.reader_lease_table import ReaderLeaseTable
from penstock.catalogue.state.session_table import SessionTable
from penstock.catalogue.state.signing_secret import SigningSecret
from penstock.catalogue.state.upload_table import UploadTable
from penstock.errors import NotFoundError, UsageError

__all__ = ["listening_socket", "make_context", "make_server", "serve"]

_LAST = 10
"""Seconds for requests that are under way when the server is to end."""


def make_context(
    buckets: Sequence[str],
    settings: Settings,
    database: Database,
    *,
    host: str = "127.0.0.1",
    address: str = "",
    is_trusting: bool = False,
    integrations: Sequence[str] = (),
    workers: int = 2,
    role: str = "",
    prepares: bool = False,
) -> ServerContext:
    """Return what the requests of a server share. UsageError: no bucket; trusting where others reach it.

    `integrations` are remotes that every key that writes may register data from; `workers`: jobs that run at once;
    `role`: of the store, for whoever asks for credentials; `prepares`: see `ServerContext`.
    """
    if not buckets:
        raise UsageError("no bucket to serve", fix="Name one: penstock serve BUCKET")
    if is_trusting and not _is_loopback(host):
        raise UsageError(
            f"nobody is trusted at {host}",
            why="others than this machine reach that address",
            fix="Serve on 127.0.0.1, or have users sign in: leave --trust-loopback out.",
        )
    for name in integrations:
        if name not in settings.remotes:
            raise NotFoundError(f"no remote {name!r}", fix="`penstock remote list` shows those that there are.")
    keys = KeyTable(database)
    catalogues = BucketCatalogues(buckets, settings)
    return ServerContext(
        catalogues,
        database,
        keys,
        SessionTable(database, keys),
        SigningSecret(database),
        is_trusting,
        frozenset({"localhost", "127.0.0.1", "::1", host}),
        UploadTable(database),
        make_workers(catalogues, database, workers),
        ReaderLeaseTable(database),
        address.rstrip("/"),
        frozenset(integrations),
        role,
        prepares,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_server(context: ServerContext, host: str, port: int) -> uvicorn.Server:
    """Return the server, which `run` runs; `should_exit` ends it."""
    app: FastAPI = make_app(context, page_routers(), page_life, plain_routes())
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST,
        timeout_keep_alive=30,
        limit_concurrency=512,
        proxy_headers=False,  # whom to believe about addresses is not known here
        ws="none",
    )
    return uvicorn.Server(config)


def listening_socket(server: uvicorn.Server) -> socket.socket:
    """Return the socket of a server: from here on who connects is answered, if not at once.

    What is written is sent at once, on each of its connections: head and body of an answer are written one after the
    other, and the second would wait until the client has said that it has the first, which it does after 40 ms.
    """
    bound = server.config.bind_socket()
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound.listen()
    return bound


def serve(
    buckets: Sequence[str],
    settings: Settings,
    *,
    host: str,
    port: int,
    address: str = "",
    state: str | None = None,
    is_trusting: bool = False,
    integrations: Sequence[str] = (),
    workers: int = 2,
    role: str = "",
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve buckets until the process is asked to end; `ready` is told the address once it answers."""
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(logging.Formatter("%(message)s"))
    requests = logging.getLogger("penstock.catalogue.requests")
    requests.addHandler(log)
    requests.setLevel(logging.INFO)
    requests.propagate = False
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(state)))
        context = make_context(
            buckets,
            settings,
            database,
            host=host,
            address=address,
            is_trusting=is_trusting,
            integrations=integrations,
            workers=workers,
            role=role,
            prepares=True,
        )
        stack.enter_context(closing(context.catalogues))
        server = make_server(context, host, port)
        listening = stack.enter_context(closing(listening_socket(server)))
        bound = listening.getsockname()[1]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        # Once it has ended, uvicorn sends this process again what had asked it to end: that is done.
        signal.signal(signal.SIGTERM, lambda *_: None)
        server.run([listening])
