"""Where the files of rows go that are kept as plain objects or files: ``PLACE/ID/NAME``, with markers beside them.

What a batch asks of such a place is `UploadTarget`; a dataset is another one (`dataset_target`). Thread-safe; pickled,
it is opened again in the process that has it then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote

from penstock.errors import ConflictError
from penstock.progress import Stage

from .file_address import UploadPlace
from .file_sources import FileSources
from .file_transfer import FileTransfer, log_transfer
from .fsspec_files import PlaceStore
from .output_files import OutputFile
from .row_marker import (
    MARKER_FOLDER,
    IdState,
    RowRecord,
    RunIdentity,
    SentFile,
    claim_id,
    forget_id,
    read_record,
    read_states,
    write_record,
)

__all__ = ["ObjectTarget", "UploadTarget"]

_FEW = 64
"""Ids that are asked for one by one; of more of them, all that the place has is listed."""


class UploadTarget(Protocol):
    """A place that files of rows go to. An id belongs to one row, and to one run at a time."""

    def states(self, ids: Sequence[str]) -> Mapping[str, IdState]:
        """Return what there is of ids; those that nothing is known of are left out."""
        ...

    def claim(self, row_id: str, state: IdState, who: RunIdentity, *, take_over: bool = False) -> None:
        """Become the one who makes the files of an id. ConflictError: somebody else does."""
        ...

    def record(self, row_id: str, state: IdState) -> RowRecord:
        """Return what is noted of an id that is done."""
        ...

    def send(
        self, row_id: str, files: Sequence[OutputFile], row: int | None, stage: Stage, pool: Executor | None
    ) -> dict[str, SentFile]:
        """Take files; nobody counts on them before `finish`. ConflictError: one changed meanwhile."""
        ...

    def finish(self, record: RowRecord, before: RowRecord | None, metadata: Mapping[str, Any]) -> None:
        """Note that all files of an id are there; `before` is what was noted of it until now."""
        ...

    def flush(self) -> None:
        """See to it that what was finished is there."""
        ...

    def url(self, row_id: str, name: str) -> str:
        """Return where a file is that was finished and flushed."""
        ...


class ObjectTarget:
    """Files in S3, in a directory, or where fsspec reaches."""

    def __init__(self, place: UploadPlace, sources: FileSources) -> None:
        self.place = place
        self._sources = sources
        if place.local is not None:
            self._url, self._base = "file://" + quote(place.local), ""
        elif not place.url.startswith("s3://"):
            self._url, self._base = place.url, ""
        else:
            bucket, _, prefix = place.url.removeprefix("s3://").partition("/")
            self._url, self._base = f"s3://{bucket}", f"{prefix}/" if prefix else ""

    @property
    def _store(self) -> PlaceStore:
        return self._sources.place(self._url)

    def states(self, ids: Sequence[str]) -> Mapping[str, IdState]:
        """See `UploadTarget.states`. One request for each thousand, or of few ids two for each."""
        store, base = self._store, self._base
        if len(ids) <= _FEW:
            with ThreadPoolExecutor(16, "penstock-look") as pool:
                found = dict(zip(ids, pool.map(self._state, ids), strict=True))
            return {row_id: state for row_id, state in found.items() if state != IdState()}
        wanted = set(ids)
        states = {row_id: state for row_id, state in read_states(store, base).items() if row_id in wanted}
        for folder in store.list_folders(base):
            if folder in wanted and folder not in states:
                states[folder] = IdState(is_foreign=True)
        return states

    def _state(self, row_id: str) -> IdState:
        state = read_states(self._store, self._base, row_id).get(row_id)
        if state is None and next(iter(self._store.list(f"{self._base}{row_id}/", limit=1)), None) is not None:
            return IdState(is_foreign=True)
        return state or IdState()

    def claim(self, row_id: str, state: IdState, who: RunIdentity, *, take_over: bool = False) -> None:
        """See `UploadTarget.claim`."""
        if state.is_foreign:
            raise ConflictError(
                f"the id {row_id!r} is in use",
                why=f"there are files in {self.place.url}/{row_id} that nothing is noted of",
                fix="Choose another id, or another place.",
            )
        claim_id(self._store, self._base, row_id, state, who, take_over=take_over)

    def record(self, row_id: str, state: IdState) -> RowRecord:
        """See `UploadTarget.record`."""
        assert state.done is not None
        return read_record(self._store, self._base, row_id, state.done)

    def send(
        self, row_id: str, files: Sequence[OutputFile], row: int | None, stage: Stage, pool: Executor | None
    ) -> dict[str, SentFile]:
        """See `UploadTarget.send`. Each as an object of its own, several at a time."""

        def send(file: OutputFile) -> SentFile:
            size = file.size
            with file.opened() as descriptor:
                self._store.put_file(f"{self._base}{row_id}/{file.name}", descriptor, size)
            stage.advance(size)
            url = self.url(row_id, file.name)
            log_transfer(FileTransfer("upload", file.name, file.path, url, size, row))
            return SentFile(url, size)

        many = pool is not None and len(files) > 1
        sent = pool.map(send, files) if many and pool is not None else map(send, files)
        return dict(zip((file.name for file in files), sent, strict=True))

    def finish(self, record: RowRecord, before: RowRecord | None, metadata: Mapping[str, Any]) -> None:  # noqa: ARG002
        """See `UploadTarget.finish`. Objects have no metadata of ours: it is that of entries of datasets."""
        write_record(self._store, self._base, record)
        if before is not None:
            gone = [f"{self._base}{record.id}/{name}" for name in before.outputs.keys() - record.outputs.keys()]
            if before.mark != record.mark:
                gone.append(f"{self._base}{MARKER_FOLDER}/{record.id}/{before.mark}")
            if gone:
                self._store.delete(gone)

    def withdraw(self, row_id: str, names: Collection[str]) -> None:
        """Remove what an upload that has failed has sent, and its claim."""
        self._store.delete([f"{self._base}{row_id}/{name}" for name in names])
        forget_id(self._store, self._base, row_id)

    def flush(self) -> None:
        """See `UploadTarget.flush`: what is finished is there."""

    def url(self, row_id: str, name: str) -> str:
        """See `UploadTarget.url`."""
        return f"{self.place.url.rstrip('/')}/{row_id}/{name}"
