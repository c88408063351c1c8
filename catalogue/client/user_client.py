"""A user of a server: datasets made, listed and opened, and keys of those who are given some.

    client = UserClient.create_with_ssh_private_key("~/.ssh/id_ed25519", url="https://host")
    created = client.create_dataset("Example Title", StorageLocation.AWS)
    dataset = client.get_dataset(created["dataset_hash"])

Blocking, thread-safe.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    CreatedDataset,
    DatasetInfo,
    DatasetPage,
    DatasetScope,
    DatasetUserRole,
    ListedDataset,
    StorageLocation,
)
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.errors import NotFoundError, UnreadableError, UsageError

from .served_dataset import Dataset
from .server_connection import ServerConnection

__all__ = ["UserClient"]

_URL = "PENSTOCK_URL"
_BEGIN = "PRIVATE KEY-----"
_MOST_KEY = 1 << 20
Time = str | dt.datetime


class UserClient:
    """Whoever a key, or a private key, is of."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    @classmethod
    def create_with_ssh_private_key(
        cls,
        ssh_private_key: str | os.PathLike[str],
        password: str | None = None,
        *,
        url: str | None = None,
    ) -> Self:
        """Sign requests with a private key of SSH: its file, or its text. An admin has registered the public one.

        `url` is the server's, by default of ``PENSTOCK_URL``. NotFoundError: there is no such file. UsageError: it is
        no key, or needs another password.
        """
        from penstock.catalogue.state.signed_request import SshSigner

        said = os.fspath(ssh_private_key)
        text = said if _BEGIN in said else _text_of(os.path.expanduser(said))
        return cls(ServerConnection(_server(url), signer=SshSigner(text, password)))

    @classmethod
    def create_with_key(cls, key: str, *, url: str | None = None) -> Self:
        """Use a key of the server."""
        return cls(ServerConnection(_server(url), key=key))

    # Datasets

    def create_dataset(
        self,
        dataset_title: str,
        dataset_type: StorageLocation | None = None,
        dataset_description: str = "",
        *,
        name: str | None = None,
    ) -> CreatedDataset:
        """Make a dataset in the first bucket of a kind of storage. ConflictError: the name is taken."""
        body = {
            "title": dataset_title,
            "storage": int(dataset_type) if dataset_type is not None else None,
            "description": dataset_description,
            "name": name,
        }
        return msgspec.convert(self._connection.ask("POST", "/api/datasets", body), CreatedDataset)

    def get_datasets(
        self,
        title_eq: str | None = None,
        title_like: str | None = None,
        desc_eq: str | None = None,
        desc_like: str | None = None,
        created_before: Time | None = None,
        created_after: Time | None = None,
        edited_before: Time | None = None,
        edited_after: Time | None = None,
    ) -> list[ListedDataset]:
        """Return the datasets that fit, by title; in what is *like*, ``%`` stands for any text, ``_`` for a letter."""
        query = {
            "title_eq": title_eq,
            "title_like": title_like,
            "desc_eq": desc_eq,
            "desc_like": desc_like,
            "created_before": _time(created_before),
            "created_after": _time(created_after),
            "edited_before": _time(edited_before),
            "edited_after": _time(edited_after),
        }
        found: list[ListedDataset] = []
        cursor: str | None = None
        while True:
            page, roles = self._page({**query, "sort": "title", "limit": 1000, "cursor": cursor})
            found += [ListedDataset(dataset=info, user_role=roles[info.bucket]) for info in page.datasets]
            cursor = page.cursor
            if cursor is None:
                return found

    def page(self, *, sort: str = "title", limit: int = 100, cursor: str | None = None, **wanted: str) -> DatasetPage:
        """Return a page of the datasets that fit, in an order: ``title``, ``created``, ``edited``, ``size``."""
        return self._page({**wanted, "sort": sort, "limit": limit, "cursor": cursor})[0]

    def _page(self, query: dict[str, Any]) -> tuple[DatasetPage, dict[str, DatasetUserRole]]:
        told = self._connection.ask("GET", "/api/datasets", query=query)
        infos = msgspec.convert(told["datasets"], tuple[DatasetInfo, ...])
        roles = {bucket: DatasetUserRole(role) for bucket, role in told["roles"].items()}
        return DatasetPage(infos, told["cursor"]), roles

    def get_dataset(self, dataset_hash: str) -> Dataset:
        """Return a dataset by its hash or name. NotFoundError: there is none. AccessError: it is not this user's."""
        told = self._connection.ask("GET", f"/api/datasets/{dataset_hash}")
        info = msgspec.convert(told["dataset"], DatasetInfo)
        url = f"{self._connection.url}/{quote(info.bucket)}/{quote(info.name)}"
        return Dataset(url, connection=self._connection)

    def get_cloud_integrations(self) -> list[CloudIntegration]:
        """Return the remotes of the server that this user may register data from."""
        found = self._connection.ask("GET", "/api/integrations")["integrations"]
        return msgspec.convert(found, list[CloudIntegration])

    # Keys

    def create_dataset_api_key(
        self,
        dataset_hash: str,
        api_key_title: str,
        dataset_scopes: Sequence[DatasetScope],
        *,
        lifetime: float | None = None,
    ) -> DatasetAPIKey:
        """Make a key of a dataset; `secret` is known from this answer alone. AccessError: this user is no admin of it.

        `lifetime` in seconds, None: until it is revoked.
        """
        body = {
            "dataset": dataset_hash,
            "title": api_key_title,
            "scopes": [DatasetScope(each).value for each in dataset_scopes],
            "lifetime": lifetime,
        }
        return _key(self._connection.ask("POST", "/api/keys", body))

    def get_or_create_dataset_api_key(self, dataset_hash: str) -> DatasetAPIKey:
        """Make the master key of a dataset, which may read and write; the one before opens nothing from now on.

        Keys are kept as hashes: one that is there cannot be given out again, so it is made anew.
        """
        return _key(self._connection.ask("POST", "/api/keys/master", {"dataset": dataset_hash}))

    def get_dataset_api_keys(self, dataset_hash: str) -> list[DatasetAPIKey]:
        """Return the keys of a dataset that are valid, without their secrets: `api_key` is the public id."""
        found = self._connection.ask("GET", "/api/keys", query={"dataset": dataset_hash})["keys"]
        return msgspec.convert(found, list[DatasetAPIKey])

    def revoke_dataset_api_key(self, api_key: str) -> None:
        """Let a key, by its public id, open nothing from now on. NotFoundError: there is none."""
        self._connection.ask("DELETE", f"/api/keys/{api_key}")

    def register_ssh_key(
        self,
        public: str,
        scopes: Sequence[DatasetScope],
        *,
        title: str = "",
        dataset_hash: str = "",
        admin: bool = False,
    ) -> str:
        """Let whoever has the private half of an SSH key use the server; return its fingerprint. For admins."""
        body = {
            "public": public,
            "scopes": [DatasetScope(each).value for each in scopes],
            "title": title,
            "dataset": dataset_hash,
            "is_admin": admin,
        }
        return str(self._connection.ask("POST", "/api/ssh-keys", body)["fingerprint"])

    def storage_credentials(self, bucket: str, seconds: int = 3600) -> dict[str, Any]:
        """Return credentials of the store that read a bucket for a while, past the server; see docs/CATALOGUE.md.

        AccessError: the key is of one dataset. UsageError: the server gives none out.
        """
        told = self._connection.ask("POST", f"/store/{bucket}/credentials", {"seconds": seconds})
        return msgspec.convert(told, dict[str, Any])

    def close(self) -> None:
        """Let go of connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(told: dict[str, Any]) -> DatasetAPIKey:
    return msgspec.convert({**told["key"], "secret": told["secret"]}, DatasetAPIKey)


def _time(said: Time | None) -> str | None:
    return said.isoformat() if isinstance(said, dt.datetime) else said


def _server(url: str | None) -> str:
    found = url or os.environ.get(_URL, "")
    if not found:
        raise UsageError("no server is named", fix=f"Give its url, or set {_URL}.")
    return found


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="strict") as stream:
            return stream.read(_MOST_KEY)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path!r}", fix="Make a key: ssh-keygen -t ed25519") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path!r} cannot be read", why=str(error), candidates=[path]) from error
