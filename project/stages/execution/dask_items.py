"""Items of per-file stages, run on a Dask cluster whose workers share this project's file system.

A worker runs the command in the stage's folder, under the same path, and sends back how it ended and the end of what it
wrote; what it made lies where it would lie here. Whether workers see the project is tried before anything is run: each
has to read what was just written into the stage's folder.

Dask is an extra: ``penstock[dask]``. One thread, the one that runs the stage, talks to the cluster.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from penstock.errors import AccessError, StoreUnreachableError, UsageError

from .each_run import ItemRunner

__all__ = ["DaskItems", "dask_runner", "run_command", "sees"]

_PATIENCE = 30
_AHEAD = 4
"""Commands sent for each thread of the cluster, so that none waits for the next one."""
_MOST_OUTPUT = 16 << 10


def dask_runner(address: str) -> Callable[[str, dict[str, str], int], ItemRunner]:
    """Return what makes runners on the cluster at an address."""

    def make(directory: str, environment: dict[str, str], jobs: int) -> ItemRunner:  # noqa: ARG001  # the cluster has its own
        return DaskItems(address, directory, environment)

    return make


class DaskItems:
    """Runs commands on a cluster."""

    def __init__(self, address: str, directory: str, environment: Mapping[str, str]) -> None:
        self._address = address
        self._directory = directory
        self._environment = {key: value for key, value in environment.items() if key.startswith("PENSTOCK_")}
        self._stopped = False

    def run(
        self, commands: Iterable[tuple[int, str]], done: Callable[[int, int], bool], tell: Callable[[str], None]
    ) -> None:
        """Run them, so many at once as the cluster has threads.

        UsageError: Dask is not here, or its workers do not share this file system. StoreUnreachableError: no cluster.
        """
        try:
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise UsageError(
                "a Dask cluster is reached by Dask, which is not here",
                why=str(error),
                fix="pip install 'penstock[dask]'",
            ) from error
        try:
            client = distributed.Client(self._address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise StoreUnreachableError(
                f"no Dask cluster answers at {self._address!r}", why=str(error), fix="Look whether its scheduler runs."
            ) from error
        with client:
            threads = self._check(client)
            numbers: dict[Any, int] = {}
            running = distributed.as_completed([], loop=client.loop)
            waiting = iter(commands)
            wanted = True
            while wanted and not self._stopped:
                while len(numbers) < threads * _AHEAD and (following := next(waiting, None)) is not None:
                    number, text = following
                    future = client.submit(run_command, text, self._directory, self._environment, pure=False)
                    numbers[future] = number
                    running.add(future)
                if not numbers:
                    return
                future = next(running)
                code, output = future.result()
                for line in output.splitlines():
                    tell(line)
                wanted = done(numbers.pop(future), code)
            client.cancel(list(numbers), force=True)

    def _check(self, client: Any) -> int:
        """Return how many threads the cluster has, all of which see this directory."""
        threads: dict[str, int] = client.nthreads()
        if not threads:
            raise UsageError(
                f"the Dask cluster at {self._address!r} has no workers", fix="Start some, or leave --dask out."
            )
        token = os.urandom(16).hex()
        path = os.path.join(self._directory, f".penstock-{token}")
        try:
            with open(path, "x", encoding="ascii") as file:
                file.write(token)
        except OSError as error:
            raise AccessError(f"{self._directory!r} cannot be written to", why=error.strerror or str(error)) from error
        try:
            answers: dict[str, bool] = client.run(sees, path, token)
        finally:
            os.unlink(path)
        blind = [name for name, answer in answers.items() if not answer]
        if blind:
            raise UsageError(
                f"{len(blind)} of {len(answers)} Dask workers do not see {self._directory!r}",
                why=f"as {blind[0]}; stages read and write files of the project",
                fix="Have workers mount the project's file system at the same path, or run it here.",
            )
        return sum(threads.values())

    def stop(self) -> None:
        """Have no more commands begin; those that run end by themselves, and what they make is not taken."""
        self._stopped = True


def sees(path: str, token: str) -> bool:
    """Whether a file holds a token. Runs on workers."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read(len(token) + 1) == token
    except OSError:
        return False


def run_command(text: str, directory: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command; return its exit code, and the end of what it wrote. Runs on workers."""
    done = subprocess.run(
        ["/bin/sh", "-c", text],
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout[-_MOST_OUTPUT:].decode("utf-8", "replace")
