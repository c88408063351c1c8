"""A clone has its data lazily: folders are mounts, each mount has the database, and pull makes them links."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from views.datasets_in_git import DatasetRepository, new_repository

TEXT = """
from pathlib import Path
from penstock import dataset, File, ingest

@dataset(remote="store")
class Letters:
    letter: str
    text: File["txt"]

    @ingest
    def load():
        return [(each, each.encode() * 3) for each in "abc"]
"""
DERIVED = """
    def twice(text: File["txt"]) -> File["txt"]:
        return text.read_bytes() * 2
"""

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(600)]


@pytest.fixture
def clone(tmp_path, isolated_home):
    """A trusted clone of what was pushed: all of it is somewhere else."""
    (tmp_path / "store").mkdir()
    first = new_repository(tmp_path / "repository", tmp_path / "home")
    first.env["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
    first.env["XDG_STATE_HOME"] = os.environ["XDG_STATE_HOME"]  # short, for sockets lie there
    first.run("python", "-m", "penstock", "remote", "add", "store", f"file://{tmp_path}/store")
    first.write(TEXT)
    first.datasets("track", "index.py")
    first.git("commit", "-q", "index.py", "-m", "one")
    first.git("init", "-q", "--bare", "-b", "main", str(tmp_path / "origin.git"))
    first.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    first.git("push", "-q", "-u", "origin", "main")
    first.git("clone", "-q", str(tmp_path / "origin.git"), str(tmp_path / "clone"))
    found = DatasetRepository(tmp_path / "clone", first.env)
    found.datasets("trust")
    try:
        yield found
    finally:
        found.datasets("config", "folders", "links")
        assert not any((tmp_path / "clone" / ".penstock" / "mounts").iterdir())


def letters(repository, folder="text"):
    return sorted((repository.root / folder / name).read_bytes() for name in repository.names(folder))


def columns(place):
    with closing(sqlite3.connect(place / "dataset.sqlite")) as database:
        return [row[1] for row in database.execute("PRAGMA table_info('Letters')")]


def test_a_clone_has_its_data_lazily_and_goes_on_from_there(clone, tmp_path):
    assert os.path.islink(clone.root / "text")
    assert not (clone.root / ".penstock" / "bucket" / ".penstock" / "data").exists()
    assert letters(clone) == [b"aaa", b"bbb", b"ccc"]
    assert clone.git("status", "--short") == ""
    assert clone.rows("SELECT letter FROM Letters ORDER BY letter") == [("a",), ("b",), ("c",)]
    # a derived field is made of what is fetched for it, and the new version is a mount as well
    clone.commit(TEXT + DERIVED)
    assert letters(clone, "twice") == [b"aaa" * 2, b"bbb" * 2, b"ccc" * 2]
    assert letters(clone) == [b"aaa", b"bbb", b"ccc"]
    clone.git("checkout", "-q", "HEAD~1")
    assert clone.names("twice") == []
    assert len(list((clone.root / ".penstock" / "mounts").iterdir())) == 1
    clone.git("checkout", "-q", "main")
    clone.git("push", "-q")
    # and with pull, files are here, and folders are links
    clone.datasets("pull")
    assert not os.path.islink(clone.root / "text")
    assert letters(clone, "twice") == [b"aaa" * 2, b"bbb" * 2, b"ccc" * 2]
    assert all(os.path.islink(clone.root / "text" / name) for name in clone.names("text"))


def test_a_mount_of_a_version_has_its_database_writable_or_not(clone, tmp_path):
    place = tmp_path / "mnt"
    place.mkdir()
    clone.run("python", "-m", "penstock", "mount", "store/Letters:main", str(place))
    try:
        assert sorted(os.listdir(place)) == [".records", "dataset.sqlite", "text"]
        for name in (str(place / "dataset.sqlite"), f"file:{place}/dataset.sqlite?immutable=1"):
            with closing(sqlite3.connect(name, uri=name.startswith("file:"))) as database:
                rows = database.execute("SELECT letter, text FROM Letters ORDER BY letter").fetchall()
        assert [(place / path).read_bytes() for _, path in rows] == [b"aaa", b"bbb", b"ccc"]
        with pytest.raises(OSError, match="Read-only"):
            (place / "dataset.sqlite").write_bytes(b"")
    finally:
        clone.run("python", "-m", "penstock", "umount", str(place))
    clone.run("python", "-m", "penstock", "mount", "store/Letters:main/text", str(place))
    try:  # its paths lead from the root of the version: in a directory of it they would lead nowhere
        assert "dataset.sqlite" not in os.listdir(place)
    finally:
        clone.run("python", "-m", "penstock", "umount", str(place))
    clone.run("python", "-m", "penstock", "mount", "-w", "store/Letters:main", str(place))
    try:
        assert sorted(os.listdir(place)) == [".records", "dataset.sqlite", "text"]
        assert columns(place) == ["id", "letter", "text"]
        assert (place / "dataset.sqlite").stat().st_mode & 0o222 == 0
        (place / "text" / "dataset.sqlite").write_bytes(b"mine")
        for change in (
            lambda: (place / "dataset.sqlite").write_bytes(b"mine"),
            lambda: (place / "dataset.sqlite").unlink(),
            lambda: (place / "dataset.sqlite").rename(place / "other"),
            lambda: (place / "dataset.sqlite").chmod(0o600),
            lambda: os.link(place / "dataset.sqlite", place / "other"),
            lambda: (place / "text" / "dataset.sqlite").rename(place / "dataset.sqlite"),
        ):
            with pytest.raises(PermissionError):
                change()
        (place / "text" / "dataset.sqlite").unlink()
        assert columns(place) == ["id", "letter", "text"]
        # what was changed in the mount is in no database: the next version has none, until git makes one
        (place / "more.txt").write_bytes(b"more")
        clone.run("python", "-m", "penstock", "commit", str(place), "-m", "more")
        assert sorted(os.listdir(place)) == [".records", "more.txt", "text"]
        assert not (place / "dataset.sqlite").exists()
    finally:
        clone.run("python", "-m", "penstock", "umount", str(place))


def test_a_mount_that_is_brought_to_another_version_has_the_database_of_that(clone, tmp_path):
    place = tmp_path / "mnt"
    place.mkdir()
    clone.run("python", "-m", "penstock", "mount", "store/Letters:main", str(place))
    try:
        assert columns(place) == ["id", "letter", "text"]
        with (place / "dataset.sqlite").open("rb") as before:
            first = before.read(4096)
            clone.commit(TEXT + DERIVED)
            clone.git("push", "-q")
            clone.run("python", "-m", "penstock", "refresh", str(place))
            assert columns(place) == ["id", "letter", "text", "twice"]
            assert os.listdir(place).count("dataset.sqlite") == 1
            before.seek(0)
            assert before.read(4096) == first
        with pytest.raises(OSError, match=r"Read-only|not permitted"):
            (place / "dataset.sqlite").write_bytes(b"")
    finally:
        clone.run("python", "-m", "penstock", "umount", str(place))
