"""What the requests of one server share: buckets, keys, sessions, what is counted. Made once, by `serving`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue, BucketCatalogues
from penstock.catalogue.datasets.reach import DatasetReach
from penstock.catalogue.jobs.job_workers import JobWorkers
from penstock.catalogue.state.attempt_limit import AttemptLimit
from penstock.catalogue.state.database import Database
from penstock.catalogue.state.grant_table import GrantTable
from penstock.catalogue.state.key_table import KeyTable
from penstock.catalogue.state.reader_lease_table import ReaderLeaseTable
from penstock.catalogue.state.session_table import SessionTable
from penstock.catalogue.state.signing_secret import SigningSecret
from penstock.catalogue.state.upload_table import UploadTable

__all__ = ["ServerContext", "context_of"]


@dataclass(frozen=True, slots=True)
class ServerContext:
    """`is_trusting`: whoever asks over the loopback interface is an admin. `hosts`: names that a browser may use then.

    `address`: how users reach the server, empty: as they say themselves. `integrations`: remotes that keys may register
    data from which are no admin's. `role`: of the store, whose credentials are given out, cut down.
    `prepares`: what first requests would wait for is made ready when the server begins.
    """

    catalogues: BucketCatalogues
    database: Database
    keys: KeyTable
    sessions: SessionTable
    secret: SigningSecret
    is_trusting: bool
    hosts: frozenset[str]
    uploads: UploadTable
    workers: JobWorkers
    reader_leases: ReaderLeaseTable
    address: str = ""
    integrations: frozenset[str] = frozenset()
    role: str = ""
    prepares: bool = False
    failures: AttemptLimit = field(default_factory=lambda: AttemptLimit(10, 0.2))
    """Sign-ins that failed, by the address that they came from."""
    pace: AttemptLimit = field(default_factory=lambda: AttemptLimit(2000, 500))
    """Requests, by key."""

    reaches: dict[str, DatasetReach] = field(default_factory=dict)

    def reach(self, catalogue: BucketCatalogue, name: str) -> DatasetReach:
        """Return what belongs to a dataset."""
        hash_ = catalogue.hash_of(name)
        found = self.reaches.get(hash_)
        if found is None:
            made = DatasetReach(catalogue.session, name, hash_, GrantTable(self.database))
            found = self.reaches.setdefault(hash_, made)
        return found

    @property
    def buckets(self) -> Mapping[str, BucketCatalogue]:
        """The buckets by name."""
        return self.catalogues.buckets


def context_of(request: Request) -> ServerContext:
    """Return what the server of a request shares."""
    found = request.app.state.context
    assert isinstance(found, ServerContext)
    return found
