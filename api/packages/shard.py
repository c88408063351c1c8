"""A share of a version's files for one of many workers: pickled in a few bytes, read by the worker itself."""

from __future__ import annotations

import builtins
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from penstock.repo.read.shard_files import shard_entries

from .entry import Entry
from .package_entries import PackageEntries

__all__ = ["Shard"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `number`, counted from 1, of `of`: `files` files with `bytes` bytes of `package`, in tree order.

    Made by `Package.shards`. `runs` are entries by their position in the tree, which is all that travels. Each process
    reads through a session and a block cache of its own.
    """

    package: PackageEntries
    number: int
    of: int
    files: int
    bytes: int
    runs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        """Return how many files it has."""
        return self.files

    def __iter__(self) -> Iterator[Entry]:
        """Yield its files."""
        for names, entry in shard_entries(self.package._snapshot, self.runs):  # noqa: SLF001  # of this room
            yield Entry(self.package, names, entry)

    def read(self, *, budget: int | None = None) -> Generator[tuple[Entry, builtins.bytes], None, None]:
        """Yield each file with its bytes, fetched ahead along the packs: see `Package.read_many`."""
        yield from zip(self, self.package.read_many(self, budget=budget), strict=True)
