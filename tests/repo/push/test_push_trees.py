"""What a push keeps: every kind of entry, every name, every size, every shape; and what it leaves out, by name."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, INLINE_BLOCKS, PAGE_BLOCKS, Kind, block_count
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE

World = Any  # see conftest

_names = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).map(
        str.encode
    ),
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"0")),
    st.integers(0, 255).map(lambda byte: bytes([byte or 1]).replace(b"/", b"_") * 255),
).filter(lambda name: name not in (b".", b"..", b".penstockignore"))
_bodies = st.one_of(st.binary(max_size=40), st.integers(0, 3).map(lambda n: b"same" * n))


def _trees(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[bytes, Any]]:
    return st.recursive(
        st.dictionaries(_names, leaf, max_size=5),
        lambda below: st.dictionaries(_names, st.one_of(leaf, below), max_size=5),
        max_leaves=20,
    )


def _flat(tree: dict[bytes, Any], above: bytes = b"") -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for name, item in tree.items():
        path = above + name
        if isinstance(item, dict):
            found.update(_flat(item, path + b"/") if item else {path: None})
        else:
            found[path] = item
    return found


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_comes_back_as_it_was(new_world: Callable[[Path], World], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = new_world(Path(folder))
        links = st.binary(min_size=1, max_size=30).map(lambda raw: world.Link(raw.replace(b"\0", b"0")))
        leaf = st.one_of(_bodies, _bodies.map(world.Executable), links, st.none())
        content = _flat(data.draw(_trees(leaf)))
        directory = world.plant(content)
        report = world.push(directory)
        snapshot = world.open()
        assert world.read_back(snapshot) == content
        assert report.top_hash == snapshot.top_hash == world.hash(directory) == world.rebuilt_top_hash(snapshot)
        files = [item for item in content.values() if isinstance(item, bytes | world.Executable)]
        assert report.files == len(files)
        assert report.bytes == sum(len(getattr(item, "body", item)) for item in files)
        again = world.push(directory)
        assert (again.commit, again.bytes_uploaded, again.metadata_bytes_uploaded) == (None, 0, 0)
        world.close()


def test_every_kind_of_entry(world: World) -> None:
    content = {
        b"file": b"text",
        b"empty": b"",
        b"run": world.Executable(b"#!/bin/sh\n"),
        b"empty-run": world.Executable(b""),
        b"link": world.Link(b"file"),
        b"dangling": world.Link(b"/nowhere/at/all"),
        b"to-directory": world.Link(b"full"),
        b"loop": world.Link(b"loop"),
        b"longest": world.Link(b"x" * 4095),
        b"empty-directory": None,
        b"full/inside": b"text",
        b"full/\xff\xfe": b"not UTF-8",
        b"full/new\nline": b"1",
        b"full/" + "é".encode() * 127 + b"x": b"255 bytes",
        "full/日本".encode(): b"2",
        "full/e\u0301".encode(): b"decomposed",
        "full/\u00e9".encode(): b"composed",
        b"full/ ": b"3",
        b"full/...": b"4",
        b"full/-rf": b"5",
        b"full/\\": b"6",
        b"full/\x1b[2J": b"7",
    }
    directory = world.plant(content)
    report = world.push(directory)
    assert report.files == 16
    assert world.read_back(world.open()) == content
    assert world.hash(directory) == report.top_hash


def test_a_directory_that_is_named_by_a_symlink(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    os.symlink(directory, world.folder / "link")
    assert world.push(str(world.folder / "link")).top_hash == world.hash(directory)
    assert world.hash(directory + "/") == world.hash(directory)


def test_an_empty_directory_is_a_dataset(world: World) -> None:
    report = world.push(world.plant({}))
    assert (report.files, report.bytes, report.bytes_uploaded) == (0, 0, 0)
    assert report.commit is not None
    snapshot = world.open()
    assert list(snapshot.tree.walk()) == []
    assert world.push(world.plant({})).commit is None
    # And it fills, and empties again.
    filled = world.push(world.plant({b"a": b"1"}))
    os.unlink(world.folder / "data" / "a")
    emptied = world.push(world.plant({}))
    assert emptied.top_hash == report.top_hash != filled.top_hash
    assert world.repository().refs.head("main").number == 2


def test_times_are_kept_and_do_not_count(world: World) -> None:
    directory = world.plant({b"d/a": b"1"})
    os.utime(f"{directory}/d/a", ns=(5, 1_234_567_890_123_456_789))
    os.utime(f"{directory}/d", ns=(5, 987_654_321))
    report = world.push(directory)
    snapshot = world.open()
    assert snapshot.find("d/a").mtime_ns == 1_234_567_890_123_456_789
    assert snapshot.find("d").mtime_ns == 987_654_321
    os.utime(f"{directory}/d/a", ns=(5, 6))
    assert world.hash(directory) == report.top_hash
    assert world.push(directory).commit is None


def test_what_is_no_file_is_named_and_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = world.plant({b"a": b"1", b"d/b": b"2"})
    os.mkfifo(f"{directory}/d/pipe")
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        os.mknod(f"{directory}/null", 0o600 | 0o020000, os.makedev(1, 3))
        os.mknod(f"{directory}/loop", 0o600 | 0o060000, os.makedev(7, 0))
        report = world.push(directory)
    base = os.fsencode(directory)
    assert sorted(report.skipped) == [
        (base + b"/d/pipe", "named pipe"),
        (base + b"/loop", "block device"),
        (base + b"/null", "character device"),
        (base + b"/socket", "socket"),
    ]
    assert world.read_back(world.open()) == {b"a": b"1", b"d/b": b"2"}
    assert world.hash(directory) == report.top_hash


def test_a_tree_deeper_than_a_path_can_be(world: World) -> None:
    levels = 2000
    top = world.plant({})
    home = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(levels):
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_bytes(b"at the bottom")
        os.symlink("file", "link")
        Path(".penstockignore").write_bytes(b"*.tmp\n")
        Path("ignored.tmp").write_bytes(b"x")
        with open("large", "wb") as file:
            file.truncate(PACKED_SIZE + 1)
    finally:
        os.fchdir(home)
        os.close(home)
    report = world.push(top)
    assert report.files == 3
    snapshot = world.open()
    names = tuple([b"d"] * levels)
    bottom = snapshot.tree.resolve(names)[1].directory
    assert [entry.name for _, entry in snapshot.tree.children(bottom)] == [
        b".penstockignore",
        b"file",
        b"large",
        b"link",
    ]
    assert b"".join(snapshot.read(snapshot.tree.resolve((*names, b"file"))[1])) == b"at the bottom"
    assert snapshot.tree.resolve((*names, b"link"))[1].target == b"file"
    assert world.hash(top) == report.top_hash == world.rebuilt_top_hash(snapshot)
    subprocess.run(["rm", "-rf", top], check=True)  # shutil cannot


def test_a_tree_that_is_too_deep_is_refused(world: World) -> None:
    top = world.plant({})
    home = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(2050):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.fchdir(home)
        os.close(home)
    with pytest.raises(UsageError, match=r"too deeply.*2048"):
        world.push(top)
    assert world.keys() == []
    subprocess.run(["rm", "-rf", top], check=True)


SIZES = [
    0,
    1,
    *(size + more for size in (BLOCK_SIZE, PACKED_SIZE, PIECE_SIZE) for more in (-1, 0, 1)),
    INLINE_BLOCKS * BLOCK_SIZE + BLOCK_SIZE // 2,
]


def test_sizes_around_every_limit(world: World) -> None:
    top = Path(world.plant({}))
    for number, size in enumerate(SIZES):
        with open(top / str(size), "wb") as file:
            file.truncate(size)
            for at in range(0, size, BLOCK_SIZE):
                # No two blocks are alike, so that one in the place of another shows.
                file.seek(at)
                file.write(b"%d,%d" % (number, at) if size - at > 20 else b"x")
    report = world.push(str(top))
    assert report.bytes == report.bytes_uploaded == sum(SIZES)
    snapshot = world.open()
    assert report.top_hash == world.hash(str(top)) == world.rebuilt_top_hash(snapshot)
    for size in SIZES:
        entry = snapshot.find(str(size))
        assert entry.size == size
        assert bool(entry.pages) == (block_count(size) > INLINE_BLOCKS)
        with open(top / str(size), "rb") as file:
            for block in snapshot.read(entry):
                assert block == file.read(BLOCK_SIZE)
            assert file.read() == b""
    again = world.push(str(top))
    assert (again.commit, again.bytes_uploaded, again.metadata_bytes_uploaded) == (None, 0, 0)


def test_a_file_with_two_pages_of_block_hashes(world: World) -> None:
    size = (PAGE_BLOCKS + 99) * BLOCK_SIZE + 7
    top = Path(world.plant({b"small": b"1"}))
    marks = (0, PAGE_BLOCKS - 1, PAGE_BLOCKS, block_count(size) - 1)
    with open(top / "sparse", "wb") as file:
        file.truncate(size)
        for block in marks:
            file.seek(block * BLOCK_SIZE)
            file.write(b"%07d" % block)
    report = world.push(str(top))
    assert report.bytes == size + 1
    assert report.bytes_uploaded <= 6 * PIECE_SIZE  # most pieces are alike, and go once
    snapshot = world.open()
    entry = snapshot.find("sparse")
    assert len(entry.pages) == 2
    for block in marks:
        (read,) = snapshot.fetch_blocks(entry, block, 1)
        assert read[:7] == b"%07d" % block
        assert len(read) == (BLOCK_SIZE if block != marks[-1] else 7)
    assert snapshot.is_cached(entry) == (len(marks), block_count(size))
    assert world.push(str(top)).commit is None
    with open(top / "sparse", "r+b") as file:
        file.seek((PAGE_BLOCKS + 5) * BLOCK_SIZE + 17)
        file.write(b"!")
    assert world.push(str(top)).bytes_uploaded == BLOCK_SIZE
    assert world.open().find("sparse").pages[0] == entry.pages[0]


@pytest.mark.parametrize("name", ["data", "data/file", "dataset"])
def test_a_directory_that_is_none(world: World, name: str) -> None:
    if name == "data/file":
        world.plant({b"file": b"1"})
        with pytest.raises(UsageError, match="not a directory"):
            world.push(str(world.folder / name))
    else:
        with pytest.raises(NotFoundError, match="no directory"):
            world.push(str(world.folder / name))
    assert world.keys() == []


def test_a_bucket_inside_of_what_is_pushed(world: World, new_world: Callable[[Path], World]) -> None:
    """Each version would hold the one before; so it is refused, before anything is written."""
    directory = world.plant({b"a": b"1"})
    inside = new_world(Path(directory, "below"))
    with pytest.raises(UsageError, match="lies inside of"):
        inside.push(directory)
    with pytest.raises(UsageError, match="lies inside of"):
        inside.push(f"{directory}/below/store")
    os.symlink(directory, world.folder / "link")
    with pytest.raises(UsageError, match="lies inside of"):
        inside.push(str(world.folder / "link"))
    assert inside.keys() == []
    Path(directory, ".penstockignore").write_bytes(b"store/\ncache-*\n")
    inside.push(directory)
    assert inside.push(directory).commit is None
    assert set(inside.read_back(inside.open())) == {b"a", b".penstockignore", b"below"}
    assert world.push(directory).commit is not None


_AS_NOBODY = """
import sys, json
from pathlib import Path
from penstock.progress import SILENT
from penstock.repo.push.push import hash_directory
from penstock.errors import PenstockError
try:
    hash_directory(sys.argv[1], SILENT)
except PenstockError as error:
    print(json.dumps([type(error).__name__, error.what, error.why]))
"""


@pytest.mark.parametrize("what", ["file", "large", "directory", "ignore file"])
def test_what_may_not_be_read(world: World, what: str) -> None:
    directory = Path(world.plant({b"a": b"1", b"secret/file": b"2", b"secret/.penstockignore": b"x"}))
    for folder in (directory, *directory.parents):
        if folder.stat().st_uid == os.getuid() and str(folder).startswith(tempfile.gettempdir() + "/"):
            folder.chmod(0o755)
    hidden = {
        "file": directory / "secret/file",
        "large": directory / "secret/large",
        "directory": directory / "secret",
        "ignore file": directory / "secret/.penstockignore",
    }[what]
    if what == "large":
        with open(hidden, "wb") as file:
            file.truncate(PACKED_SIZE + 1)
    hidden.chmod(0)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", _AS_NOBODY, directory],
        capture_output=True,
        text=True,
        check=True,
    )
    kind, message, why = json.loads(done.stdout)
    assert kind == "AccessError"
    assert str(hidden) in message
    assert why == "permission denied"


def test_kinds_may_change_places(world: World) -> None:
    """A name that was a file becomes a directory, a symlink, a large file, and back."""
    states: list[dict[bytes, Any]] = [
        {b"x": b"file", b"y": b"stays"},
        {b"x/x": b"file", b"y": b"stays"},
        {b"x": world.Link(b"y"), b"y": b"stays"},
        {b"x": bytes(PACKED_SIZE + 1), b"y": b"stays"},
        {b"x": world.Executable(b"file"), b"y": b"stays"},
        {b"x": None, b"y": b"stays"},
    ]
    hashes = []
    for number, state in enumerate([*states, *reversed(states)]):
        directory = world.plant(state, f"data{number}")
        hashes.append(world.push(directory).top_hash)
        snapshot = world.open()
        assert world.read_back(snapshot) == state
        assert snapshot.top_hash == world.hash(directory)
    assert len(set(hashes)) == len(states)
    assert hashes == hashes[::-1]


def test_a_large_directory(world: World) -> None:
    content = {b"%05d" % number: b"%d" % number for number in range(3000)}
    directory = world.plant(content)
    report = world.push(directory)
    assert report.objects_uploaded == 1
    snapshot = world.open()
    assert world.read_back(snapshot) == content
    assert report.top_hash == world.rebuilt_top_hash(snapshot)
    Path(directory, "01750").write_bytes(b"changed")
    second = world.push(directory)
    assert second.bytes_uploaded == len(b"changed")
    assert second.metadata_bytes_uploaded < report.metadata_bytes_uploaded / 3
    assert second.top_hash == world.hash(directory)
    assert [entry.kind for entry in (world.open().find("01750"),)] == [Kind.FILE]
