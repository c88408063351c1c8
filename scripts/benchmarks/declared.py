"""Datasets as code: commits, checkouts and clones with data, beside the plain work that they save."""

from __future__ import annotations

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
        for path in sorted(Path("{source}").rglob("*.png")){part}:
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


def bench_code(world: World, figures: Figures) -> None:
    """Commit, go back and forth, clone."""
    bucket = world.bucket()
    place = world.scratch / "code"
    place.mkdir()
    _git(world, place, "init", "-q", "-b", "main")
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        _git(world, place, "config", name, value)
    bare = _status(world, place)
    some = world.scratch / "some"
    shutil.copytree(world.clipart, some)
    late = sorted(some.rglob("*.png"))[-10:]
    held = world.scratch / "held"
    held.mkdir()
    for number, each in enumerate(late):
        each.rename(held / f"{number}.png")
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some, part=""))
    world.run("git", "-C", place, "datasets", "track", place / "index.py")
    figures.add("commit with an ingest of openclipart", _commit(world, place), "s")
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some, part="") + _DERIVED)
    derived = _commit(world, place)
    plain = _plain_loop(place / "image", world.scratch / "plain")
    figures.add("commit that adds a derived field", derived, "s")
    figures.add("its time / a plain loop's", derived / plain, "x", at_most=1.3)
    for each in held.iterdir():
        each.rename(some / each.name)
    (place / "index.py").write_text(_TEXT.format(bucket=bucket, source=some, part="[:]") + _DERIVED)
    more = _commit(world, place)
    figures.add("commit of 10 records more, all listed again", more, "s", at_most=2)
    figures.add("git status / without datasets", _status(world, place) / bare, "x", at_most=1.2)
    origin = world.scratch / "origin.git"
    world.run("git", "init", "-q", "--bare", "-b", "main", origin)
    _git(world, place, "remote", "add", "origin", str(origin))
    figures.add("git push of both", _git(world, place, "push", "-q", "-u", "origin", "main"), "s")
    _numbers(world, figures, bucket)


def _numbers(world: World, figures: Figures, bucket: str) -> None:
    place = world.scratch / "numbers"
    place.mkdir()
    _git(world, place, "init", "-q", "-b", "main")
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        _git(world, place, "config", name, value)
    (place / "index.py").write_text(_NUMBERS.format(bucket=bucket, first=0, last=100_000))
    world.run("git", "-C", place, "datasets", "track", place / "index.py")
    figures.add("commit with 100,000 records", _commit(world, place), "s")
    (place / "index.py").write_text(_NUMBERS.format(bucket=bucket, first=100_000, last=100_010))
    _commit(world, place)
    times = [_git(world, place, "checkout", "-q", each) for each in 3 * ("main~1", "main")]
    figures.add("git checkout, 10 of 100,000 records differ", sorted(times)[len(times) // 2], "s", at_most=0.5)


def _git(world: World, place: Path, *arguments: str) -> float:
    return world.run("git", "-C", place, *arguments)[0]


def _commit(world: World, place: Path) -> float:
    return _git(world, place, "commit", "-q", "index.py", "-m", "next")


def _status(world: World, place: Path) -> float:
    return sorted(_git(world, place, "status") for _ in range(9))[4]


def _plain_loop(source: Path, target: Path) -> float:
    """Do what the derived field does, in one process, and nothing else."""
    target.mkdir()
    begin = time.perf_counter()
    for each in source.iterdir():
        (target / each.name).write_bytes(each.read_bytes())
    return time.perf_counter() - begin
