"""A server of the catalogue for tests: real sockets, a real store, and a client that speaks HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from penstock.catalogue.server.context import ServerContext
from penstock.catalogue.serving import listening_socket, make_context, make_server
from penstock.catalogue.state.database import open_database
from penstock.repo.settings.settings import Settings


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as a value."""
        return json.loads(self.body)


class Site:
    """A server that runs, and a client of it."""

    def __init__(self, context: ServerContext, url: str) -> None:
        self.context = context
        self.url = url
        self.pool = urllib3.PoolManager()

    def ask(
        self, method: str, path: str, *, key: str = "", body: Any = None, raw: bytes | None = None, **headers: str
    ) -> Answer:
        """Send a request."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["authorization"] = f"Bearer {key}"
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        answer = self.pool.request(
            method, self.url + path, body=data, headers=sent, redirect=False, retries=False, timeout=60
        )
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


@contextmanager
def running(
    folder: Path, *buckets: str, is_trusting: bool = True, integrations: tuple[str, ...] = (), role: str = ""
) -> Iterator[Site]:
    """Run a server of buckets in a thread."""
    with ExitStack() as stack:
        database = stack.enter_context(closing(open_database(str(folder))))
        context = make_context(
            buckets, Settings.load(), database, is_trusting=is_trusting, integrations=integrations, role=role
        )
        stack.enter_context(closing(context.catalogues))
        server = make_server(context, "127.0.0.1", 0)
        bound = listening_socket(server)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        site = Site(context, f"http://127.0.0.1:{bound.getsockname()[1]}")
        try:
            yield site
        finally:
            server.should_exit = True
            site.pool.clear()
            thread.join(60)
            bound.close()
