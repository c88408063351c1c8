"""A bucket by its name: the datasets in it, and what keeps it clean and usable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from penstock.errors import UsageError
from penstock.repo.bucket.check import Check
from penstock.repo.bucket.repository import datasets_in
from penstock.store.opening import open_store

from .dataset import Dataset
from .doctor import doctor
from .handles import Handle, as_handle
from .settings import Settings

__all__ = ["Bucket"]


class Bucket:
    """A bucket: the name of a remote, ``s3://name``, ``file:///dir/``, or of an S3 bucket. A handle, as `Dataset`.

    UsageError: it is no bucket's name. `settings` are the user's by default.

    >>> import penstock
    >>> penstock.Bucket("demo").datasets()
    ['photos']
    """

    __slots__ = ("handle", "settings")

    def __init__(self, name: str | Handle, settings: Settings | None = None) -> None:
        handle = as_handle(name)
        if handle.dataset is not None:
            raise UsageError(f"{str(handle)!r} names a dataset", fix=f"Name the bucket: {handle.bucket}")
        self.handle = handle
        self.settings = settings or Settings.load()

    @property
    def name(self) -> str:
        """What the bucket is called here."""
        return self.handle.bucket

    @property
    def address(self) -> str:
        """Where it is: ``s3://bucket[/prefix]`` or ``file:///dir``."""
        return self.settings.locate_bucket(self.name)[0]

    def datasets(self, *, patience: float | None = None) -> list[str]:
        """Return the names of its datasets, in byte order. `patience`: seconds after which it is given up."""
        address, options = self.settings.locate_bucket(self.name)
        if patience is not None:
            options = replace(options, connect_timeout=min(1.0, patience), deadline=patience, max_attempts=1)
        with closing(open_store(address, options)) as store:
            return datasets_in(store)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset of it, whether it is there or not. UsageError: no dataset can have that name."""
        return Dataset(Handle(self.name, name), self.settings)

    def doctor(self, *, write: bool = False) -> Iterator[Check]:
        """Yield what there is to say of this machine and the bucket: see `penstock.doctor`."""
        return doctor(self.handle, write=write, settings=self.settings)

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"
