"""A version is gathered from files, objects and other versions, and pushed: what a program sees of it."""

from __future__ import annotations

import json
import math
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from trees.directory import write

import penstock
from penstock.errors import ConflictError, IntegrityError, MergeConflictError, NotFoundError, UsageError


@pytest.fixture
def train(world: Path) -> Path:
    write(world, {"README.md": b"# Photos", "train/1.jpg": b"one", "train/2.jpg": b"two", "replacement/1.jpg": b"new"})
    return world


def test_a_directory_becomes_a_version_step_by_step(train: Path) -> None:
    builder = penstock.PackageBuilder("demo/dataset").add("README.md").add("train/")
    assert (builder.manifest, builder.top_hash) == ("pre-manifest", None)
    assert '"train/"    -> "./train/..."' in repr(builder)
    top_hash = builder.build_manifest().top_hash
    with pytest.raises(UsageError, match="Manifest contains pointers to local files") as refused:
        builder.as_package()
    assert "allow_local_files=True" in refused.value.fix
    assert builder.push_data() is builder
    assert builder.top_hash == top_hash
    assert builder.sent == (type(builder.sent))(3, 14, 1, 0)
    with pytest.raises(UsageError, match="has not been pushed to a remote repository") as refused:
        builder.as_package()
    assert "allow_local_manifest=True" in refused.value.fix
    package = builder.push_manifest(tag="v0")
    assert (package.name, package.top_hash, package.read("train/1.jpg")) == ("demo/dataset:v0", top_hash, b"one")
    assert builder.manifest.endswith(f"/.penstock/datasets/dataset/manifests/{top_hash}")
    assert builder.as_package().top_hash == top_hash
    assert penstock.Package("demo/dataset:v0").verify(deep=True).sound


def test_what_is_not_pushed_can_be_read_when_that_is_asked_for(train: Path) -> None:
    builder = penstock.PackageBuilder().add("train").add(penstock.Package("demo/photos"), "old")
    package = builder.as_package(allow_local_files=True, allow_local_manifest=True)
    assert list(package.keys()) == [
        "old",
        "old/2024",
        "old/2024/cat.jpg",
        "old/2024/dog.jpg",
        "old/labels.csv",
        "train",
        "train/1.jpg",
        "train/2.jpg",
    ]
    assert list(package.read_many(["train/2.jpg", "old/labels.csv"])) == [b"two", b"cat,1"]
    assert package["train/1.jpg"].physical_keys[0].uri == f"file://{train}/train/1.jpg"
    Path("train/2.jpg").write_bytes(b"TWO")
    with pytest.raises(ConflictError, match="changed since it was added"):
        package.read("train/2.jpg")


def test_a_version_is_edited_and_pushed_with_what_is_new_alone(train: Path) -> None:
    builder = penstock.Package("demo/photos").as_package_builder()
    builder.set("2024/cat.jpg", "replacement/1.jpg", meta={"by": "Ada"}).move("labels.csv", "meta/labels.csv")
    builder.delete("2024/dog.jpg").set_meta("2024", {"year": 2024}).set_meta("", {"title": "Cats"})
    counts = builder.counts()
    assert (counts.added, counts.modified, counts.deleted, counts.renamed) == (1, 2, 1, 1)
    package = builder.push(message="cats alone", allow_missing_readme=True)
    assert builder.sent is not None
    assert (builder.sent.bytes, builder.sent.objects) == (3, 1)
    assert list(package.keys()) == ["2024", "2024/cat.jpg", "meta", "meta/labels.csv"]
    assert package.get_metadata("2024/cat.jpg") == {"by": "Ada"}
    assert (package.get_metadata("2024"), package.get_metadata()) == ({"year": 2024}, {"title": "Cats"})
    assert [each.message for each in penstock.Dataset("demo/photos").log()][:2] == ["cats alone", "second batch"]
    again = builder.set_meta("meta/labels.csv", {"rows": 1}).push(allow_missing_readme=True)
    assert builder.sent.bytes == 0
    assert again.top_hash != package.top_hash


def test_a_second_push_of_the_same_files_sends_no_data(train: Path) -> None:
    first = penstock.PackageBuilder("demo/dataset").add("README.md").add("train")
    second = penstock.PackageBuilder("demo/dataset").add("README.md").add("train")
    package = first.push()
    assert second.push().commit == package.commit
    assert second.sent is not None
    assert second.sent.bytes == 0
    other = penstock.PackageBuilder("demo/another").add("train", "somewhere/else")
    other.push(allow_missing_readme=True)
    assert other.sent is not None
    assert other.sent.bytes == 0


def test_data_below_a_prefix_is_one_object_a_file(train: Path) -> None:
    builder = penstock.PackageBuilder("demo/dataset").add("README.md").add("train")
    top_hash = builder.build_manifest().top_hash
    package = builder.push(prefix="/data/v0")
    store = train.parent / "store"
    assert sorted(str(each.relative_to(store)) for each in (store / "data").rglob("*.*")) == [
        "data/v0/README.md",
        "data/v0/train/1.jpg",
        "data/v0/train/2.jpg",
    ]
    assert (package.top_hash, package.read("train/2.jpg")) == (top_hash, b"two")
    assert package["train/2.jpg"].physical_keys[0].uri == f"file://{store}/data/v0/train/2.jpg"
    again = penstock.PackageBuilder("demo/dataset").add("README.md").add("train").push_data(prefix="data/v0")
    assert [(each.where, each.bytes) for each in again.transfers] == [
        (f"file://{store}/data/v0/README.md", 0),
        (f"file://{store}/data/v0/train/", 0),
    ]


def test_an_object_that_a_version_points_to_is_never_written_over(train: Path) -> None:
    package = penstock.PackageBuilder("demo/dataset").add("README.md").add("train").push(prefix="v0")
    changed = package.to_builder().set("train/1.jpg", "replacement/1.jpg").push(prefix="v0")
    assert changed.read("train/1.jpg") == b"new"
    assert package.read("train/1.jpg") == b"one"
    assert "/v0/train/1.jpg~" in changed["train/1.jpg"].physical_keys[0].uri


def test_contents_are_moved_and_a_collision_names_both_keys(train: Path) -> None:
    builder = penstock.PackageBuilder().add("train", "labelled").set("new_data/1.jpg", "replacement/1.jpg")
    builder.set("new_data/3.jpg", "train/2.jpg")
    before = builder.build_manifest().top_hash
    with pytest.raises(ConflictError) as collision:
        builder.move_dir_contents("new_data/", "labelled/")
    assert collision.value.what == (
        'Collision detected: moving "new_data/1.jpg" to "labelled/1.jpg", but "labelled/1.jpg" already exists'
    )
    assert (
        collision.value.fix == 'Use overwrite=True if you would like to replace "labelled/1.jpg" with "new_data/1.jpg".'
    )
    assert builder.build_manifest().top_hash == before
    builder.move_dir_contents("new_data/", "labelled/", overwrite=True)
    assert (builder.ls(), builder.ls("labelled")) == (["labelled/"], ["1.jpg", "2.jpg", "3.jpg"])
    package = builder.push("demo/moved", allow_missing_readme=True)
    assert package.read("labelled/1.jpg") == b"new"
    with pytest.raises(ConflictError, match=r'moving "labelled/1.jpg" to "labelled/2.jpg"'):
        builder.move("labelled/1.jpg", "labelled/2.jpg")
    builder.move("labelled/1.jpg", "labelled", overwrite=True)
    assert builder.ls() == ["labelled"]


def test_a_package_is_added_and_conflicts_are_settled_by_whose_is_kept(train: Path) -> None:
    other = penstock.PackageBuilder("demo/other").set("2024/cat.jpg", "replacement/1.jpg").set("3.jpg", "train/2.jpg")
    new = other.push(allow_missing_readme=True)
    builder = penstock.Package("demo/photos").to_builder()
    with pytest.raises(MergeConflictError) as conflict:
        builder.add(new)
    assert any("2024/cat.jpg" in each for each in conflict.value.candidates)
    assert "2024/cat.jpg" in str(conflict.value)
    assert len(builder) == 4
    ours = penstock.Package("demo/photos").to_builder().add(new, conflicts="ours").push(allow_missing_readme=True)
    assert (ours.read("2024/cat.jpg"), ours.read("3.jpg")) == (b"cat", b"two")
    theirs = ours.to_builder().add(new, conflicts="theirs")
    assert theirs.counts().modified == 1
    assert theirs.push(allow_missing_readme=True).read("2024/cat.jpg") == b"new"
    part = (
        penstock.PackageBuilder("demo/part").add(new["2024"], "cats").add(new["3.jpg"]).push(allow_missing_readme=True)
    )
    assert list(part.keys()) == ["3.jpg", "cats", "cats/cat.jpg"]


def test_a_package_of_another_bucket_is_brought_along(train: Path) -> None:
    penstock.add_remote("far", str(train / "far"))
    Path("train/large.bin").write_bytes(os.urandom(1000) * 5000)
    package = (
        penstock.PackageBuilder("demo/dataset")
        .add("train")
        .set_meta("train", {"a": ["x" * 70_000]})
        .push(allow_missing_readme=True)
    )
    builder = penstock.PackageBuilder("far/dataset").add(package)
    with pytest.raises(UsageError, match="pointers to local files"):
        builder.push_manifest(allow_missing_readme=True)
    copied = builder.push(allow_missing_readme=True)
    assert copied.top_hash == package.top_hash
    assert copied.verify(deep=True).sound
    assert copied.get_metadata("train") == package.get_metadata("train")
    back = copied.to_builder().push("demo/again", allow_missing_readme=True)
    assert (back.top_hash, back.read("train/large.bin")) == (package.top_hash, Path("train/large.bin").read_bytes())


def test_a_file_that_changed_since_it_was_added_is_not_pushed(train: Path) -> None:
    Path("train/large.bin").write_bytes(os.urandom(1 << 20) * 40)
    builder = penstock.PackageBuilder("demo/dataset").add("train").build_manifest()
    Path("train/large.bin").write_bytes(os.urandom(1 << 20) * 40)
    for prefix in (None, "below"):
        with pytest.raises(ConflictError, match=r"large.bin' changed since it was added"):
            builder.push_data(prefix=prefix)
    Path("train/large.bin").unlink()
    with pytest.raises(ConflictError, match="went away"):
        builder.push(allow_missing_readme=True)
    assert not penstock.Bucket("demo").datasets().count("dataset")
    builder.delete("train/large.bin").push(allow_missing_readme=True)


def test_data_that_is_gone_when_the_manifest_is_pushed_is_an_error(train: Path) -> None:
    builder = penstock.PackageBuilder("demo/dataset").add("train").push_data()
    for each in (train.parent / "store/.penstock/data").rglob("*"):
        if each.is_file() and each.read_bytes() == b"onetwo":
            each.unlink()
    with pytest.raises(IntegrityError, match="any more"):
        builder.push_manifest(allow_missing_readme=True)


def test_a_taken_tag_is_refused_and_a_branch_of_that_name_moves(train: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    builder = penstock.Package("demo/photos").to_builder().set("3.jpg", "train/2.jpg")
    with pytest.raises(ConflictError, match="tag 'v1' of 'photos' exists already"):
        builder.push(tag="v1", allow_missing_readme=True)
    assert [each.message for each in photos.log()] == ["second batch", "first batch"]
    photos.branch("review")
    package = builder.push(tag="review", allow_missing_readme=True)
    assert package.name == "demo/photos:review"
    assert penstock.Package("demo/photos:review").top_hash == package.top_hash
    assert "3.jpg" not in penstock.Package("demo/photos")


def test_of_two_who_push_at_once_neither_is_lost_and_each_is_told(train: Path) -> None:
    """Each adds a file of its own, and both change one: of these one wins, and the other is told the path."""
    for number in range(4):
        start = penstock.Package("demo/photos")
        builders = []
        for who in ("a", "b"):
            write(train, {f"{who}/{number}": f"{who}{number}".encode()})
            builder = start.to_builder().add(f"{who}/{number}")
            if number % 2:
                builder.set("labels.csv", f"{who}/{number}")
            builders.append(builder.push_data())
        told: list[object] = [None, None]
        gate = threading.Barrier(2)

        def push(which: int, builders: list = builders, told: list = told, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                told[which] = builders[which].push_manifest(allow_missing_readme=True)
            except ConflictError as error:
                told[which] = error

        threads = [threading.Thread(target=push, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now = penstock.Package("demo/photos")
        won = [isinstance(each, penstock.Package) for each in told]
        assert [f"a/{number}" in now, f"b/{number}" in now] == won
        if number % 2:
            assert sorted(won) == [False, True]
            lost = told[won.index(False)]
            assert isinstance(lost, MergeConflictError)
            assert any("labels.csv" in each for each in lost.candidates)
        else:
            assert won == [True, True]


@pytest.mark.parametrize("key", ["../up", "a/../b", "/abs", "a/\0b", "\udcff", "x" * 256])
def test_a_key_that_cannot_be_is_refused_by_its_name(train: Path, key: str) -> None:
    builder = penstock.PackageBuilder()
    shown = re.escape(repr(key))
    with pytest.raises(UsageError, match=shown):
        builder.set(key, "README.md")
    with pytest.raises(UsageError, match=shown):
        builder.add("train", key)
    assert len(builder) == 0


def test_keys_that_clash_are_refused_and_nothing_changes(train: Path) -> None:
    builder = penstock.PackageBuilder().set("a", "README.md")
    for key in ("a/b", "a/b/c"):
        with pytest.raises(ConflictError, match="'a' is a file"):
            builder.set(key, "README.md")
    with pytest.raises(ConflictError, match="'a' is a file"):
        builder.add("train", "a")
    with pytest.raises(ConflictError, match="'a' is a file"):
        builder.add("train", "a/b")
    builder.set("d/e", "README.md")
    with pytest.raises(PenstockDirectory):
        builder.set("d", "README.md")
    builder.build_manifest()
    with pytest.raises(ConflictError, match="'d' is a directory"):
        builder.set("d", "README.md")
    assert sorted(builder.ls()) == ["a", "d/"]


PenstockDirectory = (ConflictError, UsageError)


def test_a_name_that_is_not_utf8_is_refused_by_its_key(train: Path) -> None:
    (Path("train").absolute().joinpath(os.fsdecode(b"\xff.jpg"))).write_bytes(b"x")
    builder = penstock.PackageBuilder()
    with pytest.raises(UsageError, match=r"is not UTF-8"):
        builder.add("train")
    assert len(builder) == 0


@pytest.mark.parametrize("meta", [{"a": math.nan}, {"a": object()}, {1: "a"}, {"a": "x" * (1 << 20)}, ["a"]])
def test_metadata_that_cannot_be_kept_is_refused(train: Path, meta: Any) -> None:
    builder = penstock.PackageBuilder().add("train")
    for key, change in {
        "'train/1.jpg'": lambda: builder.set_meta("train/1.jpg", meta),
        "the version": lambda: builder.set_meta("", meta),
        "'b'": lambda: builder.set("b", "README.md", meta=meta),
        "'other'": lambda: builder.add("train", "other", meta=meta),
    }.items():
        with pytest.raises(UsageError, match=key) as refused:
            change()
        assert refused.value.fix
    assert (builder.get_metadata(), builder.get_metadata("train/1.jpg"), builder.ls()) == ({}, {}, ["train/"])


def test_what_is_missing_is_named(train: Path) -> None:
    builder = penstock.PackageBuilder().add("train")
    for change in (
        lambda: builder.add("nowhere"),
        lambda: builder.set("a", "nowhere"),
        lambda: builder.delete("nowhere"),
        lambda: builder.move("nowhere", "a"),
        lambda: builder.move_dir_contents("nowhere", "a"),
        lambda: builder.set_meta("nowhere", {"a": 1}),
    ):
        with pytest.raises(NotFoundError, match="nowhere"):
            change()
    with pytest.raises(UsageError, match="no key"):
        builder.add("../elsewhere")
    with pytest.raises(UsageError, match="lie within itself"):
        builder.move("train", "train/below")
    with pytest.raises(UsageError, match="lie within itself"):
        builder.move_dir_contents("train", "train/below")


def test_nothing_no_name_and_no_readme_are_told(train: Path) -> None:
    with pytest.raises(UsageError, match="no name yet"):
        penstock.PackageBuilder().add("train").push()
    with pytest.raises(UsageError, match="nothing in the version"):
        penstock.PackageBuilder("demo/empty").push()
    assert len(penstock.PackageBuilder("demo/empty").push(allow_empty=True, allow_missing_readme=True)) == 0
    with pytest.warns(UserWarning, match="demo/readme has no README"):
        penstock.PackageBuilder("demo/readme").add("train").push()
    with pytest.raises(UsageError, match="goes to demo, not to other"):
        penstock.PackageBuilder("demo/readme").add("train").push_data(bucket="other")
    with pytest.raises(AttributeError, match="set"):
        penstock.Package("demo/photos").set("a", "b")


def test_pointers_to_local_files_are_published_where_they_can_be_read_and_it_was_asked_for(train: Path) -> None:
    builder = penstock.PackageBuilder("demo/local").add("train")
    package = builder.push_manifest(allow_local_files=True, allow_missing_readme=True)
    assert package["train/1.jpg"].physical_keys[0].uri == f"file://{train}/train/1.jpg"
    assert package.read("train/1.jpg") == b"one"


def test_what_is_shown_is_text_and_says_what_is_local(train: Path) -> None:
    write(train, {"<b>/x": b"1"})
    builder = penstock.Package("demo/photos").to_builder().add("<b>")
    shown = builder._repr_html_()
    assert "&lt;b&gt;/" in shown
    assert "<b>" not in shown
    assert "<td>local</td>" in shown
    assert "<td>remote</td>" in shown
    assert "changes: '2 added, 0 modified, 0 deleted'" in repr(builder)
    assert json.dumps(builder.push(allow_missing_readme=True).name)
    assert "<td>local</td>" not in builder._repr_html_()
