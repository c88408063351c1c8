"""What two versions are told to differ in: every path, renames among them, counts, and as little read as may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from trees.model import Folder, built
from trees.strategies import Step, apply, edits_for, folders, quick, steps

from penstock.errors import NotFoundError
from penstock.manifest.entry import Kind
from penstock.progress import SILENT
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.history import comparison
from penstock.repo.history.comparison import Contents, Tally, compare, differences, tally
from penstock.repo.push.local_tree import local_tree
from penstock.repo.session.nodes import Nodes

World = Any  # see conftest

OLD = {b"a": b"1", b"d/x": b"2", b"d/y": b"3", b"gone/deep/p": b"4", b"gone/q": b"5", b"empty": b"", b"same/s": b"s"}


def sides(world: World, old: dict[bytes, Any], new: dict[bytes, Any]) -> tuple[Contents, Contents]:
    repository = world.repository()
    load = Nodes(repository.store, None, RequestCounts()).load
    reports = [
        world.push(world.plant(each, f"side{number}"), f"side{number}") for number, each in enumerate((old, new))
    ]
    one, other = (Contents(repository.manifest(report.top_hash).root, load) for report in reports)
    return one, other


def told(old: Contents, new: Contents, *path: bytes, **options: Any) -> list[str]:
    lines = []
    for each in differences(compare(old, new, path, **options)):
        before = f"{b'/'.join(each.old_path).decode()} -> " if each.old_path is not None else ""
        lines.append(f"{each.kind} {before}{b'/'.join(each.path).decode()}")
    return lines


def test_added_modified_deleted(world: World) -> None:
    new = {b"a": b"changed", b"d/x": b"2", b"d/new": b"9", b"gone/q": b"5", b"empty": b"", b"same/s": b"s"}
    old, new_side = sides(world, OLD, new)
    assert told(old, new_side) == ["M a", "A d/new", "D d/y", "D gone/deep", "D gone/deep/p"]
    assert told(old, new_side, b"d") == ["A d/new", "D d/y"]
    assert told(old, new_side, b"d", b"y") == ["D d/y"]
    assert told(old, new_side, b"a") == ["M a"]
    assert told(old, new_side, b"gone", b"deep") == ["D gone/deep", "D gone/deep/p"]
    assert told(old, new_side, b"same") == []
    assert told(old, old) == []
    with pytest.raises(NotFoundError, match="nothing"):
        told(old, new_side, b"nothing")
    count = tally(old, new_side)
    assert (count.added, count.modified, count.deleted) == (1, 1, 3)
    assert (count.bytes_added, count.bytes_deleted) == (8, 3)


def test_a_file_that_becomes_a_directory_and_back(world: World) -> None:
    old, new = sides(world, {b"x": b"1"}, {b"x/y": b"2"})
    assert told(old, new) == ["M x", "A x/y"]
    assert told(new, old) == ["M x", "D x/y"]
    assert told(old, new, b"x") == ["M x", "A x/y"]
    assert (tally(old, new).modified, tally(old, new).added) == (1, 1)
    assert (tally(new, old).modified, tally(new, old).deleted) == (1, 1)


def test_renames(world: World) -> None:
    new = {
        b"b": b"1",  # a file
        b"d/x": b"2",
        b"moved/y": b"3",  # into a new directory
        b"went/deep/p": b"4",  # a whole directory, told once
        b"went/q": b"5",
        b"empty2": b"",  # that empty files are equal says nothing
        b"same/s": b"s",
        b"copy": b"s",  # a copy is no rename
    }
    old, new_side = sides(world, OLD, new)
    assert told(old, new_side) == [
        "R a -> b",
        "A copy",
        "D empty",
        "A empty2",
        "A moved",
        "R d/y -> moved/y",
        "R gone -> went",
    ]


def test_a_renamed_directory_in_which_something_changed(world: World) -> None:
    new = {path.replace(b"gone/", b"went/"): body for path, body in OLD.items()} | {b"went/q": b"changed"}
    old, new_side = sides(world, OLD, new)
    assert told(old, new_side) == ["D gone", "D gone/q", "A went", "R gone/deep -> went/deep", "A went/q"]


def test_of_several_sources_the_one_of_the_same_name_is_taken(world: World) -> None:
    old, new = sides(world, {b"p/one": b"1", b"q/two": b"1"}, {b"r/two": b"1", b"s/one": b"1"})
    lines = told(old, new)
    assert "R q -> r" in lines
    assert "R p -> s" in lines
    old, new = sides(world, {b"p/one": b"1", b"p/k": b"2", b"q/two": b"1"}, {b"p/k": b"2", b"r/x/two": b"1"})
    assert "R q -> r/x" in told(old, new)


def test_beyond_the_limit_nobody_looks_for_renames(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = sides(world, {b"a": b"1", b"b": b"2"}, {b"c": b"1", b"d": b"2"})
    assert told(old, new) == ["R a -> c", "R b -> d"]
    monkeypatch.setattr(comparison, "MOST_FOR_RENAMES", 3)
    assert told(old, new) == ["D a", "D b", "A c", "A d"]


@quick
@given(folders(), steps)
def test_every_path_is_told_once_whatever_is_renamed(old: Folder, wanted: list[Step]) -> None:
    new = apply(old, edits_for(old, wanted))
    (old_root, load_old), (new_root, load_new) = built(old), built(new)
    one, other = Contents(old_root, load_old), Contents(new_root, load_new)
    plain = list(compare(one, other))
    gone = {change.path for change in plain if change.new is None}
    came = {change.path for change in plain if change.old is None}
    count = Tally()
    for each in differences(plain):
        count.add(each)
        if each.kind == "R":
            assert each.old is not None
            assert each.new is not None
            assert each.old_path is not None
            assert (each.old.kind, each.old.hash, each.old.metadata) == (
                each.new.kind,
                each.new.hash,
                each.new.metadata,
            )
            # It stands for itself and all that lies below.
            for paths, place in ((gone, each.old_path), (came, each.path)):
                below = {path for path in paths if path[: len(place)] == place}
                assert len(below) == 1 + each.new.entries
                paths -= below
        elif each.kind in "AD":
            (came if each.kind == "A" else gone).remove(each.path)
    assert not gone
    assert not came
    whole = tally(one, other)
    assert whole.modified == count.modified
    assert (whole.added, whole.deleted) == (
        sum(change.old is None for change in plain),
        sum(change.new is None for change in plain),
    )
    assert whole.any == count.any


def test_a_directory_on_disk_is_held_against_a_version(world: World) -> None:
    large = bytes(range(256)) * (33 << 12)  # more than 32 blocks: its hashes lie in a page
    state = {**OLD, b"large": large, b"two-blocks": large[: 3 << 19], b"run": world.Executable(b"#!")}
    state[b"link"] = world.Link(b"a")
    directory = world.plant(state, "disk")
    version, _ = sides(world, state, {})
    before = set(world.keys())
    with local_tree(directory, SILENT.stage("hashing")) as (tree, load):
        assert told(version, Contents(tree.root, load)) == []
        assert (tree.files, tree.skipped) == (sum(not isinstance(each, world.Link) for each in state.values()), [])
    Path(directory, "a").write_bytes(b"edited")
    Path(directory, "gone").rename(Path(directory, "went"))
    with Path(directory, "large").open("r+b") as stream:
        stream.seek(20 << 20)
        stream.write(b"edited")
    with local_tree(directory, SILENT.stage("hashing")) as (tree, load):
        here = Contents(tree.root, load)
        assert told(version, here, content_only=True) == ["M a", "M large", "R gone -> went"]
        assert told(version, here, b"d", content_only=True) == []
    assert set(world.keys()) == before


def test_metadata_is_no_difference_to_a_directory_on_disk() -> None:
    plain, marked = Folder({b"d": Folder()}), Folder({b"d": Folder(metadata=b'{"a":1}')})
    (old_root, load_old), (new_root, load_new) = built(plain), built(marked)
    old, new = Contents(old_root, load_old), Contents(new_root, load_new)
    assert told(old, new) == told(old, new, b"d") == ["M d"]
    assert told(old, new, content_only=True) == told(old, new, b"d", content_only=True) == []


def test_kinds_differ(world: World) -> None:
    old, new = sides(world, {b"run": b"#!", b"l": b"x"}, {b"run": world.Executable(b"#!"), b"l": world.Link(b"x")})
    assert told(old, new) == told(old, new, content_only=True) == ["M l", "M run"]
    assert [each.new.kind for each in differences(compare(old, new)) if each.new] == [Kind.SYMLINK, Kind.EXECUTABLE]
