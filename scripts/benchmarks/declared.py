"""Datasets as code: commits, checkouts and clones with data, beside the plain work that they save."""

from __future__ import annotations

import os
import re
import resource
import shutil
import time
from pathlib import Path

from figures import Figures
from world import World

__all__ = ["bench_code"]

_TEXT = """from pathlib import Path
from penstock import dataset, File, ingest, png

@dataset(remote="{bucket}")
class Clipart:
    image: File[png]

    @ingest
    def load():
        for path in sorted(Path("{source}").rglob("*.png")):
            yield path
"""
_MORE = """
    @ingest
    def more():
        for path in sorted(Path("{held}").iterdir()):
            yield path
"""
_DERIVED = """
    def copied(image: File[png]) -> File[png]:
        return Path(image).read_bytes()
"""
_NUMBERS = """from penstock import dataset, ingest, File

@dataset(remote="{bucket}")
class Numbers:
    number: int
    text: File["txt"]

    @ingest
    def load():
        for number in range({first}, {last}):
            yield number, str(number).encode()
"""


_BLOBS = """from pathlib import Path
from penstock import dataset, ingest, File

@dataset(remote="{bucket}")
class Blobs:
    blob: File["bin"]

    @ingest
    def load():
        from random import Random
        random = Random(1)
        for number in range({count}):
            yield random.randbytes({size})
"""
_BLOB = 4 << 20


def bench_code(world: World, figures: Figures) -> None:
    """Commit, go back and forth, clone; with rows, those parts alone whose names fit: clipart, numbers, clone."""
    for part in (_clipart, _numbers, _clone):
        if re.search(world.rows, part.__name__):
            part(world, figures, world.bucket())


def _new(world: World, name: str) -> Path:
    place = world.scratch / name
    place.mkdir()
    _git(world, place, "init", "-q", "-b", "main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        _git(world, place, "config", key, value)
    return place


def _clipart(world: World, figures: Figures, bucket: str) -> None:
    place = _new(world, "code")
    some = world.scratch / "some"
    shutil.copytree(world.clipart, some)
    late = sorted(some.rglob("*.png"))[-10:]
    held = world.scratch / "held"
    held.mkdir()
    for number, each in enumerate(late):
        each.rename(held / f"{number}.png")
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some))
    world.run("git", "-C", place, "datasets", "track", place / "index.py")
    figures.add("commit with an ingest of openclipart", _commit(world, place), "s")
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some) + _DERIVED)
    plain, durable, work = _plain_loop(place / "image", world.scratch / "plain")
    before = _work_of_children()
    derived = _commit(world, place)
    figures.add("commit that adds a derived field", derived, "s")
    figures.add("its time / a plain loop's", derived / plain, "x", at_most=1.3)
    figures.add("its time / a plain loop's whose files are on the disk", derived / durable, "x")
    figures.add("its processor time / a plain loop's", (_work_of_children() - before) / work, "x")
    more_text = _MORE.format(held=held)
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some) + more_text + _DERIVED)
    before = _work_of_children()
    committing = 'git -C "$0" commit -q index.py -m next 2>&1'
    took, told = world.run("sh", "-c", committing, place)
    figures.add("the next commit, with 10 new records", took, "s", at_most=2)
    figures.add("processor time of that commit", _work_of_children() - before, "s")
    called = re.search(r"copied called (\d+) time", told)
    figures.add("its calls of the derived field", int(called[1]) if called else 0, "", at_most=10)
    origin = world.scratch / "origin.git"
    world.run("git", "init", "-q", "--bare", "-b", "main", origin)
    _git(world, place, "remote", "add", "origin", str(origin))
    figures.add("git push of both", _git(world, place, "push", "-q", "-u", "origin", "main"), "s")
    bare = world.scratch / "without"
    world.run("git", "clone", "-q", origin, bare)
    times = [(_git(world, place, "status"), _git(world, bare, "status")) for _ in range(25)]
    ours, without = (sorted(each)[len(times) // 2] for each in zip(*times, strict=True))
    figures.add("git status / without datasets", ours / without, "x", at_most=1.2)


def _clone(world: World, figures: Figures, bucket: str) -> None:
    """Clone a data set that is far away, and read its first file: time, and how much of it was fetched."""
    count = (10_000_000_000 if world.full else 1_000_000_000) // _BLOB
    place, origin, clone = _new(world, "blobs"), world.scratch / "blobs.git", world.scratch / "blobs-clone"
    (place / "index.py").write_text(_BLOBS.format(bucket=bucket, count=count, size=_BLOB))
    world.run("git", "-C", place, "datasets", "track", place / "index.py")
    size = count * _BLOB / 1e9
    figures.add(f"commit with an ingest of {size:.0f} GB", _commit(world, place), "s")
    world.run("git", "init", "-q", "--bare", "-b", "main", origin)
    _git(world, place, "remote", "add", "origin", str(origin))
    figures.add(f"git push of {size:.0f} GB", _git(world, place, "push", "-q", "-u", "origin", "main"), "s")
    shutil.rmtree(place)
    world.forget_cache()
    world.proxy.reset()
    begin = time.perf_counter()
    world.run("git", "clone", "-q", origin, clone)
    world.run("git", "-C", clone, "datasets", "trust")
    with os.scandir(clone / "blob") as found:
        first = min(each.path for each in found)
    body = Path(first).read_bytes()
    took = time.perf_counter() - begin
    assert len(body) == _BLOB
    figures.add(f"clone of {size:.0f} GB to its first file read", took, "s", at_most=5)
    fetched = world.proxy.counts().bytes_to_client
    figures.add("bytes fetched for it", 100 * fetched / (count * _BLOB), "%", at_most=2)
    world.run("git", "-C", clone, "datasets", "untrack", "index.py")


def _numbers(world: World, figures: Figures, bucket: str) -> None:
    place = _new(world, "numbers")
    last = 100_000 if world.full else 20_000
    (place / "index.py").write_text(_NUMBERS.format(bucket=bucket, first=0, last=last))
    world.run("git", "-C", place, "datasets", "track", place / "index.py")
    figures.add(f"commit with {last:,} records", _commit(world, place), "s")
    (place / "index.py").write_text(_NUMBERS.format(bucket=bucket, first=last, last=last + 10))
    _commit(world, place)
    times, works = [], []
    for each in 5 * ("main~1", "main"):
        before = _work_of_children()
        times.append(_git(world, place, "checkout", "-q", each))
        works.append(_work_of_children() - before)
    figures.add(f"git checkout, 10 of {last:,} records differ", sorted(times)[len(times) // 2], "s", at_most=0.5)
    figures.add("processor time of that checkout", sorted(works)[len(works) // 2], "s")


def _work_of_children() -> float:
    """Return the processor time of all programs that were run, and have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def _git(world: World, place: Path, *arguments: str) -> float:
    return world.run("git", "-C", place, *arguments)[0]


def _commit(world: World, place: Path) -> float:
    return _git(world, place, "commit", "-q", "index.py", "-m", "next")


def _plain_loop(source: Path, target: Path) -> tuple[float, float, float]:
    """Do what the derived field does, in one process, and nothing else.

    Returns seconds, seconds until all of it is on the disk, as it is when a commit has ended, and processor time.
    """
    target.mkdir()
    os.sync()
    begin, work = time.perf_counter(), time.process_time()
    for each in source.iterdir():
        (target / each.name).write_bytes(each.read_bytes())
    done, worked = time.perf_counter(), time.process_time()
    os.sync()
    return done - begin, time.perf_counter() - begin, worked - work
