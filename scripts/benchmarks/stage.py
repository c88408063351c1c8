"""What the rows of the reading benchmark share: the data sets, mounts under watch, orders of files, and the peer.

Everything is made when it is first asked for, so that a single row does not wait for what it does not use.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from figures import Figures
from memory import MemoryWatch
from whole_files import Reading, read_files
from world import World

__all__ = ["LARGE", "RUNS", "RcloneRates", "Stage", "median"]

RUNS = 3
LARGE = "large.bin"
_LARGE_BYTES = 1 << 30
_MIB = 1 << 20
_ONE_READER_FILES = 250
_SIXTEEN_READERS_FILES = 1500
"""What rclone is given to read: all of openclipart would take it eight minutes. Rates are compared."""


def median(values: Sequence[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


@dataclass(frozen=True, slots=True)
class RcloneRates:
    """Files a second through rclone's mount; `warm` is None where the page cache may not be dropped."""

    one_reader: float
    sixteen_readers: float
    warm: float | None


class Stage:
    """One run of the reading benchmark."""

    def __init__(self, world: World, figures: Figures) -> None:
        self.world = world
        self.figures = figures
        self.watch = MemoryWatch()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The files of openclipart, by their path below it, with their sizes."""
        root = self.world.clipart
        return {str(path.relative_to(root)): path.stat().st_size for path in sorted(root.rglob("*.png"))}

    def order(self, seed: int, count: int | None = None) -> list[str]:
        """Return some of the files, or all, in a random order that is the same in every run."""
        return random.Random(seed).sample(sorted(self.sizes), count if count is not None else len(self.sizes))

    def size_of(self, names: Sequence[str]) -> int:
        """Bytes of these files together."""
        return sum(self.sizes[name] for name in names)

    @cached_property
    def clipart(self) -> str:
        """Handle of openclipart, alone in its bucket."""
        return self._pushed(self.world.clipart)

    @cached_property
    def clipart_stored(self) -> int:
        """Bytes of openclipart's data objects: each content once, though some files have the same."""
        data = f"s:{self.clipart.partition('/')[0]}/.penstock/data"
        listed = json.loads(self.world.run("rclone", "lsjson", "-R", "--files-only", data)[1])
        stored: int = sum(each["Size"] for each in listed)
        assert 0 < stored <= sum(self.sizes.values()), stored
        return stored

    @cached_property
    def plain_bucket(self) -> str:
        """A bucket with openclipart and the large file as plain objects, for the peers."""
        bucket = self.world.bucket()
        direct = ("--s3-endpoint", self.world.gateway.endpoint)
        self.world.run("rclone", "copy", *direct, "--transfers", "16", self._mixed, f"s:{bucket}")
        return bucket

    @cached_property
    def mixed(self) -> str:
        """Handle of a directory with openclipart and a file of 1 GiB in it."""
        return self._pushed(self._mixed)

    def _pushed(self, source: Path) -> str:
        handle = f"{self.world.bucket()}/images"
        self.world.run("penstock", "push", source, handle)
        return handle

    @cached_property
    def large(self) -> Path:
        """The file of 1 GiB, random bytes, on the disk that the cache is on."""
        return self._mixed / LARGE

    @cached_property
    def _mixed(self) -> Path:
        where = self.world.scratch / "mixed"
        where.mkdir()
        # Links, so that both are the same files on the same disk.
        self.world.run("cp", "-al", self.world.clipart, where / "clipart")
        chance = random.Random(0)
        with (where / LARGE).open("wb") as out:
            for _ in range(_LARGE_BYTES // _MIB):
                out.write(chance.randbytes(_MIB))
        return where

    @contextmanager
    def mounted(self, handle: str, *options: str, cold: bool = True) -> Iterator[Path]:
        """Mount a version until the block ends, with nothing in the cache if `cold`, and watch the mount's memory."""
        if cold:
            self.world.forget_cache()
        with self.world.penstock_mount(handle, *options) as (where, pid), self.watch.watching(pid):
            yield where

    @contextmanager
    def warmed(self) -> Iterator[Path]:
        """Mount openclipart until the block ends, with all of it in the block cache."""
        with self.mounted(self.clipart) as where:
            self.read(where, self.order(0), readers=16)
            yield where

    def read(self, root: Path, names: Sequence[str], *, readers: int = 1) -> Reading:
        """Read files of openclipart below `root`, and see to it that none was cut short."""
        reading = read_files(root, names, readers=readers)
        assert reading.bytes == self.size_of(names), (reading, self.size_of(names))
        return reading

    def compare(self, root: Path) -> None:
        """End the benchmark unless `root` has openclipart's files, bit by bit."""
        self.world.run("diff", "-r", self.world.clipart, root)

    @cached_property
    def can_drop(self) -> bool:
        """Whether the page cache may be dropped. Says so once if not."""
        allowed = os.geteuid() == 0 and self.world.drop_page_cache()
        if not allowed:
            print("  only root may drop the page cache: rows that need it are left out", file=sys.stderr)
        return allowed

    @cached_property
    def rclone(self) -> RcloneRates:
        """What rclone's mount does with its full cache; its listings are read before, to its favour."""
        first = self.order(1)
        few, many = first[:_ONE_READER_FILES], first[_ONE_READER_FILES:][:_SIXTEEN_READERS_FILES]
        with self.world.rclone_mount(self.plain_bucket, "--vfs-cache-mode", "full") as (where, _):
            root = where / "clipart"
            self.world.run("find", root)
            one = self.read(root, few).rate
            sixteen = self.read(root, many, readers=16).rate
            warm = None
            if self.can_drop:
                self.world.drop_page_cache()
                warm = self.read(root, many).rate
        return RcloneRates(one, sixteen, warm)
