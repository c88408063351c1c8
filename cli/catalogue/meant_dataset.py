"""The dataset that a command of the catalogue is about: of a bucket, or behind a server, with a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, dataset_alone
from penstock.cli.invocation import Invocation

from .extra import catalogue_extra

if TYPE_CHECKING:
    from penstock.catalogue.client import Dataset

__all__ = ["opened_dataset"]


@contextmanager
def opened_dataset(invocation: Invocation, handle: Handle, *, state: str | None = None) -> Iterator[Dataset]:
    """Open ``bucket/dataset``, or ``https://host/bucket/dataset`` with the key of the environment.

    `state` is where jobs without a server are noted.
    """
    with catalogue_extra():
        from penstock.catalogue.client import Catalogue, Dataset
    alone = dataset_alone(handle)
    name = f"{alone.bucket}/{alone.dataset}"
    with ExitStack() as stack:
        if alone.bucket.startswith(("https://", "http://")):
            yield stack.enter_context(closing(Dataset(name)))
        else:
            catalogue = Catalogue.open(alone.bucket, settings=invocation.settings(), state=state)
            yield stack.enter_context(catalogue).get_dataset(name)
