"""What an address is about: a dataset, a version of it, a key in that. All that a visitor may see is found here.

**Invariant:** a `Place` exists only of a dataset that its visitor's key opens, and its version is one of that dataset:
whoever knows a hash, a commit or a path of another one gets nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from penstock.api.datasets.dataset import Dataset
from penstock.api.handles import DEFAULT_BRANCH, Handle
from penstock.api.packages.package import Package
from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.page.content.shown_text import query_values, shell_line, url_of
from penstock.catalogue.server.context import context_of
from penstock.catalogue.server.routes_datasets import opened
from penstock.catalogue.state.caller import TRUSTED
from penstock.errors import UsageError

from .page_context import PageContext, page_context_of
from .visitor import Visitor

__all__ = ["Place", "place_of", "values_of"]


def values_of(request: Request) -> Mapping[str, str]:
    """Return the values of a request's query. UsageError: there are too many."""
    try:
        return query_values(request.scope["query_string"])
    except ValueError as error:
        raise UsageError("the address is not valid", why=str(error)) from error


@dataclass(frozen=True)
class Place:
    """`at` is as it was asked for, a branch, tag or hash; `key` is in that version."""

    pages: PageContext
    visitor: Visitor
    catalogue: BucketCatalogue
    name: str
    hash: str
    at: str
    key: str
    address: str = ""
    """How the visitor's own programs reach the bucket; empty: by its name, as this machine does."""

    @cached_property
    def package(self) -> Package:
        """The version, looked up now. NotFoundError: there is none."""
        return self.pages.versions.find(self.catalogue, self.name, self.at)

    @cached_property
    def exact(self) -> str:
        """The version by its own name: what is shown by it never changes."""
        return self.package.commit or self.package.top_hash

    @property
    def dataset(self) -> Dataset:
        """The dataset."""
        return self.catalogue.dataset(self.name)

    @property
    def branch(self) -> str | None:
        """The branch that changes would go to; None: a tag or an older version is shown."""
        if self.at == DEFAULT_BRANCH:
            return self.at
        heads = self.catalogue.session.repository(self.name).refs.branches()
        return self.at if self.at in heads else None

    @property
    def can_write(self) -> bool:
        """Whether the visitor's key allows changes."""
        return DatasetScope.WRITE in self.visitor.caller.scopes

    @property
    def handle(self) -> str:
        """How the version is named on a command line, as it was asked for."""
        return str(Handle(self.address or self.catalogue.bucket, self.name, self.at))

    def command(self, *words: str) -> str:
        """Return a line for a shell; a word ``@`` stands for the version, ``@/`` for the key in it."""
        own = {"@": self.handle, "@/": f"{self.handle}/{self.key}" if self.key else self.handle}
        return shell_line("penstock", *(own.get(word, word) for word in words))

    def url(self, page: str = "", *, at: str | None = None, key: str | None = None, **values: object) -> str:
        """Return the address of a page of the dataset, by default at this version."""
        path = f"/dataset/{self.hash}" + (f"/{page}" if page else "")
        shown = self.at if at is None else at
        return url_of(path, at="" if shown == DEFAULT_BRANCH else shown, path=key, **values)

    def exact_url(self, page: str, key: str, **values: object) -> str:
        """Return an address of something that never changes, to be kept by browsers."""
        return self.url(page, at=self.exact, key=key, **values)


def place_of(request: Request, visitor: Visitor, dataset: str, scope: DatasetScope = DatasetScope.READ) -> Place:
    """Return what a request is about. AccessError: it is not the visitor's. NotFoundError: there is no such dataset."""
    catalogue, name = opened(context_of(request), visitor.caller, dataset, scope)
    values = values_of(request)
    at, key = values.get("at", "") or DEFAULT_BRANCH, values.get("path", "")
    address = _address(request, catalogue.bucket) if visitor.caller.name != TRUSTED.name else ""
    return Place(page_context_of(request), visitor, catalogue, name, catalogue.hash_of(name), at, key, address)


def _address(request: Request, bucket: str) -> str:
    """Return the address of a bucket behind this server; empty: what the request says of it is none."""
    address = f"{context_of(request).address or str(request.base_url).rstrip('/')}/{bucket}"
    try:
        return Handle(address).bucket
    except UsageError:
        return ""
