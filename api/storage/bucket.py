"""A bucket by its name: the datasets in it, and what keeps it clean and usable.

What only some methods need is imported by those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, as_handle
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.progress import SILENT, Progress
from penstock.repo.refs.repository import datasets_in
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.bucket_setup import BucketSetup

if TYPE_CHECKING:
    from penstock.api.datasets.dataset import Dataset
    from penstock.repo.doctor.check import Check
    from penstock.repo.gc.gc_report import GcReport

    from .upkeep import GarbageReport

__all__ = ["Bucket"]

_DAY = 86400.0


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
        setup = BucketSetup.of(self.name, self.settings)
        if patience is not None:
            setup = setup.hurried(patience)
        with BucketSession(setup) as session:
            return datasets_in(session.store)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset of it, whether it is there or not. UsageError: no dataset can have that name."""
        from penstock.api.datasets.dataset import Dataset

        return Dataset(Handle(self.name, name), self.settings)

    def gc(
        self,
        *,
        delete: bool = False,
        grace: float = _DAY,
        patience: float = 60.0,
        old_versions: bool = False,
        without_refs: bool = False,
        agree: Callable[[GarbageReport], bool] | None = None,
        progress: Progress = SILENT,
    ) -> GarbageReport:
        """Find what no version in the bucket needs and, with `delete`, note it and delete what is due.

        Needed is all that a branch or tag leads to, with its whole history; where a branch stood within the last
        `grace` seconds; what a mount or overlay shows; and what is younger than that. What is found is due when a run
        finds it again `grace` seconds after it was noted. Without a grace period all of it goes at once, if `agree`
        says so of the report. `patience`: seconds for which pushes and commits are waited for. `old_versions`: in a
        bucket that keeps versions, those of garbage too. `without_refs`: it is meant to hold no branch and no tag.

        IntegrityError: a version is damaged, or the bucket's listings cannot be trusted. ConflictError: there are
        objects, and no ref. AccessError: it may not be written. Nothing was deleted then.

        >>> import penstock
        >>> penstock.Bucket("demo").gc().garbage.objects
        0
        """
        from penstock.repo.gc.collect import collect

        from .upkeep import garbage_report

        with open_session(self.name, self.settings) as session:
            address = session.store.url

            def told(report: GcReport) -> bool:
                return agree is None or agree(garbage_report(address, report, dry_run=False))

            report = collect(
                session.store,
                session.load,
                progress,
                grace=grace,
                delete=delete,
                old_versions=old_versions,
                without_refs=without_refs,
                agree=told,
                patience=patience,
            )
            return garbage_report(address, report, dry_run=not delete)

    def forget_garbage(self) -> int:
        """Drop what earlier runs of `gc` noted and return how many notes there were; nothing else is deleted."""
        from penstock.repo.gc.collect import forget_notes

        with open_session(self.name, self.settings, cached=False) as session:
            return forget_notes(session.store)

    def doctor(self, *, write: bool = False) -> Iterator[Check]:
        """Yield what there is to say of this machine and the bucket: see `penstock.doctor`."""
        from .doctor import doctor

        return doctor(self.handle, write=write, settings=self.settings)

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"
