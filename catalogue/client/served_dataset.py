"""A dataset behind a server, for whoever has a key of it: its rows, and what adds to them, changes and deletes them.

    dataset = Dataset("https://data.example.org/demo/films", key="psk_...")
    row = dataset.upload_video("clip.mp4")
    task = dataset.re_encode_data([row.data_hash])

Files go in pieces, and what was cut off is gone on with. Long work is done by the server, and asked about. Blocking.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.catalogue.datasets.private_spec import read_spec
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    DataRow,
    DatasetInfo,
    DatasetUserRole,
    PrivateDataReport,
    ReEncodeVideoTask,
    RowPage,
)
from penstock.catalogue.rows.row_index import RowFilter
from penstock.errors import PenstockError, UsageError
from penstock.progress import SILENT, Progress

from .sent_files import send_file
from .server_connection import ServerConnection
from .tasks import private_report, re_encode_task, wait_for

__all__ = ["Dataset"]

Path = str | os.PathLike[str]


class Dataset:
    """One dataset of a server, at ``https://host/bucket/dataset``. Each call that changes something makes one version.

    `key` is by default that of the environment. UsageError: `url` names no dataset, or would send a key in the clear.
    """

    def __init__(self, url: str, key: str | None = None, *, connection: ServerConnection | None = None) -> None:
        base, _, place = url.rstrip("/").rpartition("/")
        base, _, bucket = base.rpartition("/")
        if not place or not bucket or not urlsplit(base).netloc:
            raise UsageError(f"{url!r} names no dataset on a server", fix="Write https://host/bucket/dataset")
        self.url = url.rstrip("/")
        self._bucket = bucket
        self._name = place
        key = (
            key
            if key is not None or connection is not None
            else Settings.load().locate_bucket(f"{base}/{bucket}")[1].key
        )
        self._connection = connection or ServerConnection(base, key=key)
        self._found: DatasetInfo | None = None

    def _ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return self._connection.ask(method, f"/api/datasets/{self.dataset_hash}{path}", body, **more)

    # What it is

    def info(self) -> DatasetInfo:
        """Return what is said of it."""
        shown = self._connection.ask("GET", "/api/find", query={"bucket": self._bucket, "name": self._name})
        self._found = msgspec.convert(shown["dataset"], DatasetInfo)
        return self._found

    @property
    def dataset_hash(self) -> str:
        """What names it."""
        return (self._found or self.info()).dataset_hash

    @property
    def title(self) -> str:
        """Its title."""
        return self.info().title

    @property
    def user_role(self) -> DatasetUserRole:
        """What the server may do with its bucket."""
        return DatasetUserRole(self._ask("GET", "")["user_role"])

    def package(self, ref: str = "") -> Package:
        """Return a version to be read: its files, by ranges, each checked against its hash."""
        settings = Settings.load()
        options = replace(settings.store_options, key=self._connection.key)
        return Package(f"{self.url}{f':{ref}' if ref else ''}", replace(settings, store_options=options))

    # Rows

    @property
    def data_rows(self) -> list[DataRow]:
        """All its rows, by path. `rows` gives them in pages, filtered and in other orders."""
        return list(self._all())

    def _all(self) -> Iterator[DataRow]:
        cursor = None
        while True:
            page = self.rows(limit=1000, cursor=cursor)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return

    def rows(
        self, wanted: RowFilter | None = None, *, sort: str = "path", limit: int = 100, cursor: str | None = None
    ) -> RowPage:
        """Return a page of the rows that fit."""
        said = wanted or RowFilter()
        query = {
            "data_type": said.data_type.value if said.data_type is not None else None,
            "title_like": said.title_like,
            "title_eq": said.title_eq,
            "min_width": said.min_width,
            "min_height": said.min_height,
            "min_duration": said.min_duration,
            "below": said.below,
            "sort": sort,
            "limit": limit,
            "cursor": cursor,
        }
        return msgspec.convert(self._ask("GET", "/rows", query=query), RowPage)

    def get_row(self, data_hash: str) -> DataRow:
        """Return a row. NotFoundError: there is none."""
        return msgspec.convert(self._ask("GET", f"/rows/{_part(data_hash)}"), DataRow)

    def update_row(
        self, data_hash: str, *, title: str | None = None, client_metadata: Mapping[str, Any] | None = None
    ) -> DataRow:
        """Change a row's title or metadata."""
        body = {"title": title, "client_metadata": dict(client_metadata) if client_metadata is not None else None}
        return msgspec.convert(self._ask("PATCH", f"/rows/{_part(data_hash)}", body), DataRow)

    def delete_data(self, data_hashes: Sequence[str]) -> list[str]:
        """Take rows out, and return which; those of other datasets are ignored, with a warning."""
        told = self._ask("POST", "/delete-data", {"data_hashes": list(data_hashes)})
        self._warn(told["ignored"])
        return cast("list[str]", told["deleted"])

    def _warn(self, foreign: Sequence[str]) -> None:
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            warnings.warn(f"{len(foreign)} rows are not of {self._name}: {shown}", stacklevel=3)

    # Adding

    def upload_video(
        self,
        file_path: Path,
        *,
        title: str = "",
        client_metadata: Mapping[str, Any] | None = None,
        folder: str = "",
        progress: Progress = SILENT,
    ) -> DataRow:
        """Add a video. UnreadableError: it is none. Cut off, it is called again, and goes on."""
        return self._add("video", [file_path], title, client_metadata, folder, progress)[0]

    def upload_image(
        self,
        file_path: Path,
        *,
        title: str = "",
        client_metadata: Mapping[str, Any] | None = None,
        folder: str = "",
        progress: Progress = SILENT,
    ) -> DataRow:
        """Add an image. UnreadableError: it is none."""
        return self._add("image", [file_path], title, client_metadata, folder, progress)[0]

    def upload_file(
        self, file_path: Path, *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> DataRow:
        """Add a video or an image, whichever it is. UnreadableError: it is neither."""
        return self._add("file", [file_path], title, None, folder, progress)[0]

    def create_image_group(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add images as a group in their order; those of another resolution are a group of their own."""
        return self._add("image_group", file_paths, title, None, folder, progress)

    def create_dicom_series(
        self, file_paths: Sequence[Path], *, title: str = "", folder: str = "", progress: Progress = SILENT
    ) -> list[DataRow]:
        """Add DICOM files, one row for each series."""
        return self._add("dicom_series", file_paths, title, None, folder, progress)

    def _add(
        self,
        kind: str,
        paths: Sequence[Path],
        title: str,
        client_metadata: Mapping[str, Any] | None,
        folder: str,
        progress: Progress,
    ) -> list[DataRow]:
        if not paths:
            raise UsageError("no file is named", fix="Name at least one.")
        files = []
        for each in paths:
            path = os.fspath(each)
            upload = send_file(self._connection, self.dataset_hash, path, os.path.basename(path), progress)
            files.append({"upload": upload, "title": title, "client_metadata": dict(client_metadata or {})})
        done = self._done({"kind": kind, "files": files, "title": title, "folder": folder}, progress)
        return [self.get_row(uid) for uid in done["rows"]]

    def commit(
        self,
        files: Mapping[str, Path],
        *,
        delete: Sequence[str] = (),
        message: str = "",
        progress: Progress = SILENT,
    ) -> str:
        """Add files, by their keys in the version, and delete others, in one version; return its top hash."""
        sent = []
        for key, path in files.items():
            name = os.path.basename(os.fspath(path))
            upload = send_file(self._connection, self.dataset_hash, os.fspath(path), name, progress)
            sent.append({"upload": upload, "key": key})
        asked = {"kind": "commit", "files": sent, "deleted": list(delete), "message": message}
        return str(self._done(asked, progress)["top_hash"])

    def _done(self, addition: dict[str, Any], progress: Progress) -> Mapping[str, Any]:
        task = int(self._ask("POST", "/additions", addition, again=True)["task"])
        shown = wait_for(lambda: self.task(task), progress)
        if shown["status"] != "DONE":
            raise PenstockError("nothing was added", why=shown["error"])
        return cast("Mapping[str, Any]", shown["result"])

    # Private cloud

    def get_cloud_integrations(self) -> list[CloudIntegration]:
        """Return the remotes of the server that this key may register data from."""
        found = self._connection.ask("GET", "/api/integrations")["integrations"]
        return msgspec.convert(found, list[CloudIntegration])

    def add_private_data_to_dataset(
        self,
        integration_id: str,
        private_files: Mapping[str, Any] | Path,
        ignore_errors: bool = False,
        *,
        progress: Progress = SILENT,
    ) -> PrivateDataReport:
        """Register data where it lies, and wait for it; see docs/CATALOGUE.md for the JSON, a dictionary or a file.

        UnreadableError names each item that cannot be registered, and why: nothing is registered then, but with
        `ignore_errors`, when the report names them. AccessError: this key may not use that integration.
        """
        task = self.add_private_data_to_dataset_start(integration_id, private_files, ignore_errors)
        return private_report(wait_for(lambda: self.task(task), progress))

    def add_private_data_to_dataset_start(
        self, integration_id: str, private_files: Mapping[str, Any] | Path, ignore_errors: bool = False
    ) -> int:
        """Begin to register data, and return the number of the task."""
        asked = {
            "integration": integration_id,
            "spec": dict(read_spec(private_files)),
            "ignore_errors": ignore_errors,
        }
        return int(self._ask("POST", "/private-data", asked)["task"])

    def add_private_data_to_dataset_get_result(
        self, task_id: int, timeout_seconds: float = 7 * 86400.0
    ) -> PrivateDataReport:
        """Wait for a task, and return what came of it. StoreUnreachableError: it is not done yet, by then."""
        return private_report(wait_for(lambda: self.task(task_id), SILENT, timeout_seconds))

    # Re-encoding

    def re_encode_data(self, data_hashes: Sequence[str]) -> int:
        """Begin to re-encode videos, and return the number of the task; rows of others are ignored, with a warning."""
        told = self._ask("POST", "/re-encode", {"data_hashes": list(data_hashes)})
        self._warn(told["ignored"])
        return int(told["task"])

    def re_encode_data_status(self, task_id: int) -> ReEncodeVideoTask:
        """Return how a task is doing. NotFoundError: there is none, or it is somebody else's."""
        return re_encode_task(self.task(task_id))

    def task(self, task_id: int) -> Mapping[str, Any]:
        """Return how a task of any kind is doing, as the server tells it."""
        shown = cast("dict[str, Any]", self._connection.ask("GET", f"/api/tasks/{task_id}"))
        for video in (shown["result"] or {}).get("videos", ()):
            if (video["signed_url"] or "").startswith("/"):  # the server does not know how it is reached
                video["signed_url"] = self._connection.url + video["signed_url"]
        return shown

    def go_on_with_task(self, task_id: int) -> Mapping[str, Any]:
        """Return how a task is doing: the server goes on with it by itself."""
        return self.task(task_id)

    def tasks(self) -> list[Mapping[str, Any]]:
        """Return the newest tasks of this key."""
        return cast("list[Mapping[str, Any]]", self._connection.ask("GET", "/api/tasks")["tasks"])

    def cancel_task(self, task_id: int) -> None:
        """Have a task end."""
        self._connection.ask("DELETE", f"/api/tasks/{task_id}")

    def close(self) -> None:
        """Let go of connections."""
        self._connection.close()

    def __repr__(self) -> str:
        return f"Dataset({self.url!r})"


def _part(text: str) -> str:
    """Return a name as one part of a path."""
    if not text or "/" in text or text in (".", ".."):
        raise UsageError(f"{text!r} is no name of a row", fix="Give its data hash.")
    return text
