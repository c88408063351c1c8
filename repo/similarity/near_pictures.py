"""Which pictures of a version, or of two, look alike: by perceptual hashes, made once for each content.

    leaves (manifest/tree) ── contents that are pictures, by their names ── hashes kept beside the block cache
                                   └─ the others: read along the packs (read/many_files) ── processes that decode
    near_hashes ── pairs of different contents, by where each lies first

A hash is kept in the location index, which may forget any: then it is made anew. What cannot be decoded is kept, too,
and told. About 200 bytes of memory a picture. Blocking; one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.errors import UsageError
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, display_path
from penstock.manifest.tree import Inode
from penstock.progress import Progress
from penstock.repo.read.many_files import read_files
from penstock.repo.read.snapshot import Snapshot

from .near_hashes import near_hashes
from .picture_messages import MOST_SENT, DecodedPicture, HashTask, NotMade, ShowTask
from .picture_processes import PictureProcesses

if TYPE_CHECKING:
    from penstock.manifest.node import Leaf

__all__ = ["MOST_BITS", "NearPair", "NearPictures", "UncomparedPicture", "is_picture"]

MOST_BITS = 24
"""Bits in which hashes may differ: half of them differ between pictures that have nothing to do with each other."""
_NAMESPACE = b"perceptual hashes of pictures, 1"
"""Counted up when they are made in another way."""
_ENDINGS = (b".png", b".jpg", b".jpeg", b".gif", b".webp", b".avif", b".bmp", b".tif", b".tiff", b".ppm", b".tga")
_TOGETHER = 256
_AHEAD = 64 << 20
_MOST_WHY = 200
_FLAT = b"F"


class NearPair(NamedTuple):
    """Two pictures that look alike: their hashes differ in `distance` bits. `path` is on the first side."""

    path: str
    other_path: str
    distance: int


class UncomparedPicture(NamedTuple):
    """A picture that was not compared, and why."""

    path: str
    why: str


class _Picture(NamedTuple):
    """A content, and where it lies first."""

    side: int
    inode: Inode
    size: int


def is_picture(name: bytes) -> bool:
    """Whether a name ends as those of pictures do that can be compared."""
    return name.lower().endswith(_ENDINGS)


class NearPictures:
    """Pictures of one side, or of two, and which of them look alike, once `look` has fetched what is needed."""

    def __init__(self, sides: Sequence[Snapshot], processes: PictureProcesses, progress: Progress) -> None:
        self._sides = sides
        self._processes = processes
        self._progress = progress
        self._contents: list[dict[bytes, _Picture]] = []
        self._hashes: dict[bytes, bytes] = {}
        self.made = 0
        """Pictures that were decoded now; of the others the hash was known."""

    def look(self) -> None:
        """Find the pictures, and make the hashes that are not known."""
        for number, side in enumerate(self._sides):
            found: dict[bytes, _Picture] = {}
            seen: set[bytes] = set()
            for _, first, leaf in side.tree.leaves(_once(seen)):
                _add_pictures(found, leaf, number, first)
            self._contents.append(found)
        wanted = {digest: picture for found in self._contents for digest, picture in found.items()}
        self._recall(list(wanted))
        missing = [(picture, digest) for digest, picture in wanted.items() if digest not in self._hashes]
        if missing:
            self._make(sorted(missing))

    @property
    def compared(self) -> int:
        """How many contents have a hash, and were compared."""
        return sum(value.startswith(b"H") for value in self._hashes.values())

    def uncompared(self) -> Iterator[UncomparedPicture]:
        """Yield what was not compared."""
        for found in self._contents:
            for digest, picture in found.items():
                value = self._hashes.get(digest, b"")
                if not value.startswith(b"H"):
                    why = "it has no detail" if value == _FLAT else value[1:].decode("utf-8", "replace")
                    yield UncomparedPicture(self._path(picture), why)

    def pairs(self, most: int) -> Iterator[NearPair]:
        """Yield pairs of different contents whose hashes differ in at most `most` bits."""
        if not 0 <= most <= MOST_BITS:
            raise UsageError(
                f"a threshold of {most} bits",
                why="a hash has 64, of which half differ between any two pictures",
                fix=f"Give one from 0 to {MOST_BITS}; 6 finds what was scaled or compressed again.",
            )
        sides = [self._arrays(found) for found in self._contents]
        contents, hashes = sides[0]
        other_contents, other_hashes = sides[-1] if len(sides) > 1 else (contents, None)
        for at, other, distance in near_hashes(hashes, other_hashes, most):
            if contents[at] == other_contents[other]:
                continue  # the very same: no question of looks
            first, second = self._contents[0][contents[at]], self._contents[-1][other_contents[other]]
            yield NearPair(self._path(first), self._path(second), distance)

    def small(self, side: int, path: str) -> DecodedPicture | NotMade:
        """Return a small picture of a file."""
        entry = self._sides[side].find(path)
        if entry.size > MOST_SENT:
            return NotMade("the file is too large to be shown")
        (body,) = read_files(self._sides[side], [entry])
        return self._processes.ask(ShowTask(body))

    def _arrays(self, found: dict[bytes, _Picture]) -> tuple[list[bytes], Any]:
        import numpy as np  # pyright: ignore[reportMissingImports]  # an extra

        contents = [digest for digest in found if self._hashes.get(digest, b"").startswith(b"H")]
        joined = b"".join([self._hashes[digest][1:9] for digest in contents])
        return contents, np.frombuffer(joined, dtype=">u8").astype(np.uint64)

    def _path(self, picture: _Picture) -> str:
        return display_path(self._sides[picture.side].tree.path_of(picture.inode))

    def _recall(self, contents: list[bytes]) -> None:
        with self._sides[0].session.locations() as index:
            found = index.get_many(_NAMESPACE, contents)
        for digest, value in zip(contents, found, strict=True):
            if value is not None and (value == _FLAT or value[:1] == b"N" or (value[:1] == b"H" and len(value) == 9)):
                self._hashes[digest] = value

    def _keep(self, fresh: list[tuple[bytes, bytes]]) -> None:
        if fresh:
            with self._sides[0].session.locations() as index:
                index.put_many(_NAMESPACE, fresh)
            fresh.clear()

    def _make(self, missing: list[tuple[_Picture, bytes]]) -> None:
        """Make hashes, in tree order, so that what lies together is fetched together."""
        stage = self._progress.stage("pictures", total=len(missing), unit="items")
        fresh: list[tuple[bytes, bytes]] = []
        with ThreadPoolExecutor(self._processes.count, "penstock-pictures") as pool:
            waiting: deque[tuple[bytes, Future[DecodedPicture | NotMade]]] = deque()
            for digest, body in self._bodies(missing, fresh):
                waiting.append((digest, pool.submit(self._processes.ask, HashTask(body))))
                while len(waiting) > 2 * self._processes.count:
                    self._take(*waiting.popleft(), fresh)
                    stage.advance()
            for each in waiting:
                self._take(*each, fresh)
                stage.advance()
        self._keep(fresh)

    def _take(self, digest: bytes, asked: Future[DecodedPicture | NotMade], fresh: list[tuple[bytes, bytes]]) -> None:
        answer = asked.result()
        self.made += 1
        if isinstance(answer, NotMade):
            value = b"N" + answer.why.encode("utf-8", "replace")[:_MOST_WHY]
            if not answer.is_final:
                self._hashes[digest] = value
                return
        else:
            value = _FLAT if answer.hash is None else b"H" + answer.hash.to_bytes(8, "big")
        self._hashes[digest] = value
        fresh.append((digest, value))
        if len(fresh) >= _TOGETHER:  # so that whoever is interrupted goes on here
            self._keep(fresh)

    def _bodies(
        self, missing: list[tuple[_Picture, bytes]], fresh: list[tuple[bytes, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        for number, side in enumerate(self._sides):
            mine = [(picture, digest) for picture, digest in missing if picture.side == number]
            too_large = {digest for picture, digest in mine if picture.size > MOST_SENT}
            for digest in too_large:
                self._hashes[digest] = b"Nthe file is larger than what is decoded"
                fresh.append((digest, self._hashes[digest]))
            rest = [(picture, digest) for picture, digest in mine if digest not in too_large]
            tree = side.tree
            entries: Iterator[TreeEntry] = (tree.by_inode(picture.inode) for picture, _ in rest)
            yield from zip((digest for _, digest in rest), read_files(side, entries, _AHEAD), strict=True)


def _once(seen: set[bytes]) -> Any:
    def enter(ref: NodeRef) -> bool:
        if ref.hash in seen:
            return False
        seen.add(ref.hash)
        return True

    return enter


def _add_pictures(found: dict[bytes, _Picture], leaf: Leaf, side: int, first: Inode) -> None:
    for at, (name, kind, size, digest) in enumerate(leaf.facts()):
        if size and kind <= Kind.EXECUTABLE and is_picture(name):
            found.setdefault(digest, _Picture(side, Inode(first + leaf.positions[at]), size))
