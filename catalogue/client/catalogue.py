"""A user of the catalogue: datasets made, listed and opened, on buckets directly.

from penstock.catalogue.client import Catalogue

catalogue = Catalogue.open("bucket")
created = catalogue.create_dataset("Example Title", StorageLocation.AWS)
dataset = catalogue.get_dataset(created["dataset_hash"])
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from penstock.api.settings import Settings
from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogues
from penstock.catalogue.datasets.dataset_filter import DatasetFilter, parse_time
from penstock.catalogue.datasets.private_data import integrations
from penstock.catalogue.orm.dataset import (
    CloudIntegration,
    CreatedDataset,
    DatasetPage,
    DatasetUserRole,
    ListedDataset,
    StorageLocation,
)

from .catalogue_dataset import CatalogueDataset
from .local_jobs import LocalJobs

__all__ = ["Catalogue"]

Time = str | dt.datetime


class Catalogue:
    """The datasets of some buckets. `author` is who changes something, by default as git has it.

    `state` is the folder where jobs are noted, by default the user's own.
    """

    def __init__(
        self, buckets: Sequence[str], settings: Settings | None = None, *, author: str = "", state: str | None = None
    ) -> None:
        self._catalogues = BucketCatalogues(buckets, settings or Settings.load())
        self._author = author
        self._jobs = LocalJobs(self._catalogues, state)

    @classmethod
    def open(cls, *buckets: str, settings: Settings | None = None, author: str = "", state: str | None = None) -> Self:
        """Open buckets by what they are called here."""
        return cls(buckets, settings, author=author, state=state)

    def create_dataset(
        self,
        dataset_title: str,
        dataset_type: StorageLocation | None = None,
        dataset_description: str = "",
        *,
        name: str | None = None,
    ) -> CreatedDataset:
        """Make a dataset in the first bucket of a kind of storage. ConflictError: the name is taken."""
        found = self._catalogues.catalogue_for(dataset_type)
        return found.create(dataset_title, dataset_description, name=name, author=self._author)

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
        return list(self._pages(wanted))

    def _pages(self, wanted: DatasetFilter) -> Iterator[ListedDataset]:
        infos, cursor = list(self._catalogues.infos()), None
        while True:
            page = wanted.page(infos, "title", 1000, cursor)
            for info in page.datasets:
                yield ListedDataset(dataset=info, user_role=self._catalogues.buckets[info.bucket].role())
            cursor = page.cursor
            if cursor is None:
                return

    def page(
        self, wanted: DatasetFilter | None = None, *, sort: str = "title", limit: int = 100, cursor: str | None = None
    ) -> DatasetPage:
        """Return a page of the datasets that fit, in an order: ``title``, ``created``, ``edited``, ``size``."""
        return (wanted or DatasetFilter()).page(self._catalogues.infos(), sort, limit, cursor)

    def role(self, bucket: str) -> DatasetUserRole:
        """Return what one may do in a bucket, as it was tried."""
        return self._catalogues.buckets[bucket].role()

    def get_dataset(self, dataset_hash: str) -> CatalogueDataset:
        """Return a dataset by its hash or name. NotFoundError: there is none."""
        found, name = self._catalogues.find(dataset_hash)
        return CatalogueDataset(found, name, self._author, self._jobs)

    def get_cloud_integrations(self) -> list[CloudIntegration]:
        """Return the remotes of the settings."""
        return integrations(self._catalogues.settings)

    @property
    def jobs(self) -> LocalJobs:
        """Long work of this user."""
        return self._jobs

    def close(self) -> None:
        """Leave long work that is not done to whoever asks next, and let go of connections."""
        self._jobs.close()
        self._catalogues.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _time(said: Time | None) -> dt.datetime | None:
    if isinstance(said, str):
        return parse_time(said)
    return said if said is None or said.tzinfo is not None else said.replace(tzinfo=dt.UTC)
