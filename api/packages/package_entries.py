"""The entries of a version: looked up, listed, walked, found by pattern, read. The reading half of `Package`.

Whatever is asked loads the nodes that the answer needs and no others: of ten million entries, a page of a listing or
one entry's metadata costs a handful of requests. A key is a path in the package; slashes at its ends are ignored.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from io import TextIOWrapper
from itertools import islice
from typing import Any, Literal, overload

import msgspec

from penstock.errors import NotFoundError, UsageError
from penstock.manifest import entry as tree
from penstock.manifest.entry import BLOCK_SIZE, display_path, split_path
from penstock.manifest.metadata import parse_metadata
from penstock.manifest.tree import ROOT_INODE, Inode
from penstock.repo.push.globs import Glob, GlobError, parse_glob
from penstock.repo.read.many_files import read_files
from penstock.repo.read.snapshot import Snapshot

from .entry import Entry, PhysicalKey, kind_name
from .entry_file import EntryFile
from .listing import Listing, Text

__all__ = ["PackageEntries"]

_READMES = (b"README.md", b"README", b"README.rst", b"README.txt", b"Readme.md", b"readme.md")
_MOST_README = 4 << 20
_SEVERAL_REQUESTS = 8 * BLOCK_SIZE
"""A file from this size on is read by several requests at once."""


class PackageEntries(ABC):
    """What a `Package` is as a collection of entries, in tree order: a directory, what is below it, the next name."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The handle that it was named by."""

    @property
    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    @abstractmethod
    def _within(self, key: str) -> str:
        """Return how a key is told."""

    def entry(self, path: str) -> Entry:
        """Return the entry at a path; the empty path is the root. NotFoundError names what is near."""
        snapshot = self._snapshot
        names, found = split_path(path), snapshot.find(path)
        if not names:  # what stands above the root has its metadata
            found = msgspec.structs.replace(found, metadata=snapshot.root_metadata)
        return Entry(self, names, found)

    def find(self, key: str) -> Entry | None:
        """Return the entry at a key; None: there is none."""
        tree = self._snapshot.tree  # what is wrong with the version itself is an error
        try:
            names = split_path(key)
            return Entry(self, names, tree.resolve(names)[1]) if names else self.entry("")
        except (NotFoundError, UsageError):  # the latter: no version can have such a name
            return None

    def __getitem__(self, key: str) -> Entry:
        """Return the entry at a key; see `entry`."""
        return self.entry(key)

    def __contains__(self, key: object) -> bool:
        """Return whether there is an entry at a key."""
        return isinstance(key, str) and self.find(key) is not None

    def __len__(self) -> int:
        """Return how many entries there are, directories among them: as many as iteration yields."""
        return self._snapshot.root.entries

    def __bool__(self) -> bool:
        """Return True: an empty package is a package."""
        return True

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries in tree order, loaded as they are reached."""
        return self._ls("", True, None)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all entries in tree order."""
        return (entry.key for entry in self)

    def ls(
        self, path: str = "", *, recursive: bool = False, limit: int | None = None, after: str | None = None
    ) -> Listing:
        """Return the entries of a directory in byte order of their names, or, `recursive`, all below it in tree order.

        At most `limit` of them, from behind the name `after` of that directory on. A path of a file gives that. They
        are loaded as the listing is gone through: of ten million entries, a page costs what a page is. What is wrong
        with the path, the first step says.

        UsageError: `after` together with `recursive`.

        >>> import penstock
        >>> package = penstock.Package("demo/photos")
        >>> package.ls()
        2024/
        labels.csv
        >>> [entry.name for entry in package.ls("2024", limit=1)]
        ['cat.jpg']
        """
        return Listing(lambda: islice(self._ls(path, recursive, after), limit))

    def _ls(self, path: str, recursive: bool, after: str | None) -> Iterator[Entry]:
        snapshot = self._snapshot
        names = split_path(path)
        entry = snapshot.find(path)
        if entry.directory is None:
            yield Entry(self, names, entry)
            return
        if recursive:
            if after is not None:
                raise UsageError(
                    "--after with --recursive", why="it names an entry of one directory", fix="Leave one out."
                )
            for more, below in snapshot.tree.walk(entry.directory):
                yield Entry(self, names + more, below)
            return
        behind = split_path(after)[-1:] if after is not None else ()
        for _, below in snapshot.tree.children(entry.directory, after=behind[0] if behind else None):
            yield Entry(self, (*names, below.name), below)

    def walk(self, path: str = "") -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each directory at and below a path as `os.walk` does: its key, names of directories, names of the rest.

        Names that are taken out of the list of directories are not gone into.

        >>> import penstock
        >>> for key, directories, files in penstock.open("demo/photos").walk():
        ...     print(repr(key), directories, files)
        '' ['2024'] ['labels.csv']
        '2024' [] ['cat.jpg', 'dog.jpg']
        """
        snapshot = self._snapshot
        top = self.entry(path)
        if not top.is_directory():
            raise UsageError(f"{self._within(top.key)} is a {top.kind}", fix="Name a directory.")
        stack = [split_path(path)]
        while stack:
            names = stack.pop()
            directory = snapshot.tree.resolve(names)[1].directory
            directories: list[str] = []
            others: list[str] = []
            for _, entry in snapshot.tree.children(directory) if directory is not None else ():
                (others if entry.directory is None else directories).append(display_path((entry.name,)))
            yield display_path(names), directories, others
            stack += [(*names, *split_path(name)) for name in reversed(directories)]

    def glob(self, pattern: str) -> Iterator[Entry]:
        """Yield the entries that a pattern fits, in tree order. Only directories are loaded that it can fit below.

        ``*``, ``?`` and ``[a-z]`` stand for what is within one name, ``**`` for any number of directories, a slash at
        the end for directories alone. UsageError: it is no pattern.

        >>> import penstock
        >>> [entry.key for entry in penstock.open("demo/photos").glob("**/*.jpg")]
        ['2024/cat.jpg', '2024/dog.jpg']
        """
        glob = _glob(pattern)
        snapshot = self._snapshot
        stack: list[tuple[tuple[bytes, ...], tuple[int, ...], Iterator[tuple[int, tree.TreeEntry]]]] = []
        stack.append(((), glob.start, snapshot.tree.children(snapshot.root)))
        while stack:
            names, places, children = stack[-1]
            fits = glob.last(places)
            for _, entry in children:
                path = (*names, entry.name)
                is_directory = entry.directory is not None
                if fits is not None and fits(entry.name) and (is_directory or not glob.directories_only):
                    yield Entry(self, path, entry)
                if entry.directory is not None:
                    below = glob.step(places, entry.name)
                    if below:
                        stack.append((path, below, snapshot.tree.children(entry.directory)))
                        break
            else:
                stack.pop()

    def some(self, count: int, *, seed: int = 0, run: int = 1) -> Iterator[Entry]:
        """Yield entries chosen by chance from all of them, in tree order: `count` times `run` that follow each other.

        Only what leads to them is loaded: of ten million entries, a look at some costs what those cost. The same seed
        chooses the same ones. Where no more are there than are asked for, all of them come.

        >>> import penstock
        >>> [entry.key for entry in penstock.open("demo/photos").some(9)]
        ['2024', '2024/cat.jpg', '2024/dog.jpg', 'labels.csv']
        """
        snapshot = self._snapshot
        total = snapshot.root.entries
        if count * run >= total:
            yield from self
            return
        starts = sorted(random.Random(seed).sample(range(1 + (total - 1) // run), count))  # no secret
        for start in starts:
            first = start * run
            for position in range(first, min(first + run, total)):
                yield Entry(self, *snapshot.tree.locate(Inode(ROOT_INODE + 1 + position)))

    def blocks(self, path: str) -> Iterator[memoryview]:
        """Yield the bytes of a file in pieces of at most 1 MiB, each verified. UsageError: it is no file."""
        return self.entry(path).blocks()

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, all in memory. UsageError: it is no file."""
        return self.entry(path).read()

    def read_many(self, keys: Iterable[str | Entry], *, budget: int | None = None) -> Generator[bytes, None, None]:
        """Yield the bytes of many files in the order of their keys, fetched several at once and ahead.

        What lies close together in the store is fetched by one request. `budget` bounds the bytes that are fetched and
        not yet yielded: 128 MiB by default, less where memory is short. Keys are taken as they are needed. A file that
        cannot be read is an error when its turn comes.

        >>> import penstock
        >>> package = penstock.open("demo/photos")
        >>> list(package.read_many(["labels.csv", "2024/cat.jpg"]))
        [b'cat,1', b'cat']
        """
        return read_files(self._snapshot, map(self._file, keys), budget)

    def _file(self, key: str | Entry) -> tree.TreeEntry:
        path = key.key if isinstance(key, Entry) else key
        return self._require_file(self._snapshot.find(path), path)

    @overload
    def open(self, key: str, mode: Literal["rb"] = "rb") -> EntryFile: ...
    @overload
    def open(
        self,
        key: str,
        mode: Literal["r", "rt"],
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIOWrapper: ...
    def open(
        self,
        key: str,
        mode: str = "rb",
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> EntryFile | TextIOWrapper:
        """Open a file for reading, seekable: see `Entry.open`.

        >>> import penstock
        >>> with penstock.open("demo/photos").open("labels.csv", "rt") as lines:
        ...     lines.read()
        'cat,1'
        """
        return self.entry(key).open(mode, encoding, errors, newline)

    def get_metadata(self, key: str = "") -> dict[str, Any]:
        """Return the metadata of an entry; of the dataset by default."""
        return self.entry(key).metadata

    def readme(self) -> Text:
        """Return the text of the README at the top. NotFoundError: there is none.

        UsageError: it has more than 4 MiB.
        """
        for name in _READMES:
            found = self._snapshot.tree.find(self._snapshot.root, name)
            if found is not None and found[0].is_file:
                entry = Entry(self, (name,), found[0])
                if entry.size > _MOST_README:
                    raise UsageError(f"{self._within(entry.key)} is too large to be shown", fix="Read it as a file.")
                return Text(entry.read().decode("utf-8", "replace"))
        raise NotFoundError(f"no README in {self._within('')}", fix="`ls()` shows what there is.")

    def physical_keys(self, path: str) -> list[PhysicalKey]:
        """Say where the bytes of a file lie, in their order."""
        return self.entry(path).physical_keys

    def _entry_blocks(self, entry: tree.TreeEntry, key: str, blocks: range | None = None) -> Iterator[memoryview]:
        """Yield the bytes of one of its entries, or of some blocks of it; for `Entry`, which knows its own."""
        return self._snapshot.read(self._require_file(entry, key), blocks)

    def _entry_bytes(self, entry: tree.TreeEntry, key: str) -> bytes:
        """Return the bytes of one of its entries; for `Entry`, which knows its own."""
        self._require_file(entry, key)
        if entry.size < _SEVERAL_REQUESTS:
            return b"".join(self._snapshot.read(entry))
        return next(read_files(self._snapshot, (entry,)))

    def _entry_metadata(self, entry: tree.TreeEntry) -> dict[str, Any]:
        """Return the metadata of one of its entries; for `Entry`, which knows its own."""
        if not entry.metadata:
            return {}
        return parse_metadata(self._snapshot.read_metadata(entry.metadata))

    def _entry_places(self, entry: tree.TreeEntry) -> list[PhysicalKey]:
        """Say where the bytes of one of its entries lie; for `Entry`, which knows its own."""
        return [PhysicalKey(*place) for place in self._snapshot.physical(entry)]

    def _require_file(self, entry: tree.TreeEntry, key: str) -> tree.TreeEntry:
        if not entry.is_file:
            raise UsageError(
                f"{self._within(key)} is a {kind_name(entry)}", fix="Name a file; `penstock ls` shows what there is."
            )
        return entry


def _glob(pattern: str) -> Glob:
    try:
        # With a slash in front it is held against whole paths: without one it would fit a name at any depth.
        glob = parse_glob(b"/" + pattern.removeprefix("/").encode("utf-8", "surrogateescape"))
    except GlobError as error:
        raise UsageError(f"bad pattern {pattern[:100]!r}", why=str(error)) from error
    if glob is None:
        raise UsageError(
            f"bad pattern {pattern[:100]!r}", why="nothing can fit it", fix="Write one such as '**/*.jpg'."
        )
    return glob
