"""Files of a version by number: found by their positions in its tree, read through the block cache, decoded.

Which files there are is found out when it is first asked, by one look at every node of the tree (of a subdirectory,
where the handle names one); it travels with the pickled object, and to forked workers, so that they need not look.

Blocking, and thread-safe once that is known. What is open belongs to each process alone, see `Package`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

from penstock.api.opened import OpenedFiles, note_files
from penstock.api.packages.entry import Entry
from penstock.api.packages.meant_version import opened_version
from penstock.api.packages.package import Package, open_package
from penstock.errors import NotFoundError, UsageError
from penstock.manifest import entry as tree
from penstock.manifest.tree import ROOT_INODE, Inode
from penstock.repo.query.expression import parse_expression
from penstock.repo.query.query_record import Record
from penstock.repo.read.many_files import read_files

from .file_numbers import FileNumbers
from .sample import Filter, Sample

__all__ = ["Found", "VersionFiles"]

_MOST_ENTRIES = 200_000_000
"""A tree may name the same directories over and over; so many entries take minutes to go through."""
_FIRST_LOOKUP, _LARGEST_LOOKUP = 64, 1024
"""Files that are looked up together, in tree order: neighbours share the nodes that lead to them."""


class Found(NamedTuple):
    """A file that was looked up."""

    names: tuple[bytes, ...]
    entry: tree.TreeEntry


class VersionFiles:
    """The files of one version that a filter leaves, decoded and transformed as a training job wants them."""

    def __init__(
        self,
        package: Package | str,
        wanted: Filter | None,
        decode: Callable[[bytes], Any] | None,
        transform: Callable[[Sample], Any] | None,
    ) -> None:
        # Looked up here, once: in workers that do so by themselves a branch could stand elsewhere.
        self.package = package if isinstance(package, Package) else open_package(package)
        self.version = self.package.top_hash
        self._wanted = wanted
        self._decode = decode
        self._transform = transform
        self._numbers: FileNumbers | None = None

    @property
    def numbers(self) -> FileNumbers:
        """Which files there are. NotFoundError: none."""
        if self._numbers is None:
            self._numbers = self._find()
        return self._numbers

    def _find(self) -> FileNumbers:
        package, fits = self.package, _test(self._wanted)
        snapshot = package._snapshot  # noqa: SLF001  # of the same face
        if snapshot.root.entries > _MOST_ENTRIES:
            raise UsageError(
                f"{package.name} has {snapshot.root.entries} entries",
                why=f"a dataset to train on may have {_MOST_ENTRIES}",
                fix="Name a directory of it: bucket/dataset:ref/directory",
            )
        if fits is None:
            numbers = FileNumbers(snapshot.tree.files())
        else:
            walked = enumerate(snapshot.tree.walk(), ROOT_INODE + 1)  # numbers are positions in the order of a walk
            numbers = FileNumbers(
                range(inode, inode + 1)
                for inode, (names, entry) in walked
                if entry.is_file and fits(Entry(package, names, entry))
            )
        if not numbers:
            raise NotFoundError(
                f"no file of {package.name} fits the filter" if fits is not None else f"no file in {package.name}",
                fix="`ls` of the package shows what there is.",
            )
        self._numbers = numbers
        self.note(None, (0,))
        return numbers

    def digest(self) -> str:
        """Return a hash of the version, and of which of its files these are."""
        return blake2b(self.version.encode() + self.numbers.digest(), digest_size=16).hexdigest()

    def note(self, order: tuple[bool, int, int, int, bool] | None, mark: Sequence[int]) -> None:
        """Have stamps of this process tell of these files; the first number of `mark` is the epoch."""
        package, wanted = self.package, self._wanted
        version = opened_version(package.handle, package._snapshot)  # noqa: SLF001  # of the same face
        text = wanted if isinstance(wanted, str) else None
        function = getattr(wanted, "__qualname__", repr(wanted)) if callable(wanted) else None
        note_files(OpenedFiles(version, len(self.numbers), text, function, self.digest(), order), mark)

    def locate(self, numbers: Iterable[int]) -> Iterator[Found]:
        """Yield files in the order of their numbers, looked up some at a time."""
        numbered, tree_ = self.numbers, self.package._snapshot.tree  # noqa: SLF001  # of the same face
        rest = iter(numbers)
        count = _FIRST_LOOKUP
        while wanted := [numbered[number] for number in islice(rest, count)]:
            found: dict[Inode, Found] = {inode: Found(*tree_.locate(inode)) for inode in sorted(set(wanted))}
            yield from (found[inode] for inode in wanted)
            count = min(2 * count, _LARGEST_LOOKUP)

    def sample(self, number: int) -> Any:
        """Return one file, decoded and transformed."""
        (found,) = self.locate((number,))
        return self._made(found, self._entry(found).read())

    def samples(self, numbers: Iterable[int], budget: int | None) -> Generator[Any, None, None]:
        """Yield files in the order of their numbers, fetched several at once: at most `budget` bytes ahead."""
        ahead: deque[Found] = deque()

        def entries() -> Iterator[tree.TreeEntry]:
            for found in self.locate(numbers):
                ahead.append(found)
                yield found.entry

        with closing(read_files(self.package._snapshot, entries(), budget)) as reading:  # noqa: SLF001
            for data in reading:
                yield self._made(ahead.popleft(), data)

    def _entry(self, found: Found) -> Entry:
        return Entry(self.package, found.names, found.entry)

    def _made(self, found: Found, data: bytes) -> Any:
        entry = self._entry(found)
        try:
            sample = Sample(data if self._decode is None else self._decode(data), entry.metadata, entry.key)
            return sample if self._transform is None else self._transform(sample)
        except Exception as error:
            error.add_note(f"while {entry.key!r} of {self.package.name} was made a sample")
            raise


def _test(wanted: Filter | None) -> Callable[[Entry], bool] | None:
    """Return what says whether a file is wanted; UsageError: an expression that does not parse."""
    if not isinstance(wanted, str):
        return wanted
    expression = parse_expression(wanted)
    return lambda entry: expression(Record(entry.key, entry.size, entry.hash, entry.metadata))
