"""What differs between two versions, as people want it told: added, modified, deleted, renamed; listed or counted.

Works in time proportional to the difference. A rename is found by equal hashes among what was added and what was
deleted, directories as wholes before their files; beyond `MOST_FOR_RENAMES` changes nobody looks for renames, and
changes are told as they are met, in memory that does not grow.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from penstock.errors import NotFoundError
from penstock.manifest.ahead import LoadNodes, load_ahead
from penstock.manifest.descend import LoadNode
from penstock.manifest.diff import Change, changes, diff, same_content
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, block_count, display_path
from penstock.manifest.hashing import hash_of_blocks
from penstock.manifest.tree import Tree

from .log import entry_at

__all__ = ["MOST_FOR_RENAMES", "Contents", "Difference", "Tally", "compare", "differences", "name_uncompared", "tally"]

MOST_FOR_RENAMES = 100_000
_MOST_NAMES = 10 * MOST_FOR_RENAMES
"""Names in the paths of the changes among which renames are looked for: a path may have thousands."""

Path = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A tree to compare: its root (None: nothing) and what loads its nodes.

    With `load_many`, which leaves nodes where `load` finds them at once, what differs is fetched level by level.
    `known_hash` gives the hash of a block of a file, None where nobody knows it.
    """

    root: NodeRef | None
    load: LoadNode
    load_many: LoadNodes | None = None
    known_hash: Callable[[TreeEntry, int], bytes | None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs. `kind`: A added, M modified, D deleted, R renamed from `old_path`.

    U uncompared: a file of the same size, whose bytes nobody knows on the one side; see `name_uncompared`.
    """

    kind: str
    path: Path
    old: TreeEntry | None
    new: TreeEntry | None
    old_path: Path | None = None


@dataclass(slots=True)
class Tally:
    """How many entries differ, directories among them, and the bytes of files that came and went."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    renamed: int = 0
    uncompared: int = 0
    bytes_added: int = 0
    bytes_deleted: int = 0

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.modified or self.deleted or self.renamed or self.uncompared)

    def add(self, difference: Difference) -> None:
        """Count one difference of a listing."""
        old, new = difference.old, difference.new
        self.added += difference.kind == "A"
        self.modified += difference.kind == "M"
        self.deleted += difference.kind == "D"
        self.renamed += difference.kind == "R"
        self.uncompared += difference.kind == "U"
        if difference.kind not in ("R", "U"):
            self.bytes_added += _file_bytes(new)
            self.bytes_deleted += _file_bytes(old)


def compare(old: Contents, new: Contents, path: Path = (), *, content_only: bool = False) -> Iterator[Change]:
    """Yield every path that differs, at and below `path`, in tree order. NotFoundError: neither tree has the path.

    With `content_only`, user metadata is no difference: for directories on disk, which have none. Nor is it one that a
    file is pinned by identity in the old tree, where its bytes are known and the same.
    """
    found = _changes(old, new, path)
    return (change for change in found if not _same_bytes(change, old)) if content_only else found


def name_uncompared(found: Iterable[Difference], old: Contents) -> Iterator[Difference]:
    """Say of files that count as modified for want of knowledge of their bytes that they could not be compared."""
    for each in found:
        is_unknown = each.kind == "M" and each.old is not None and each.new is not None
        if is_unknown and _are_equal(each.old, each.new, old) is None:  # type: ignore[arg-type]  # just looked at
            yield replace(each, kind="U")
        else:
            yield each


def _changes(old: Contents, new: Contents, path: Path) -> Iterator[Change]:
    if not path:
        _load_ahead(old, new, old.root, new.root)
        yield from diff(old.root, new.root, old.load, new.load)
        return
    before, after = (entry_at(Tree(each.root, each.load), path) if each.root else None for each in (old, new))
    if before is None and after is None:
        raise NotFoundError(f"neither version has {display_path(path)!r}", fix="`penstock ls` shows what there is.")
    below = before.directory if before is not None else None, after.directory if after is not None else None
    if (
        before is None
        or after is None
        or not (before.metadata == after.metadata if None not in below else same_content(before, after))
    ):
        yield Change(path, before, after)
    _load_ahead(old, new, *below)
    for change in diff(*below, old.load, new.load):
        yield change._replace(path=path + change.path)


def _load_ahead(old: Contents, new: Contents, old_root: NodeRef | None, new_root: NodeRef | None) -> None:
    if old.load_many is not None and new.load_many is not None:
        load_ahead(old_root, new_root, old.load_many, new.load_many)


def _same_bytes(change: Change, contents: Contents) -> bool:
    old, new = change.old, change.new
    if old is None or new is None or old.kind is not new.kind:
        return False
    return old.kind is Kind.DIRECTORY or _are_equal(old, new, contents) is True


def _are_equal(old: TreeEntry, new: TreeEntry, contents: Contents) -> bool | None:
    """Whether two entries of one kind have the same bytes; None: nobody knows those of the old one."""
    if old.size != new.size or old.hash == new.hash or not old.is_identity or new.is_identity or old.kind != new.kind:
        return (old.kind, old.size, old.hash) == (new.kind, new.size, new.hash)
    known = [contents.known_hash(old, index) for index in range(block_count(old.size))]
    blocks = b"".join(digest for digest in known if digest is not None)
    if None in known:
        return None
    return (blocks if len(known) == 1 else hash_of_blocks(old.size, blocks)) == new.hash


def differences(found: Iterable[Change]) -> Iterator[Difference]:
    """Name the changes of a `compare`, finding renames when they are not too many."""
    source = iter(found)
    first: list[Change] = []
    names = 0
    for change in source:
        first.append(change)
        names += len(change.path)
        if len(first) > MOST_FOR_RENAMES or names > _MOST_NAMES:
            break
    else:
        return iter(_with_renames(first))
    return map(_plain, chain(first, source))


def _plain(change: Change) -> Difference:
    kind = "A" if change.old is None else "D" if change.new is None else "M"
    return Difference(kind, change.path, change.old, change.new)


def _with_renames(found: list[Change]) -> list[Difference]:
    gone: dict[tuple[object, ...], deque[Change]] = defaultdict(deque)
    for change in found:
        if change.old is not None and change.new is None and _telling(change.old):
            gone[_identity(change.old)].append(change)
    renamed: dict[Path, Change] = {}  # by the path that is new: the change that took the old one away
    covered: set[Path] = set()  # whose content came or went with a directory that was renamed
    sources: set[Path] = set()
    # Directories first, and in tree order: one that was renamed as a whole is told as one.
    for folders in (True, False):
        for change in found:
            new = change.new
            if new is None or (new.kind is Kind.DIRECTORY) is not folders:
                continue
            if change.path[:-1] in covered or change.path[:-1] in renamed:
                covered.add(change.path)
            elif change.old is None and _telling(new):
                source = _take(gone.get(_identity(new)), change.path, sources)
                if source is not None:
                    renamed[change.path] = source
                    sources.add(source.path)
    told = []
    for change in found:
        if change.new is None and _is_within(change.path, sources):
            continue
        if change.path in renamed:
            source = renamed[change.path]
            told.append(Difference("R", change.path, source.old, change.new, source.path))
        elif change.path not in covered:
            told.append(_plain(change))
    return told


def _telling(entry: TreeEntry) -> bool:
    """Whether equal content means anything: all empty files are equal."""
    return entry.size > 0 if entry.kind is not Kind.DIRECTORY else entry.entries > 0


def _identity(entry: TreeEntry) -> tuple[object, ...]:
    return entry.kind, entry.size, entry.hash, entry.metadata


def _take(candidates: deque[Change] | None, path: Path, sources: set[Path]) -> Change | None:
    """Choose where an entry came from, by preference one of the same name; what was chosen is taken out."""
    while candidates and _is_within(candidates[0].path, sources):
        candidates.popleft()
    if not candidates:
        return None
    for at, candidate in enumerate(islice(candidates, 100)):
        if candidate.path[-1] == path[-1] and not _is_within(candidate.path, sources):
            del candidates[at]
            return candidate
    return candidates.popleft()


def _is_within(path: Path, places: set[Path]) -> bool:
    return bool(places) and any(path[:depth] in places for depth in range(1, len(path) + 1))


def tally(old: Contents, new: Contents) -> Tally:
    """Count what differs, without a look below directories that came or went: their entries know how many they are."""
    count = Tally()
    _load_ahead(old, new, old.root, new.root)
    for change in changes(old.root, new.root, old.load, new.load):
        before, after = change.old, change.new
        if before is not None and after is not None:
            count.modified += 1
            count.added += after.entries if before.directory is None else 0
            count.deleted += before.entries if after.directory is None else 0
        elif after is not None:
            count.added += 1 + after.entries
        elif before is not None:
            count.deleted += 1 + before.entries
        if before is None or after is None or before.directory is None or after.directory is None:
            count.bytes_added += _bytes(after)
            count.bytes_deleted += _bytes(before)
    return count


def _bytes(entry: TreeEntry | None) -> int:
    return entry.size if entry is not None and entry.kind is not Kind.SYMLINK else 0


def _file_bytes(entry: TreeEntry | None) -> int:
    return entry.size if entry is not None and entry.is_file else 0
