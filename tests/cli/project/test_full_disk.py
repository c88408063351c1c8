"""A disk that is full while data is added, pushed or pulled: it is said, nothing is lost, and with room it goes on."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from views.directories import tree_of, write_tree

from .conftest import run_in

KIB, MIB = 1 << 10, 1 << 20


class Disk:
    """A file system of 8 MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, room: int) -> None:
        """Fill it up to so many bytes that are left."""
        (self.path / "filler").unlink(missing_ok=True)
        found = os.statvfs(self.path)
        with suppress(OSError), (self.path / "filler").open("wb", buffering=0) as file:
            file.write(bytes(max(0, found.f_bavail * found.f_frsize - room)))

    def grow(self) -> None:
        """Give it plenty of room."""
        (self.path / "filler").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "penstock-test", str(path)], check=True)
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


def contents() -> dict[str, bytes]:
    """Return two hundred small files, and one that is an object of its own: 3 MiB that cannot be packed closer."""
    source = random.Random(7)
    files = {f"{number % 5}/{number:03}": source.randbytes(5 * KIB) for number in range(200)}
    return {**files, "large": source.randbytes(2 * MIB)}


def project(path: Path, storage: Path) -> None:
    path.mkdir()
    run_in(path, "git", "init", "-q")
    run_in(path, "penstock", "init")
    run_in(path, "penstock", "remote", "add", "-d", "storage", str(storage))


def full(*command: str, where: Path) -> None:
    """Run a command that has to say that the disk is full, and not to end in an accident of its own."""
    said = run_in(where, *command, code=None)
    assert "No space left on device" in said or "disk is full" in said, said
    assert "penstock: fix" in said or "→" in said or "room" in said or "space" in said


def files_of(path: Path) -> dict[str, bytes]:
    return {name: body for name, body in tree_of(path).items() if body != "/"}


@pytest.mark.parametrize("room", [0, 16 * KIB, 600 * KIB, 2500 * KIB])
def test_an_addition_that_finds_no_room_changes_nothing_and_is_done_when_there_is_some(
    disk: Disk, tmp_path: Path, room: int
) -> None:
    path = disk.path / "registry"
    project(path, tmp_path / "storage")
    write_tree(path / "raw", contents())
    (path / "raw/empty").mkdir()
    before, ours = tree_of(path / "raw"), sorted(os.listdir(path))
    disk.leave(room)
    full("penstock", "add", "raw", where=path)
    assert tree_of(path / "raw") == before
    assert sorted(os.listdir(path)) == ours  # no pointer, no ignore line
    disk.grow()
    run_in(path, "penstock", "add", "raw")
    assert tree_of(path / "raw") == before
    (path / "raw/large").write_bytes(random.Random(8).randbytes(2 * MIB))
    pointer = (path / "raw.penstock").read_bytes()
    disk.leave(min(room, 600 * KIB))
    full("penstock", "add", "raw", where=path)
    assert (path / "raw.penstock").read_bytes() == pointer
    disk.grow()
    assert "1 modified" in run_in(path, "penstock", "add", "raw")
    assert "nothing changed" in run_in(path, "penstock", "status", "raw")
    run_in(path, "penstock", "push")
    (path / "raw/large").unlink()
    run_in(path, "penstock", "checkout", "raw")
    assert (path / "raw/large").read_bytes() == random.Random(8).randbytes(2 * MIB)


@pytest.mark.parametrize("room", [0, 16 * KIB, 2500 * KIB])
def test_a_push_to_a_store_that_is_full_publishes_nothing_and_goes_on_when_there_is_room(
    disk: Disk, tmp_path: Path, room: int
) -> None:
    path, storage = tmp_path / "registry", disk.path / "storage"
    project(path, storage)
    write_tree(path / "raw", contents())
    run_in(path, "penstock", "add", "raw")
    run_in(path, "git", "add", "-A")
    run_in(path, "git", "commit", "-q", "-m", "one")
    disk.leave(room)
    full("penstock", "push", where=path)
    assert "not pushed" in run_in(path, "penstock", "status")
    disk.grow()
    assert "sent" in run_in(path, "penstock", "push")
    run_in(tmp_path, "git", "clone", "-q", str(path), "clone")
    run_in(tmp_path / "clone", "penstock", "trust")
    run_in(tmp_path / "clone", "penstock", "pull")
    assert files_of(tmp_path / "clone/raw") == contents()


@pytest.mark.parametrize("room", [0, 16 * KIB, 2500 * KIB])
def test_a_pull_that_finds_no_room_shows_no_half_file_and_goes_on_when_there_is_some(
    disk: Disk, tmp_path: Path, room: int
) -> None:
    path, clone = tmp_path / "registry", disk.path / "clone"
    project(path, tmp_path / "storage")
    write_tree(path / "raw", contents())
    run_in(path, "penstock", "add", "raw")
    run_in(path, "penstock", "push")
    run_in(path, "git", "add", "-A")
    run_in(path, "git", "commit", "-q", "-m", "one")
    run_in(tmp_path, "git", "clone", "-q", str(path), str(clone))
    run_in(clone, "penstock", "trust")
    disk.leave(room)
    full("penstock", "pull", where=clone)
    whole = contents()
    there = files_of(clone / "raw") if (clone / "raw").exists() else {}
    assert all(whole[name] == body for name, body in there.items() if ".penstock-download-" not in name)
    disk.grow()
    run_in(clone, "penstock", "pull")
    assert files_of(clone / "raw") == whole
    assert "nothing changed" in run_in(clone, "penstock", "status")
