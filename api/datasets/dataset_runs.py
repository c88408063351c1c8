"""What was trained on versions of a dataset, as its bucket has it. One part of `Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.manifest.entry import split_path

from .dataset_session import DatasetSession

if TYPE_CHECKING:
    from penstock.manifest.entry import TreeEntry
    from penstock.repo.runs.content_search import ContentSearch
    from penstock.repo.runs.run_record import OpenedData, RunRecord

__all__ = ["DatasetRuns", "TrainingRun", "training_run"]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One run: who trained what, when, with which parameters; `versions` are the top hashes that it was on.

    `opened` is what of its stamp is about the dataset, as `penstock.stamp` has it. `has_file`, where it was asked for
    one: "yes" if a version has it where the run has opened it, "perhaps" if a filter decides that nobody can ask now.
    """

    run: str
    name: str
    time: str
    author: str
    model: str
    url: str
    parameters: Mapping[str, Any]
    versions: Sequence[str]
    opened: Sequence[Mapping[str, Any]]
    has_file: Literal["yes", "perhaps"] | None = None


def training_run(record: RunRecord, has_file: Literal["yes", "perhaps"] | None = None) -> TrainingRun:
    """Return a record as a value."""
    import msgspec

    return TrainingRun(
        record.run,
        record.name,
        record.time,
        record.author,
        record.model,
        record.url,
        record.parameters,
        tuple(dict.fromkeys(each.top_hash for each in record.opened)),
        tuple(msgspec.to_builtins(each) for each in record.opened),
        has_file,
    )


class DatasetRuns(DatasetSession):
    """What a `Dataset` tells of runs on it."""

    __slots__ = ()

    def runs(self, ref: str | None = None, *, file: str | None = None) -> Iterator[TrainingRun]:
        """Yield the runs that were recorded on a version, or on any; the newest first.

        With `file`, a path in the version `ref` (by default of ``main``), those on any version that holds that content,
        wherever it lies there. What versions have in common is looked at once.

        NotFoundError: there is no such version, or no such file in it. UsageError: the path is no file's.
        """
        from penstock.repo.runs.run_list import list_runs

        repository = self._repository
        if file is None:
            top_hash = repository.resolve(ref).top_hash if ref is not None else None
            records = sorted(list_runs(repository, top_hash), key=lambda record: record.time, reverse=True)
            yield from map(training_run, records)
            return
        names, wanted = split_path(file), self._file_at(ref, file)
        from penstock.repo.runs.content_search import ContentSearch

        search = ContentSearch(wanted.hash, self._session.get().load)
        for record in sorted(list_runs(repository), key=lambda record: record.time, reverse=True):
            found = {self._has(each, names, wanted, search) for each in record.opened}
            if "yes" in found:
                yield training_run(record, "yes")
            elif "perhaps" in found:
                yield training_run(record, "perhaps")

    def _file_at(self, ref: str | None, path: str) -> TreeEntry:
        from penstock.errors import NotFoundError, UsageError
        from penstock.manifest.tree import Tree
        from penstock.repo.history.log import entry_at

        version = self._repository.resolve(ref)
        manifest = self._repository.manifest(version.top_hash)
        entry = entry_at(Tree(manifest.root, self._session.get().load), split_path(path))
        if entry is None:
            raise NotFoundError(
                f"no {path!r} in {self.name}:{version.ref}",
                why="a file is asked for by where it lies in a version",
                fix=f"Name one that has it: {self.name}:REF; `penstock log {self.name} {path}` lists those.",
            )
        if not entry.is_file:
            raise UsageError(f"{path!r} is no file", fix="Name one file of it.")
        return entry

    def _has(
        self, opened: OpenedData, names: tuple[bytes, ...], wanted: TreeEntry, search: ContentSearch
    ) -> Literal["yes", "perhaps", "no"]:
        from penstock.manifest.tree import Tree
        from penstock.repo.history.log import entry_at
        from penstock.repo.runs.run_list import is_there

        if not is_there(self._repository, opened.top_hash):  # it is gone, with what it held
            return "no"
        manifest = self._repository.manifest(bytes.fromhex(opened.top_hash))
        tree = Tree(manifest.root, self._session.get().load)
        inside = split_path(opened.subdir)
        below = entry_at(tree, inside)
        if below is None or below.directory is None or not search.is_in(below.directory):
            return "no"
        subset = opened.subset
        if subset is None or (subset.filter is None and subset.function is None):
            return "yes"
        there = entry_at(tree, names)
        is_same = there is not None and there.is_file and there.hash == wanted.hash and names[: len(inside)] == inside
        if there is None or not is_same or subset.filter is None:
            return "perhaps"
        return "yes" if self._passes(subset.filter, names[len(inside) :], there) else "perhaps"

    def _passes(self, filter_: str, names: tuple[bytes, ...], entry: TreeEntry) -> bool:
        from penstock.errors import UsageError
        from penstock.manifest.entry import display_path
        from penstock.manifest.metadata import parse_metadata
        from penstock.repo.query.expression import parse_expression
        from penstock.repo.query.query_record import Record

        metadata = parse_metadata(self._session.get().nodes.metadata(entry.metadata))
        try:
            return bool(parse_expression(filter_)(Record(display_path(names), entry.size, entry.shown_hash, metadata)))
        except UsageError:  # written by hand, or by a later Penstock
            return False
