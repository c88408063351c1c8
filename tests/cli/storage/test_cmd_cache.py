"""``penstock cache`` and ``warm`` where the cache's disk is small, full or cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 20 MiB, whose quarter is less than the smallest cache."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=700", "penstock-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def run(disk: Path, tmp_path: Path) -> Run:
    """Return what runs a command in a process of its own, with its cache on the small disk; ``{}`` is a data set."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}").write_bytes(os.urandom(4 * MIB))

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "-m", "penstock", *(each.format(f"file://{tmp_path}/bucket/data") for each in arguments)],
            env={**os.environ, "PENSTOCK_CACHE_DIR": str(disk / "cache"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in found.stderr, found.stderr
        assert found.returncode != 70, found.stderr
        return found

    assert call("push", str(source), "{}", "-m", "x", PENSTOCK_CACHE_DIR=str(tmp_path / "other")).returncode == 0
    return call


@pytest.mark.regress
def test_a_bound_below_the_smallest_cache_is_told_and_stops_nothing(run: Run) -> None:
    info = run("cache", "info")
    assert info.returncode == 0, info.stderr
    assert "of 5.2 MB" in info.stdout
    assert "its bound of 5,242,880 bytes is below the 32 MiB" in info.stdout
    for command in ("clear", "verify"):
        done = run("cache", command)
        assert done.returncode == 0, done.stderr
        assert "is below the 32 MiB" in done.stderr
    assert run("ls", "{}").stdout.split() == ["0", "1", "2", "3", "4", "5"]
    warmed = run("warm", "{}")
    assert warmed.returncode == 6
    assert "the cache cannot be warmed" in warmed.stderr


def test_blocks_of_a_cache_whose_bound_was_larger_are_removed_with_any_bound(run: Run, disk: Path) -> None:
    run("warm", "{}", PENSTOCK_CACHE_SIZE="100MB")
    cleared = run("cache", "clear", PENSTOCK_CACHE_SIZE="1MB")
    assert cleared.returncode == 0
    assert not cleared.stdout.startswith("0 B")
    assert list((disk / "cache" / "segments").iterdir()) == []


def test_a_disk_that_gets_full_ends_a_warming_and_is_emptied(run: Run, disk: Path) -> None:
    warmed = run("warm", "{}", PENSTOCK_CACHE_SIZE="100MB")
    assert warmed.returncode == 1
    assert "ended early" in warmed.stderr
    assert "No space left" in warmed.stderr
    (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    for command in (("info",), ("verify",), ("clear",)):
        done = run("cache", *command, PENSTOCK_CACHE_SIZE="100MB")
        assert done.returncode == 0, done.stderr
    assert os.statvfs(disk).f_bavail * 4096 > 8 * MIB
    assert run("ls", "{}", PENSTOCK_CACHE_SIZE="100MB").returncode == 0
    assert "state:       ok" in run("cache", "info", PENSTOCK_CACHE_SIZE="100MB").stdout


def test_a_disk_that_cannot_be_written_refuses_to_be_emptied(run: Run, disk: Path) -> None:
    run("cache", "info", PENSTOCK_CACHE_SIZE="100MB")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    cleared = run("cache", "clear", PENSTOCK_CACHE_SIZE="100MB")
    assert cleared.returncode == 6
    assert "Read-only file system" in cleared.stderr
    assert "Read-only" in run("cache", "info", PENSTOCK_CACHE_SIZE="100MB").stdout


@pytest.mark.regress
def test_a_temporary_folder_that_gets_full_is_no_fault_of_penstocks(run: Run, disk: Path, tmp_path: Path) -> None:
    full = disk / "tmp"
    full.mkdir()
    (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - 8192)  # found to be writable, and full at once
    many = tmp_path / "many"
    for number in range(300):
        (many / f"{number}").mkdir(parents=True)
        (many / f"{number}" / "file").write_text(f"{number}")
    told = run("diff", "{}", str(many), TMPDIR=str(full), PENSTOCK_CACHE_DIR=str(tmp_path / "cache"))
    assert "a fault in Penstock" not in told.stderr
    assert "No space left on device" in told.stderr
    assert "Make room" in told.stderr
