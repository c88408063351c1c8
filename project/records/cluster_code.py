"""Methods called on a Dask cluster: the same child processes, each beside a worker, and files travel as bytes.

Workers need Penstock and the libraries that the code imports, and no file system of ours. Ingests run here: what they
read is here. Dask is an extra: ``penstock[dask]``. One thread, the one that makes the version, talks to the cluster.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from penstock.errors import AccessError, PenstockError, StoreUnreachableError, UsageError
from penstock.project.declared.declared_source import DeclaredSource

from .code_processes import CodeError, CodeProcesses
from .file_store import FileStore
from .messages import CallAnswer, FieldForm, FileForm, MethodCall

__all__ = ["ClusterCode", "call_batch", "open_cluster"]

_PATIENCE = 30
_BATCH = 32
_BATCH_BYTES = 64 << 20
_AHEAD = 2
"""Batches sent for each thread of the cluster, so that none waits for the next one."""


class BatchAnswer(NamedTuple):
    """What a worker sends back: answers, the bytes of the files in them by object, and why there are none, if so."""

    answers: tuple[CallAnswer, ...]
    files: dict[str, bytes]
    error: str = ""


class ClusterCode(CodeProcesses):
    """What runs the code of one dataset of a file, its methods on the cluster at `address`."""

    def __init__(self, address: str, source: DeclaredSource, table: str, place: str, bucket: str, state: str) -> None:
        super().__init__(source, table, place, bucket, state)
        self._address = address
        self._source = source
        self._table = table
        self._files = FileStore(bucket, state)
        self._client: Any = None

    def close(self) -> None:
        """Leave the cluster."""
        if self._client is not None:
            self._client.close()
        super().close()

    def _connected(self) -> Any:
        if self._client is None:
            try:
                distributed: Any = import_module("distributed")
            except ImportError as error:
                raise UsageError(
                    "a Dask cluster is reached by Dask, which is not here",
                    why=str(error),
                    fix="pip install 'penstock[dask]', or git datasets config executor processes",
                ) from error
            try:
                self._client = distributed.Client(self._address, timeout=_PATIENCE, set_as_default=False)
            except (OSError, ValueError) as error:
                raise StoreUnreachableError(
                    f"no Dask cluster answers at {self._address!r}",
                    why=str(error),
                    fix="Look whether its scheduler runs, or: git datasets config executor processes",
                ) from error
        return self._client

    def call(self, method: str, field: FieldForm | None, calls: Iterable[MethodCall]) -> Iterator[CallAnswer]:
        """Call a method for each record, on all workers at once; answers come as they are ready."""
        client = self._connected()
        distributed: Any = import_module("distributed")
        most = _AHEAD * max(1, sum(client.nthreads().values()))
        batches = _batches(calls)
        running = distributed.as_completed([], loop=client.loop)
        left: set[Any] = set()
        try:
            batch = next(batches, None)
            while batch is not None or left:
                while batch is not None and len(left) < most:
                    future = client.submit(
                        call_batch, self._source, self._table, method, field, *batch, pure=False, retries=2
                    )
                    left.add(future)
                    running.add(future)
                    batch = next(batches, None)
                future = next(running)
                left.discard(future)
                yield from self._taken(method, _result(future, self._address))
        finally:
            client.cancel(list(left), force=True)

    def _taken(self, method: str, found: BatchAnswer) -> Iterator[CallAnswer]:
        """Put files that came into the bucket, then hand on the answers that name them."""
        if found.error:
            raise CodeError(f"{self._source.file}: {method} failed on the cluster: {found.error}")
        for answer in found.answers:
            if isinstance(answer.value, FileForm):
                self._take(answer.value, found.files[answer.value.object])
            yield answer

    def _take(self, form: FileForm, body: bytes) -> None:
        place = os.path.join(self._files.folder, f"sent-{os.getpid()}")
        try:
            with open(place, "wb") as stream:
                stream.write(body)
        except OSError as error:
            raise AccessError(
                f"{self._files.folder} cannot be written", why=error.strerror or str(error), fix="Make room."
            ) from error
        taken = self._files.take(place, form.value.suffix, move=True)
        if taken.value != form.value:
            raise CodeError(f"a worker of {self._address!r} sent other bytes than it says")


def open_cluster(address: str, source: DeclaredSource, table: str, place: str, bucket: str, state: str) -> ClusterCode:
    """Open what runs code on the cluster at an address: ``tcp://host:8786``."""
    return ClusterCode(address, source, table, place, bucket, state)


def _result(future: Any, address: str) -> BatchAnswer:
    try:
        found: BatchAnswer = future.result()
    except Exception as error:  # whatever a worker, or the way to it, raises
        raise StoreUnreachableError(
            f"the Dask cluster at {address!r} could not run it",
            why=f"{type(error).__name__}: {error}",
            fix="Workers need the same Penstock as this machine. What was done is kept.",
        ) from error
    return found


def _batches(calls: Iterable[MethodCall]) -> Iterator[tuple[tuple[MethodCall, ...], dict[str, bytes]]]:
    """Yield calls with the bytes of their files, so many that what is sent at once stays small."""
    batch: list[MethodCall] = []
    files: dict[str, bytes] = {}
    size = 0
    for call in calls:
        batch.append(call)
        for target, _ in call.files.values():
            if target not in files:
                with open(target, "rb") as stream:
                    files[target] = stream.read()
                size += len(files[target])
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield tuple(batch), files
            batch, files, size = [], {}, 0
    if batch:
        yield tuple(batch), files


def call_batch(
    source: DeclaredSource,
    table: str,
    method: str,
    field: FieldForm | None,
    calls: tuple[MethodCall, ...],
    files: dict[str, bytes],
) -> BatchAnswer:
    """Call a method for some records, in a process of its own. Runs on workers."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        names = {}
        for number, (target, body) in enumerate(files.items()):
            names[target] = os.path.join(folder, f"input-{number}")
            with open(names[target], "wb") as stream:
                stream.write(body)
        here = [
            MethodCall(each.record, each.values, {key: (names[at], name) for key, (at, name) in each.files.items()})
            for each in calls
        ]
        bucket, state, place = (os.path.join(folder, name) for name in ("bucket", "state", "place"))
        for each in (bucket, state, place):
            os.mkdir(each)
        try:
            with CodeProcesses(source, table, place, bucket, state, width=1) as processes:
                answers = tuple(processes.call(method, field, here))
        except PenstockError as error:
            return BatchAnswer((), {}, str(error))
        made = {}
        store = FileStore(bucket, state)
        for answer in answers:
            if isinstance(answer.value, FileForm):
                with open(store.path_of(bytes.fromhex(answer.value.object)), "rb") as stream:
                    made[answer.value.object] = stream.read()
        return BatchAnswer(answers, made)
