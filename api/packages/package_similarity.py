"""What in versions is there twice, or looks alike. One part of `Package`."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from penstock.manifest.entry import display_path
from penstock.progress import SILENT, Progress

from .package_entries import PackageEntries

if TYPE_CHECKING:
    from penstock.repo.similarity.near_pictures import NearPair, NearPictures, UncomparedPicture

__all__ = ["DuplicateGroup", "NearDuplicates", "PackageSimilarity"]

_MOST_SHOWN = 500


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """What holds the same: `count` files with `bytes` each, or directories with so many `entries`, at `paths`.

    Where two versions were compared, `other_paths` are those in the other one. Of each, the first 10,000 are named.
    `hash` is the content's, 64 hex digits.
    """

    kind: Literal["file", "directory"]
    hash: str
    bytes: int
    entries: int
    count: int
    paths: Sequence[str]
    other_paths: Sequence[str]


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Pictures that look alike, the nearest first: `pairs`, of `compared` pictures, of which `made` were decoded now.

    A pair is of different contents, each named by where it lies first. `uncompared` pictures have no detail, or cannot
    be decoded; each says why.
    """

    pairs: Sequence[NearPair]
    compared: int
    made: int
    uncompared: Sequence[UncomparedPicture]


class PackageSimilarity(PackageEntries):
    """What a `Package` has more than once, alone or together with another one."""

    __slots__ = ()

    def duplicates(self, other: Self | None = None, *, progress: Progress = SILENT) -> Iterator[DuplicateGroup]:
        """Yield what holds the same: in this package, or, with `other`, what both of them have.

        Told by hashes: no file is read, and memory does not grow with the versions. A directory that is there as a
        whole a second time is one group, and its files are in none. Files without bytes are left out.

        >>> import penstock
        >>> old, new = penstock.Package("demo/photos:v1"), penstock.Package("demo/photos")
        >>> list(new.duplicates())
        []
        >>> sorted((group.kind, group.paths, group.other_paths) for group in old.duplicates(new))
        [('file', ('2024/cat.jpg',), ('2024/cat.jpg',)), ('file', ('labels.csv',), ('labels.csv',))]
        """
        from penstock.repo.similarity.same_content import TreeSide, same_content

        packages = [self] if other is None else [self, other]
        sides = [TreeSide(each._snapshot.root, each._snapshot.session.load) for each in packages]  # noqa: SLF001
        stage = progress.stage("looking", total=sum(side.root.entries for side in sides), unit="items")
        for found in same_content(sides, stage=stage):
            paths = [tuple(map(display_path, each)) for each in found.paths]
            yield DuplicateGroup(
                "directory" if found.is_directory else "file",
                found.digest.hex(),
                found.size,
                found.entries,
                sum(found.counts),
                paths[0],
                paths[1] if other is not None else (),
            )

    def near_duplicates(
        self,
        other: Self | None = None,
        *,
        threshold: int = 6,
        html: str | os.PathLike[str] | None = None,
        most: int = 100_000,
        progress: Progress = SILENT,
    ) -> NearDuplicates:
        """Find pictures that look alike: in this package, or one of each with `other`. Needs ``penstock[similarity]``.

        Each has a perceptual hash of 64 bits, made once for its content on this machine and kept beside the block
        cache; a pair's differ in at most `threshold` of them, from 0 to 24. Scaled, compressed or recoloured a little,
        a picture stays within 6. Files are pictures by their names' ends. At most `most` pairs, the nearest, are
        returned; with `html`, a page shows 500 of them as small pictures.

        UsageError: Pillow or numpy is not installed, or there is no such threshold. AccessError: the page cannot be
        written.
        """
        from penstock.repo.similarity.near_pictures import NearPictures
        from penstock.repo.similarity.picture_processes import PictureProcesses

        sides = [each._snapshot for each in ([self] if other is None else [self, other])]  # noqa: SLF001
        with PictureProcesses(max(1, min(4, os.cpu_count() or 1))) as processes:
            pictures = NearPictures(sides, processes, progress)
            pictures.look()
            pairs = heapq.nsmallest(most, pictures.pairs(threshold), key=lambda pair: (pair.distance, *pair[:2]))
            found = NearDuplicates(tuple(pairs), pictures.compared, pictures.made, tuple(pictures.uncompared()))
            if html is not None:
                names = [self.name, self.name if other is None else other.name]
                _write_page(os.fspath(html), names, pictures, found)
            return found


def _write_page(path: str, names: list[str], pictures: NearPictures, found: NearDuplicates) -> None:
    from penstock.repo.export.finished_file import whole_file
    from penstock.repo.similarity.picture_messages import NotMade
    from penstock.repo.similarity.picture_page import PageRow, PictureCell, picture_page

    other = min(1, len(set(names)) - 1)

    def cell(side: int, name: str) -> PictureCell:
        made = pictures.small(side, name)
        if isinstance(made, NotMade):
            return PictureCell(name, b"", made.why)
        return PictureCell(name, made.picture, f"{made.width} x {made.height}, {made.mode}")

    rows = (
        PageRow(f"{pair.distance} bits apart", (cell(0, pair.path), cell(other, pair.other_path)))
        for pair in found.pairs[:_MOST_SHOWN]
    )
    shown = min(len(found.pairs), _MOST_SHOWN)
    where = f"in {names[0]}" if not other else f"of {names[0]} (left) and {names[1]}"
    about = f"{len(found.pairs):,} pairs {where} look alike; the {shown} nearest are shown"
    with whole_file(path) as file:
        for piece in picture_page("Pictures that look alike", about, rows):
            file.write(piece.encode("utf-8", "replace"))
