"""What a status tells of an overlay, a line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited
from views.memory import Link, Made, Spec

from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.commit.version_build import mounted_directory
from penstock.overlay.tree.change_list import Line, status

SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"dir": {b"deep": {b"x": Made(b"x"), b"y": Made(b"y")}, b"link": Link(b"../a"), b"one": Made(b"1")},
    b"empty": {},
    b"other": {b"file": Made(b"file")},
}


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Edited]:
    bucket = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", SPEC)
    bucket.push(tmp_path / "source")
    found = Edited(bucket, tmp_path / "overlay")
    yield found
    found.close()


def lines(edited: Edited, *, every: bool = False) -> list[str]:
    return [_text(line) for line in _status(edited, every=every)]


def _status(edited: Edited, *, every: bool = False) -> list[Line]:
    top = mounted_directory(edited.origin.manifest, edited.origin.subdir, edited.version)
    committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
    sequence = edited.editor.counters.committed
    load = edited.version.load
    return list(status(edited.overlay.records, edited.view, sequence, committed, load, every=every))


def _text(line: Line) -> str:
    slash = "/" if line.is_directory else ""
    path = os.fsdecode(b"/".join(line.path)) + slash
    kind = "RM" if line.kind == "R" and line.modified else line.kind
    return f"{kind} {os.fsdecode(b'/'.join(line.old)) + slash} -> {path}" if line.old is not None else f"{kind} {path}"


def test_nothing_changed(edited: Edited) -> None:
    assert lines(edited) == []
    edited.create("new")
    edited.unlink("new")
    assert lines(edited) == []


def test_there_and_back_is_no_change(edited: Edited) -> None:
    edited.rename("a", "b")
    edited.rename("b", "a")
    edited.rename("dir", "moved")
    edited.rename("moved", "dir")
    edited.chmod("other/file", 0o755)
    edited.chmod("other/file", 0o644)
    assert lines(edited) == []
    edited.rename("dir", "moved")
    edited.write("moved/one", 0, b"2")
    edited.rename("moved", "dir")
    assert lines(edited) == ["M dir/one"]


def test_files(edited: Edited) -> None:
    edited.create("new", b"12345")
    edited.write("dir/deep/x", 0, b"changed")
    edited.unlink("dir/one")
    edited.chmod("other/file", 0o755)
    assert lines(edited) == ["M dir/deep/x", "D dir/one", "A new", "M other/file"]
    sizes = {line.path[-1]: (line.old_size, line.size) for line in _status(edited)}
    assert sizes == {b"x": (1, 7), b"one": (1, None), b"new": (None, 5), b"file": (4, 4)}


def test_a_file_that_is_saved_by_a_rename_is_modified(edited: Edited) -> None:
    edited.create("a.tmp", b"second")
    edited.rename("a.tmp", "a")
    assert lines(edited) == ["M a"]


def test_directories_are_one_line(edited: Edited) -> None:
    edited.mkdir("made")
    edited.mkdir("made/below")
    edited.create("made/below/f")
    edited.rename("a", "made/a")
    edited.rmdir("empty")
    edited.describe("other", {"label": 1})
    assert lines(edited) == ["D empty/", "A made/", "R a -> made/a", "M other/"]
    assert lines(edited, every=True) == [
        "D empty/",
        "A made/",
        "R a -> made/a",
        "A made/below/",
        "A made/below/f",
        "M other/",
    ]


def test_what_is_in_a_removed_directory_is_not_listed(edited: Edited) -> None:
    for path in ("dir/deep/x", "dir/deep/y", "dir/link", "dir/one"):
        edited.unlink(path)
    edited.rmdir("dir/deep")
    edited.rmdir("dir")
    assert lines(edited) == ["D dir/"]


def test_renames(edited: Edited) -> None:
    edited.rename("a", "b")
    edited.write("b", 0, b"F")
    edited.rename("other", "dir/other")
    edited.create("dir/other/new")
    edited.unlink("dir/other/file")
    edited.rename("dir/deep/x", "dir/deep/z")
    assert lines(edited) == [
        "RM a -> b",
        "R dir/deep/x -> dir/deep/z",
        "R other/ -> dir/other/",
        "D dir/other/file",
        "A dir/other/new",
    ]


def test_an_exchange_is_two_renames(edited: Edited) -> None:
    edited.rename("a", "other/file", exchange=True)
    assert lines(edited) == ["R other/file -> a", "R a -> other/file"]


def test_after_a_commit_it_begins_anew(edited: Edited) -> None:
    edited.rename("dir", "moved")
    edited.create("moved/new", b"new")
    assert edited.commit().commit is not None
    assert lines(edited) == []
    edited.write("moved/new", 0, b"N")
    edited.write("moved/one", 0, b"one")
    assert lines(edited) == ["M moved/new", "M moved/one"]
    edited.rename("moved/new", "moved/newer")
    assert lines(edited) == ["D moved/new", "A moved/newer", "M moved/one"]


def test_a_name_that_another_file_has_taken_is_no_source(edited: Edited) -> None:
    edited.rename("a", "b")
    edited.create("a", b"another")
    assert edited.commit().commit is not None
    edited.rename("b", "c")
    assert lines(edited) == ["D b", "A c"]


def test_a_file_for_a_directory_and_back(edited: Edited) -> None:
    edited.unlink("a")
    edited.mkdir("a")
    edited.create("a/f")
    edited.rmdir("empty")
    edited.create("empty", b"")
    assert lines(edited) == ["M a/", "M empty"]
    assert lines(edited, every=True) == ["M a/", "A a/f", "M empty"]
