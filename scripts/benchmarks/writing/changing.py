"""What the rows have in common: writable mounts, their commits with what these cost, and small files."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import trees
from figures import Figures
from world import World

__all__ = ["Changing", "Committed", "Written", "make_files"]

_FOLDERS = 100
_KINDS = {"nodes": "node pack", "manifests": "manifest", "commits": "commit", "heads": "ref"}


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit: seconds of the whole command, its PUTs by kind, bytes that came from the store, and its report."""

    seconds: float
    puts: Counter[str]
    bytes_read: int
    commit: str
    data_bytes: int

    @property
    def described(self) -> str:
        """Which PUTs there were."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.puts.items()))


@dataclass(frozen=True, slots=True)
class Written:
    """Files that were made, in how many seconds."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.count / self.seconds


class Changing:
    """One run of the benchmark."""

    def __init__(self, world: World, figures: Figures) -> None:
        self.world = world
        self.figures = figures
        self._overlays = 0

    @contextmanager
    def mounted(self, handle: str) -> Iterator[tuple[Path, Path]]:
        """Mount a version writable, with an overlay that is new, until the block ends: where, and the overlay."""
        self._overlays += 1
        overlay = self.world.scratch / f"overlay-{self._overlays}"
        with self.world.penstock_mount(handle, "--writable", "--overlay-dir", str(overlay)) as (where, _):
            yield where, overlay

    def commit(self, where: Path) -> Committed:
        """Commit what was changed in a mount, and tell on stderr which PUTs it took."""
        self.world.proxy.reset()
        seconds, answer = self.world.run("penstock", "commit", "--json", where, "-m", "bench")
        counts = self.world.proxy.counts()
        puts = Counter(_kind(path) for method, path in counts.paths if method == "PUT")
        report = json.loads(answer)
        assert report["commit"], report
        found = Committed(
            seconds, puts, counts.methods["GET"].bytes_to_client, report["commit"], report["bytes_uploaded"]
        )
        others = Counter(method for method, _ in counts.paths if method != "PUT")
        print(f"    commit: {seconds:.2f} s, PUTs: {found.described}; {dict(others)}", file=sys.stderr)
        return found

    def empty(self) -> str:
        """Make a dataset with nothing in it; its handle."""
        handle = f"{self.world.bucket()}/data"
        self.world.run("penstock", "create", handle)
        return handle

    @cached_property
    def tree(self) -> str:
        """Handle of a version with ten million made-up entries, in 1,000 directories."""
        bucket = self.world.bucket()
        self.world.run(sys.executable, trees.__file__, bucket, str(self.world.entries))
        return f"{bucket}/tree"


def _kind(path: str) -> str:
    """Say what an object is by the path of its request (docs/FORMAT.md)."""
    root, *rest = path.partition("?")[0].partition(".penstock/")[2].split("/")
    if root == "datasets":
        return _KINDS.get(rest[1], rest[1])
    return f"{rest[0]} lease" if root == "leases" else _KINDS.get(root, root)


def make_files(root: Path, count: int, size: int, *, seed: int = 0) -> Written:
    """Make files of random bytes in 100 directories below `root`: each created, written and closed."""
    chance = random.Random(seed)
    bodies = [chance.randbytes(size) for _ in range(256)]
    for folder in range(_FOLDERS):
        os.mkdir(root / f"part-{folder:02}")
    paths = [str(root / f"part-{number % _FOLDERS:02}" / f"image-{number:05}") for number in range(count)]
    begin = time.perf_counter()
    for number, path in enumerate(paths):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        # Each with bytes of its own: what is the same is stored once.
        os.write(descriptor, number.to_bytes(8, "big") + bodies[number % len(bodies)][8:])
        os.close(descriptor)
    return Written(count, time.perf_counter() - begin)
