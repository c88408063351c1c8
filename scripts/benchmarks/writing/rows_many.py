"""Rows with many small files: made, committed, and looked at by git.

Nothing is deleted before the end: ext4 makes files several times slower for minutes where many were.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from stage import RUNS, median

from .changing import Changing, Written, make_files

__all__ = ["created", "git_status", "new_files"]

_FILES = 10_000
_BYTES = 4096
_TIMES = 40
"""How often `git status` is run in each place, in turn: it takes milliseconds."""


def new_files(changing: Changing) -> None:
    """Commit of 10,000 files of 4 KB, beside `rclone copy --transfers 32` of the same."""
    ours, theirs = [], []
    for run in range(RUNS):
        source = changing.world.scratch / f"new-{run}"
        source.mkdir()
        make_files(source, _FILES, _BYTES, seed=run)
        with changing.mounted(changing.empty()) as (where, _):
            changing.world.run("cp", "-r", source, where / "new")
            ours.append(changing.commit(where).seconds)
            changing.world.run("diff", "-r", source / "part-07", where / "new" / "part-07")
        copy = changing.world.bucket()
        took, _ = changing.world.run("rclone", "copy", "--transfers", "32", "--checkers", "32", source, f"s:{copy}")
        theirs.append(took)
    changing.figures.add(f"commit of {_FILES:,} new files of 4 KB", median(ours), "s")
    changing.figures.add("  rclone copy --transfers 32 of the same", median(theirs), "s")
    changing.figures.add("  rclone's time / ours", median(theirs) / median(ours), "x", at_least=3)


def created(changing: Changing) -> None:
    """10,000 files of 4 KB created, written and closed, beside rclone's mount and the plain disk."""
    ours, theirs, disk = [], [], []
    for run in range(RUNS):
        with changing.mounted(changing.empty()) as (where, _):
            ours.append(make_files(where, _FILES, _BYTES))
        there = changing.world.scratch / f"rclone-writes-{run}"
        there.mkdir()
        bucket, log = f"s:{changing.world.bucket()}", changing.world.scratch / "rclone.log"
        with changing.world.serving(
            # What was not yet sent when it is unmounted it complains of.
            there,
            "rclone",
            "mount",
            bucket,
            there,
            "--vfs-cache-mode",
            "writes",
            "--log-file",
            log,
        ):
            theirs.append(make_files(there, _FILES, _BYTES))
        plain = changing.world.scratch / f"plain-files-{run}"
        plain.mkdir()
        disk.append(make_files(plain, _FILES, _BYTES))
    add = changing.figures.add
    add(f"{_FILES:,} files of 4 KB created, written, closed", _rate(ours), "files/s")
    add("  rclone mount --vfs-cache-mode writes", _rate(theirs), "files/s")
    add("  ours / rclone's", _rate(ours) / _rate(theirs), "x", at_least=5)
    add("  plain disk", _rate(disk), "files/s")


def _rate(found: list[Written]) -> float:
    return median([each.rate for each in found])


def git_status(changing: Changing) -> None:
    """`git status`, warm, in a repository of 10,000 files: in the version, and cloned into the mount."""
    local = changing.world.scratch / "repository"
    local.mkdir()
    _git(local, "init", "--quiet")
    _git(local, "config", "gc.auto", "0")  # or it packs in the background while it is pushed
    make_files(local, _FILES, _BYTES)
    _git(local, "add", "--all")
    _git(local, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "bench")
    handle = f"{changing.world.bucket()}/data"
    changing.world.run("penstock", "push", local, handle)
    places = {"plain disk": local}
    times: dict[str, list[float]] = {}
    with changing.mounted(handle) as (where, _), changing.mounted(changing.empty()) as (other, _):
        _git(other, "clone", "--quiet", f"file://{local}", "clone")
        places |= {"in the version": where, "cloned into the mount": other / "clone"}
        for place in places.values():
            # The first one looks into every file, for their inodes have changed, and notes that.
            _status(place)
            _status(place)
        for _ in range(_TIMES):
            for name, place in places.items():
                times.setdefault(name, []).append(_status(place))
    disk = median(times["plain disk"])
    changing.figures.add(f"git status, {_FILES:,} files, plain disk, warm", disk * 1e3, "ms")
    for name in ("in the version", "cloned into the mount"):
        changing.figures.add(f"  {name}", median(times[name]) * 1e3, "ms")
        changing.figures.add("  ours / plain", median(times[name]) / disk, "x", at_most=3)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def _status(place: Path) -> float:
    begin = time.perf_counter()
    found = _git(place, "status", "--porcelain")
    took = time.perf_counter() - begin
    assert not found, found
    return took
