"""Where contents lie that the bucket has already, by their hash. A hint kept on this machine, believed after a look.

**Invariant:** a place is only given out for an object that the bucket was seen to hold during this push, or that
this push sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from penstock.cache import LocationIndex
from penstock.manifest.entry import BLOCK_SIZE, TreeEntry
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.manifest.tree import Tree
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.store.base import Store

__all__ = ["KnownPlaces", "Place"]

Place = tuple[bytes, int]
"""Hash of a data object, and offset in it."""

_CHECK = 8
_BATCH = 10_000


class KnownPlaces:
    """The places of one bucket's small files.

    `parent` is the tree that the branch has now; its files are entered the first time that a content is not found,
    so that a file which only moved is not sent again, on any machine. Not so with `enter` False: then only what this
    machine knows already is looked at, for those whose work is to cost what they changed, whatever the tree's size.
    `like` are addresses of buckets whose objects may have been sent to this one as they are: what is known of places in
    those is asked, too, and believed if this bucket has the object.
    """

    def __init__(
        self,
        store: Store,
        index: LocationIndex,
        parent: Tree | None,
        top_hash: bytes | None,
        *,
        enter: bool = True,
        like: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._index = index
        self._namespace = content_hash(store.url.encode())
        self._like = [content_hash(url.encode()) for url in like]
        self._parent = parent
        self._top_hash = top_hash
        self._enter = enter
        self._sizes: dict[bytes, int] = {}
        self._foreseen: Sequence[bytes] = ()
        self._absent: frozenset[bytes] = frozenset()  # of what is foreseen, what nothing is known of
        self._seen: dict[tuple[bytes, bytes], bytes | None] = {}
        self._complete = parent is None

    def foresee(self, contents: Sequence[bytes]) -> None:
        """Say what may be looked for next: the first of it that is, has all of it looked up at once."""
        self._foreseen, self._seen, self._absent = contents, {}, frozenset()

    def find(self, content: bytes, size: int) -> Place | None:
        """Return where this content lies; None when it is nowhere, as far as is known."""
        if content in self._absent and not (self._enter and self._parent is not None):
            return None
        place = self._look(content, size)
        if place is None and self._enter and self._parent is not None:
            self._enter_parent()
            place = self._look(content, size)
        return place

    def add(self, digest: bytes, offsets: Mapping[bytes, int]) -> None:
        """Enter the contents of a pack that this push sends: offset by content hash."""
        self._sizes[digest] = 1 << 62
        self._put((content, (digest, offset)) for content, offset in offsets.items())

    def published(self, top_hash: bytes) -> None:
        """Note that all of the new version is entered, if it is: then no later push has to read its tree for that.

        It is when its parent was: what the version has beyond the parent came by `add`.
        """
        if self._complete or self._is_entered():
            self._index.put_many(self._namespace, [(_mark(top_hash), b"\1")])

    def _is_entered(self) -> bool:
        return self._top_hash is not None and self._index.get(self._namespace, _mark(self._top_hash)) is not None

    def _look(self, content: bytes, size: int) -> Place | None:
        for namespace in (self._namespace, *self._like):
            place = self._look_in(namespace, content, size)
            if place is not None:
                return place
        return None

    def _look_in(self, namespace: bytes, content: bytes, size: int) -> Place | None:
        value = self._value(namespace, content)
        if (
            value is None
            or len(value) != HASH_SIZE + 8 + _CHECK
            or value[-_CHECK:] != _check(namespace, content, value)
        ):
            return None
        digest, offset = value[:HASH_SIZE], int.from_bytes(value[HASH_SIZE : HASH_SIZE + 8], "little")
        if digest not in self._sizes:
            found = self._store.head(object_keys.data_key(digest))
            self._sizes[digest] = found.size if found is not None else 0
        return (digest, offset) if offset + size <= self._sizes[digest] else None

    def _value(self, namespace: bytes, content: bytes) -> bytes | None:
        if not self._foreseen:
            return self._index.get(namespace, content)
        if (namespace, content) not in self._seen:
            wanted = [content, *self._foreseen]
            found = self._index.get_many(namespace, wanted)
            self._seen |= {(namespace, each): value for each, value in zip(wanted, found, strict=True)}
            if not self._like:
                self._absent = frozenset(each for each, value in zip(wanted, found, strict=True) if value is None)
        return self._seen[namespace, content]

    def _put(self, places: Iterator[tuple[bytes, Place]]) -> None:
        items = []
        for content, (digest, offset) in places:
            value = digest + offset.to_bytes(8, "little")
            items.append((content, value + _check(self._namespace, content, value)))
            if len(items) == _BATCH:
                self._index.put_many(self._namespace, items)
                items = []
        self._index.put_many(self._namespace, items)
        self._seen, self._absent = {}, frozenset()

    def _enter_parent(self) -> None:
        parent, self._parent = self._parent, None
        assert parent is not None
        assert self._top_hash is not None
        if not self._is_entered():
            self._put(_places_of(parent))
            self._index.put_many(self._namespace, [(_mark(self._top_hash), b"\1")])
        self._complete = True


def _check(namespace: bytes, content: bytes, value: bytes) -> bytes:
    # A rotten index must not make a version that points to the wrong bytes.
    return content_hash(namespace + content + value[: HASH_SIZE + 8])[:_CHECK]


def _mark(top_hash: bytes) -> bytes:
    return content_hash(b"entered" + top_hash)


def _places_of(tree: Tree) -> Iterator[tuple[bytes, Place]]:
    with Marks() as marks:
        for entry in tree.walk_once(tree.root, lambda ref: marks.visit(ref.hash)):
            if _in_one_block(entry) and isinstance(entry.extents[0].object, bytes):
                yield entry.hash, (entry.extents[0].object, entry.extents[0].offset)


def _in_one_block(entry: TreeEntry) -> bool:
    return entry.is_file and 0 < entry.size <= 4 * BLOCK_SIZE and len(entry.extents) == 1
