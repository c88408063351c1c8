"""What is set, described, moved and deleted key by key waits before it is written: nobody can tell."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from trees.directory import write

import penstock
from penstock.errors import ConflictError, NotFoundError, PenstockError

_NAMES = ("a", "b", "c", "d")


@pytest.fixture
def files(world: Path) -> Path:
    write(world, {f"files/{name}": name.encode() for name in _NAMES})
    return world


def _outcome(step: Callable[[], object]) -> str:
    try:
        step()
    except PenstockError as error:
        return f"{type(error).__name__}: {error.what}"
    return ""


@pytest.mark.parametrize("seed", range(6))
def test_steps_that_wait_come_out_as_those_that_are_written_at_once(files: Path, seed: int) -> None:
    choose = random.Random(seed)
    base = penstock.Package("demo/photos") if seed % 2 else None
    builders = [base.to_builder() if base is not None else penstock.PackageBuilder() for _ in range(2)]
    refused = 0

    def key() -> str:
        known = [*_NAMES, "2024", "cat.jpg", "labels.csv"]
        return "/".join(choose.choice(known) for _ in range(choose.randint(1, 3)))

    for number in range(150):
        kind, one, other = choose.choice(["set", "set", "set", "meta", "delete", "move", "look"]), key(), key()
        source, overwrite = f"files/{choose.choice(_NAMES)}", choose.random() < 0.5
        told = []
        for builder in builders:
            if kind == "set":
                step = lambda b=builder: b.set(one, source, {"n": number} if number % 3 else None)  # noqa: B023, E731
            elif kind == "meta":
                step = lambda b=builder: b.set_meta(one, {"n": number} if number % 5 else None)  # noqa: B023, E731
            elif kind == "delete":
                step = lambda b=builder: b.delete(one)  # noqa: B023, E731
            elif kind == "move":
                step = lambda b=builder: b.move(one, other, overwrite=overwrite)  # noqa: B023, E731
            else:
                step = lambda b=builder: b.get_metadata(one)  # noqa: B023, E731
            told.append((_outcome(step), one in builder, other in builder))
        builders[1]._draft.settle()
        assert told[0] == told[1], (number, kind, one, other)
        refused += bool(told[0][0])
    assert 0 < refused < 120
    first, second = (builder.build_manifest() for builder in builders)
    assert first.top_hash == second.top_hash
    assert first._draft.tree.root.entries == len(second)


def test_a_file_that_went_away_before_it_was_read_is_named_and_can_be_left_out(files: Path) -> None:
    builder = penstock.PackageBuilder().set("new/a", "files/a").set("new/b", "files/b")
    os.unlink("files/a")
    with pytest.raises(ConflictError, match=r"files/a' went away"):
        builder.build_manifest()
    assert builder.delete("new/a").ls("new") == ["b"]


def test_the_directory_of_a_file_that_was_deleted_before_it_was_written_stays(files: Path) -> None:
    builder = penstock.PackageBuilder().set("a/b", "files/a").delete("a/b")
    assert ("a" in builder, builder.ls(), builder.ls("a")) == (True, ["a/"], [])


def test_a_link_that_leads_elsewhere_meanwhile_is_followed_anew(files: Path) -> None:
    write(files, {"other/a": b"another"})
    os.symlink("files", "current")
    builder = penstock.PackageBuilder().set("1", "current/a")
    os.unlink("current")
    os.symlink("other", "current")
    assert (
        builder.set("2", "current/a").as_package(allow_local_files=True, allow_local_manifest=True).read("2")
        == b"another"
    )


def test_metadata_of_what_waits_can_be_asked_for(files: Path) -> None:
    builder = penstock.PackageBuilder().set("a/b", "files/a", {"n": 1})
    assert (builder.get_metadata("a/b"), builder.get_metadata("a"), builder.get_metadata()) == ({"n": 1}, {}, {})
    assert builder.set_meta("a", {"n": 2}).get_metadata("a") == {"n": 2}
    with pytest.raises(NotFoundError, match="no 'a/c'"):
        builder.get_metadata("a/c")
