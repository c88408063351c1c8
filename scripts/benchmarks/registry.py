"""A registry in git beside DVC, on one disk: openclipart and many small files, on a local remote and through the proxy.

DVC (`pip install dvc`) is measured where PENSTOCK_BENCH_DVC names its program, with its fastest link type, hard links;
without it, our own figures stand alone, held against their bars in seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from figures import Figures
from world import World

__all__ = ["bench_registry"]

_MANY = 100_000
_LARGE = 1 << 30


def bench_registry(world: World, figures: Figures) -> None:
    """Add, push, status, change, switch, clone; then the same of many files, and of a large one."""
    dvc = os.environ.get("PENSTOCK_BENCH_DVC")
    ours = _measure(_Penstock(world, "ours"), world)
    theirs = _measure(_Dvc(world, "theirs", dvc), world) if dvc else {}
    for name, seconds in ours.items():
        other = theirs.get(name)
        bar = _SECONDS.get(name)
        figures.add(f"{name}", seconds, "s", at_most=bar)
        if other is not None:
            figures.add("  the same by DVC, beside ours", other / seconds, "x", at_least=_RATIOS.get(name))
    _bench_store(world, figures)


_SECONDS = {"status, nothing changed": 0.5, "one file changed: add, push": 1.0, "switch of branches": 0.7}
_RATIOS = {"add, push": 4.0, "clone, pull": 3.0}


class _Penstock:
    """What is typed for Penstock."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.path = world.scratch / name
        self.remote = world.scratch / f"{name}-remote"

    def begin(self) -> None:
        self.path.mkdir()
        _git(self.path, "init", "-q", "-b", "main")
        self.do("init", "--hooks")
        self.do("remote", "add", "-d", "storage", str(self.remote))

    def do(self, *words: str, at: Path | None = None) -> float:
        return _timed(self.world, at or self.path, "penstock", *words)

    def add(self, path: str) -> float:
        return self.do("add", path)

    def prepare_clone(self, path: Path) -> None:
        self.do("trust", at=path)


class _Dvc(_Penstock):
    """What is typed for DVC."""

    def __init__(self, world: World, name: str, program: str | None) -> None:
        super().__init__(world, name)
        self.program = str(program)

    def begin(self) -> None:
        self.path.mkdir()
        _git(self.path, "init", "-q", "-b", "main")
        self.do("init", "-q")
        self.do("config", "core.analytics", "false")
        self.do("config", "cache.type", "hardlink,copy")
        self.do("install")
        self.do("remote", "add", "-d", "storage", str(self.remote))

    def do(self, *words: str, at: Path | None = None) -> float:
        return _timed(self.world, at or self.path, self.program, *words)

    def prepare_clone(self, path: Path) -> None:
        self.do("version", at=path)


def _measure(tool: _Penstock, world: World) -> dict[str, float]:
    tool.begin()
    shutil.copytree(world.clipart, tool.path / "raw")
    found = {"add, push": tool.add("raw") + tool.do("push")}
    _commit(tool.path, "first")
    found["status, nothing changed"] = tool.do("status")
    found["push, nothing new"] = tool.do("push")
    _git(tool.path, "checkout", "-q", "-b", "other")
    one = min(path for path in (tool.path / "raw").rglob("*.png"))
    body = one.read_bytes()
    one.unlink()
    one.write_bytes(body + b"changed")
    found["one file changed: add, push"] = tool.add("raw") + tool.do("push")
    _commit(tool.path, "second")
    begin = time.perf_counter()
    _git(tool.path, "checkout", "-q", "main", environment=world.environment)
    found["switch of branches"] = time.perf_counter() - begin
    if one.read_bytes() != body:
        sys.exit("the data did not follow the switch")
    clone = tool.path.with_name(f"{tool.path.name}-clone")
    _git(tool.path.parent, "clone", "-q", str(tool.path), str(clone))
    tool.prepare_clone(clone)
    found["clone, pull"] = tool.do("pull", at=clone)
    if sum(path.is_file() for path in (clone / "raw").rglob("*")) != sum(
        path.is_file() for path in (tool.path / "raw").rglob("*")
    ):
        sys.exit("the clone has not all of it")
    many = tool.path / "many"
    for folder in range(100):
        (many / str(folder)).mkdir(parents=True)
        for number in range(_MANY // 100):
            (many / str(folder) / str(number)).write_bytes(f"{folder} {number} ".encode() * 400)
    found[f"add of {_MANY:,} files"] = tool.add("many")
    found[f"status of {_MANY:,} files"] = tool.do("status")
    return found


def _bench_store(world: World, figures: Figures) -> None:
    """Push to the S3 server behind 25 ms, and change a part of a large file."""
    path, bucket = world.scratch / "in-s3", world.bucket()
    path.mkdir()
    _git(path, "init", "-q", "-b", "main")
    options = ("--endpoint-url", world.proxy.endpoint, "--region", "us-east-1", "--addressing-style", "path")
    _timed(world, path, "penstock", "init")
    _timed(world, path, "penstock", "remote", "add", "-d", "storage", f"s3://{bucket}", *options)
    shutil.copytree(world.clipart, path / "raw")
    _timed(world, path, "penstock", "add", "raw")
    figures.add("push to S3 at 25 ms (DVC: 52.7 s)", _timed(world, path, "penstock", "push"), "s", at_most=52.7 / 12)
    figures.add("push to S3, nothing new", _timed(world, path, "penstock", "push"), "s")
    large = path / "large.bin"
    with open(large, "wb") as stream:
        stream.writelines(os.urandom(1 << 24) for _ in range(_LARGE >> 24))
    _timed(world, path, "penstock", "add", "large.bin")
    _timed(world, path, "penstock", "push")
    with open(large, "r+b") as stream:
        stream.seek(_LARGE // 2)
        stream.write(os.urandom(1 << 20))
    _timed(world, path, "penstock", "add", "large.bin")
    report = json.loads(_answer(world, path, "penstock", "push", "--json"))
    sent = report["bytes"] + report["metadata_bytes"]
    figures.add("1 MiB of 1 GiB changed: bytes pushed (DVC: 1 GiB)", sent, "B", at_most=2 << 20)


def _timed(world: World, path: Path, *command: str) -> float:
    begin = time.perf_counter()
    _answer(world, path, *command)
    return time.perf_counter() - begin


def _answer(world: World, path: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=path, env=world.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _git(path: Path, *words: str, environment: dict[str, str] | None = None) -> None:
    who = {f"GIT_{role}_{what}": "bench@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", *words], cwd=path, env={**(environment or os.environ), **who}, check=True, capture_output=True
    )


def _commit(path: Path, message: str) -> None:
    _git(path, "add", "-A")
    _git(path, "commit", "-q", "-m", message)
