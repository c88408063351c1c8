"""New datasets that have some of the files of a version: samples, splits, what a filter finds. One part of `Package`.

No data is copied: entries of the new versions lead to where the bytes are, so that they lie in the same bucket. What
they were made from, and how, stands in the metadata of each new version, as ``derived_from``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock.api.datasets.new_version import NewVersion, new_version
from penstock.api.handles import DEFAULT_BRANCH, Handle, as_handle, dataset_alone, whole_version
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.manifest import entry as tree
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.query.query_record import Record

from .package_entries import PackageEntries
from .package_questions import question

if TYPE_CHECKING:
    from penstock.repo.read.snapshot import Snapshot

__all__ = ["PackageSubsets"]

_Plan = Callable[[Iterable[Record]], tuple[bytes, Mapping[str, Any]]]
_Question = Callable[[Iterable[Record]], Iterator[Record]]


class PackageSubsets(PackageEntries):
    """What new versions are made from a `Package`."""

    __slots__ = ()

    handle: Handle
    settings: Settings

    def sample(
        self,
        count: int | None,
        to: str | Handle,
        *,
        seed: int = 0,
        stratify: str | None = None,
        prefix: str = "",
        where: str | None = None,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> NewVersion:
        """Make `count` files, chosen by chance, the next version of ``bucket/dataset[:branch]``; None: all of them.

        Only files below `prefix` are chosen from that `where` is true for. With `stratify`, the name of a field, each
        of its values keeps its share. The same seed chooses the same files, on every machine. The directories that they
        lie in keep their metadata, and so does the dataset.

        UsageError: the other dataset lies in another bucket; a field that no file has; errors of filters, as `filter`.
        ConflictError: the branch moved meanwhile. Nothing has happened then.

        >>> import penstock
        >>> made = penstock.open("demo/photos").sample(2, "demo/few", seed=1)
        >>> made.bytes_uploaded, len(list(penstock.open("demo/few").glob("**/*.*")))
        (0, 2)
        """
        from penstock.repo.query.selection import plan_sample

        chosen = count if count is not None else 1 << 62
        how: dict[str, Any] = {"operation": "subset"}
        if count is not None:
            how = {"operation": "sample", "count": count, "seed": seed, "stratify": stratify}

        def plan(records: Iterable[Record]) -> bytes:
            return plan_sample(_having(records, stratify), chosen, seed=seed, stratify=_field(stratify))

        asked = question(where)
        numbers = plan(asked(self._records(prefix)))
        return self._publish(
            as_handle(to), numbers, 1, asked, prefix, {**how, "prefix": prefix, "where": where},
            tag, message, author, progress,
        )  # fmt: skip

    def split(
        self,
        shares: Mapping[str, float],
        to: str | Handle | None = None,
        *,
        seed: int = 0,
        stratify: str | None = None,
        group: str | None = None,
        prefix: str = "",
        where: str | None = None,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> dict[str, NewVersion]:
        """Divide the files among new datasets, one a part: ``{"train": 0.8, "val": 0.1, "test": 0.1}``.

        The datasets are called as `to`, by default as this one, with a dash and the part's name: ``photos-train``.
        With `stratify`, each value of that field is divided alike. With `group`, files with the same value of that
        field stay in one part. The same seed divides alike, on every machine. Each part is published on its own, one
        after the other; to do it again is safe. Errors as `sample`.

        >>> import penstock
        >>> made = penstock.open("demo/photos").split({"train": 2, "test": 1}, seed=3)
        >>> {part: (version.handle, version.bytes_uploaded) for part, version in made.items()}
        {'train': ('demo/photos-train:main', 0), 'test': ('demo/photos-test:main', 0)}
        """
        from penstock.repo.query.selection import plan_split

        asked = question(where)
        plan = plan_split(
            _having(_having(asked(self._records(prefix)), stratify), group),
            shares,
            seed=seed,
            stratify=_field(stratify),
            group=_field(group),
        )
        base = whole_version(as_handle(to) if to is not None else dataset_alone(self.handle))
        how: dict[str, Any] = {"operation": "split", "shares": dict(shares), "seed": seed, "stratify": stratify}
        how |= {"group": group, "prefix": prefix, "where": where}
        targets = [as_handle(str(Handle(base.bucket, f"{base.dataset}-{name}", base.ref))) for name in plan.names]
        for target in targets:
            self._check_bucket(target)
        return {
            name: self._publish(
                target, plan.parts, part, asked, prefix, {**how, "part": name}, tag, message, author, progress
            )
            for part, (name, target) in enumerate(zip(plan.names, targets, strict=True))
        }

    def _records(self, prefix: str) -> Iterable[Record]:
        from penstock.repo.read.entry_records import EntryRecords

        return EntryRecords(self._snapshot, prefix)

    @property
    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    def _check_bucket(self, target: Handle) -> None:
        from penstock.repo.settings.bucket_setup import BucketSetup

        here, there = (BucketSetup.of(each.bucket, self.settings).address for each in (self.handle, target))
        if here.rstrip("/") != there.rstrip("/"):
            raise UsageError(
                f"{target} lies in another bucket than {dataset_alone(self.handle)}",
                why="a subset refers to data that is there already, and copies none",
                fix=f"Name a dataset in {self.handle.bucket!r}, or `penstock download` that and push it elsewhere.",
            )

    def _publish(
        self,
        to: Handle,
        numbers: bytes,
        number: int,
        asked: _Question,
        prefix: str,
        how: Mapping[str, Any],
        tag: str | None,
        message: str,
        author: str | None,
        progress: Progress,
    ) -> NewVersion:
        """Publish what a plan gave a number: it says one for each record of the stream."""
        from penstock.api.datasets.dataset_session import authorship
        from penstock.repo.push.subset import publish_subset
        from penstock.repo.read.entry_records import EntryRecords
        from penstock.repo.session.bucket_session import open_session
        from penstock.repo.write.version_writer import VersionWriter

        whole_version(to)
        self._check_bucket(to)
        snapshot, branch = self._snapshot, to.ref or DEFAULT_BRANCH
        assert to.dataset is not None
        source = {"dataset": snapshot.dataset, "top_hash": snapshot.manifest.top_hash.hex(), **how}
        metadata = parse_metadata(snapshot.read_metadata(snapshot.root_metadata))
        metadata["derived_from"] = {name: value for name, value in source.items() if value not in (None, "")}
        who = authorship(author, message, str(how["operation"]))

        def chosen() -> Iterator[tuple[tuple[bytes, ...], tree.TreeEntry]]:
            found = EntryRecords(snapshot, prefix).chosen(asked)
            for at, (_, names, entry) in enumerate(found):
                if numbers[at] == number:
                    yield names, entry

        with open_session(to.bucket, self.settings) as session:
            repository = session.repository(to.dataset)
            kind = LeaseKind.HISTORY
            with VersionWriter(session, repository, kind, who, branch=branch, tag=tag, progress=progress) as writer:
                report = publish_subset(writer, snapshot, chosen(), canonical_json(metadata), progress)
                return new_version(f"{dataset_alone(to)}:{branch}", tag, report, writer.risk)


def _field(name: str | None) -> tuple[str, ...] | None:
    return tuple(name.split(".")) if name is not None else None


def _having(records: Iterable[Record], field: str | None) -> Iterable[Record]:
    """Pass records on. UsageError, at the end: none of them has a field."""
    from penstock.repo.query.expression import known_fields

    names = _field(field)
    return known_fields(records, [names]) if names is not None else records
