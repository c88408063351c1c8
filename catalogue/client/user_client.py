"""A user of a catalogue: datasets made, listed and opened, and keys of those who are given some.

    client = UserClient.create_with_ssh_private_key("~/.ssh/id_ed25519", url="https://host")
    created = client.create_dataset("Example Title", StorageLocation.AWS)
    dataset = client.get_dataset(created["dataset_hash"])

`Catalogue` has the same calls, on buckets directly. Blocking, thread-safe.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from penstock.api.settings import Settings
from penstock.catalogue.datasets.dataset_filter import DatasetFilter, parse_time
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    CreatedDataset,
    DatasetPage,
    DatasetScope,
    ListedDataset,
    StorageLocation,
)
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.errors import NotFoundError, UnreadableError, UsageError

from .bucket_driver import BucketDriver
from .catalogue_dataset import Dataset
from .drivers import CatalogueDriver
from .server_connection import ServerConnection
from .server_driver import ServerDriver

__all__ = ["Catalogue", "UserClient"]

_URL = "PENSTOCK_URL"
_BEGIN = "PRIVATE KEY-----"
_MOST_KEY = 1 << 20
Time = str | dt.datetime


class UserClient:
    """Whoever a key, or a private key, is of."""

    def __init__(self, driver: CatalogueDriver) -> None:
        self._driver = driver

    @staticmethod
    def create_with_ssh_private_key(
        ssh_private_key: str | os.PathLike[str], password: str | None = None, *, url: str | None = None
    ) -> UserClient:
        """Sign requests with a private key of SSH: its file, or its text. An admin has registered the public one.

        `url` is the server's, by default of ``PENSTOCK_URL``. NotFoundError: there is no such file. UsageError: it is
        no key, or needs another password.
        """
        from penstock.catalogue.state.signed_request import SshSigner

        said = os.fspath(ssh_private_key)
        text = said if _BEGIN in said else _text_of(os.path.expanduser(said))
        return UserClient(ServerDriver(ServerConnection(_server(url), signer=SshSigner(text, password))))

    @staticmethod
    def create_with_key(key: str, *, url: str | None = None) -> UserClient:
        """Use a key of the server."""
        return UserClient(ServerDriver(ServerConnection(_server(url), key=key)))

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
        return self._driver.create(dataset_title, dataset_type, dataset_description, name)

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
        times = (created_before, created_after, edited_before, edited_after)
        wanted = DatasetFilter(title_eq, title_like, desc_eq, desc_like, *map(_time, times))
        found: list[ListedDataset] = []
        cursor: str | None = None
        while True:
            page = self._driver.page(wanted, "title", 1000, cursor)
            found += [ListedDataset(dataset=info, user_role=page.roles[info.bucket]) for info in page.datasets]
            cursor = page.cursor
            if cursor is None:
                return found

    def page(
        self, wanted: DatasetFilter | None = None, *, sort: str = "title", limit: int = 100, cursor: str | None = None
    ) -> DatasetPage:
        """Return a page of the datasets that fit, in an order: ``title``, ``created``, ``edited``, ``size``."""
        return self._driver.page(wanted or DatasetFilter(), sort, limit, cursor)

    def get_dataset(self, dataset_hash: str) -> Dataset:
        """Return a dataset by its hash or name. NotFoundError: there is none. AccessError: it is not this user's."""
        return Dataset(self._driver.dataset(dataset_hash))

    def get_cloud_integrations(self) -> list[CloudIntegration]:
        """Return the remotes that this user may register data from."""
        return self._driver.integrations()

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
        return self._driver.create_key(dataset_hash, api_key_title, dataset_scopes, lifetime)

    def get_or_create_dataset_api_key(self, dataset_hash: str) -> DatasetAPIKey:
        """Make the master key of a dataset, which may read and write; the one before opens nothing from now on.

        Keys are kept as hashes: one that is there cannot be given out again, so it is made anew.
        """
        return self._driver.master_key(dataset_hash)

    def get_dataset_api_keys(self, dataset_hash: str) -> list[DatasetAPIKey]:
        """Return the keys of a dataset that are valid, without their secrets: `api_key` is the public id."""
        return self._driver.keys(dataset_hash)

    def revoke_dataset_api_key(self, api_key: str) -> None:
        """Let a key, by its public id, open nothing from now on. NotFoundError: there is none."""
        self._driver.revoke_key(api_key)

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
        return self._driver.register_ssh_key(public, scopes, title, dataset_hash, admin)

    def storage_credentials(self, bucket: str, seconds: int = 3600) -> dict[str, Any]:
        """Return credentials of the store that read a bucket for a while, past the server; see docs/CATALOGUE.md.

        AccessError: the key is of one dataset. UsageError: none are given out.
        """
        return self._driver.storage_credentials(bucket, seconds)

    def close(self) -> None:
        """Let go of what is open; on buckets, long work that is not done is left to whoever asks next."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Catalogue(UserClient):
    """The same calls, on buckets directly. `author` is who changes something, by default as git has it.

    `state` is the folder of jobs and keys, by default the user's own: a server that has the same knows both.
    """

    def __init__(
        self, buckets: Sequence[str], settings: Settings | None = None, *, author: str = "", state: str | None = None
    ) -> None:
        super().__init__(BucketDriver(buckets, settings or Settings.load(), author, state))

    @classmethod
    def open(cls, *buckets: str, settings: Settings | None = None, author: str = "", state: str | None = None) -> Self:
        """Open buckets by what they are called here."""
        return cls(buckets, settings, author=author, state=state)


def _time(said: Time | None) -> dt.datetime | None:
    if isinstance(said, str):
        return parse_time(said)
    return said if said is None or said.tzinfo is not None else said.replace(tzinfo=dt.UTC)


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
