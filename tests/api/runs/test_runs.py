"""Stamps of what was opened, runs recorded on it, and who was trained on a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trees.directory import write

import penstock
from penstock.api.training.datasets import EpochSampler, FileSequence, FileStream
from penstock.errors import AccessError, FormatTooNewError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.runs.run_record import MOST_RUN, read_stamp


def opened(world: Path) -> list[dict[str, Any]]:
    """Return what the stamp says of this test's store: others of this process have opened their own."""
    return [each for each in penstock.stamp()["opened"] if each["bucket"] == f"file://{world.parent}/store"]


def test_a_stamp_names_versions_subsets_and_orders(world: Path) -> None:
    assert opened(world) == []
    with penstock.open("demo/photos:v1/2024") as package:
        (told,) = opened(world)
    assert (told["by"], told["handle"], told["subdir"]) == ("package", "demo/photos:v1/2024", "2024")
    assert (told["top_hash"], told["commit"]) == (package.top_hash, package.commit)
    files = FileSequence("demo/photos", filter='path like "*.jpg"')
    sampler = EpochSampler(files, seed=7, ahead=0)
    sampler.set_epoch(3)
    assert len(FileStream("demo/photos", seed=5, ahead=0)) == 3
    json.dumps(penstock.stamp())
    jpg, everything = [each for each in opened(world) if each["by"] == "torch"]
    assert (jpg["subset"]["files"], jpg["subset"]["filter"]) == (2, 'path like "*.jpg"')
    order = {"shuffle": True, "seed": 7, "epoch": 3, "rank": 0, "ranks": 1, "drop_last": False}
    assert jpg["order"] == order
    assert (everything["subset"]["files"], everything["order"]["seed"]) == (3, 5)
    assert jpg["subset"]["digest"] != everything["subset"]["digest"]
    # What a torch dataset has opened is not told a second time as a package.
    assert [each["handle"] for each in opened(world) if each["by"] == "package"] == ["demo/photos:v1/2024"]


def test_runs_are_listed_by_what_they_were_on(world: Path) -> None:
    dataset = penstock.Dataset("demo/photos")
    old, new = penstock.open("demo/photos:v1"), penstock.open("demo/photos")
    by_handle = {each["handle"]: each for each in opened(world)}
    for name, handles in {"first": ["demo/photos:v1"], "both": ["demo/photos:v1", "demo/photos"]}.items():
        stamp = {**penstock.stamp(), "opened": [by_handle[each] for each in handles]}
        (run,) = penstock.record_run(name, stamp=json.dumps(stamp), parameters={"lr": 0.1}, url="https://example.org/1")
        assert len(run.run) == 32
    assert [run.name for run in dataset.runs()] == ["both", "first"]
    assert [run.name for run in dataset.runs("v1")] == ["both", "first"]
    (found,) = dataset.runs("main")
    assert found.versions == (old.top_hash, new.top_hash)
    assert (found.parameters, found.author, found.url) == (
        {"lr": 0.1}, "Ada <ada@example.org>", "https://example.org/1",
    )  # fmt: skip
    with pytest.raises(NotFoundError):
        list(dataset.runs("nothing"))
    assert list(penstock.Dataset("demo/other").runs()) == []


def test_a_file_is_found_in_whatever_was_trained_on_it_under_any_name(world: Path) -> None:
    dataset = penstock.Dataset("demo/photos")
    write(world / "photos", {"train/renamed.jpg": b"dog", "test/held.jpg": b"horse"})
    dataset.push(world / "photos", message="third", tag="v3")
    names = {
        "v1": {"package": "demo/photos:v1"},
        "main": {"package": "demo/photos:v3"},
        "train": {"package": "demo/photos:v3/train"},
        "labels": {"package": "demo/photos:v3", "filter": 'path like "*.csv"'},
        "jpgs": {"package": "demo/photos:v3", "filter": 'path like "*.jpg"'},
        "chosen": {"package": "demo/photos:v3", "filter": lambda entry: entry.size > 1},
    }
    for name, options in names.items():
        before = opened(world)
        files = FileSequence(**options)
        assert len(files) > 0
        fresh = [each for each in opened(world) if each not in before] or [
            each for each in opened(world) if each["handle"] == options["package"]
        ]
        penstock.record_run(name, stamp={**penstock.stamp(), "opened": fresh})
    found = {run.name: run.has_file for run in dataset.runs("v3", file="2024/dog.jpg")}
    assert found == {"main": "yes", "train": "yes", "labels": "perhaps", "jpgs": "yes", "chosen": "perhaps"}
    assert {run.name for run in dataset.runs("v3", file="test/held.jpg")} == {"main", "labels", "jpgs", "chosen"}
    assert {run.name for run in dataset.runs("v1", file="labels.csv")} == {"v1", "main", "labels", "jpgs", "chosen"}
    with pytest.raises(NotFoundError, match="no 'gone' in"):
        list(dataset.runs(file="gone"))
    with pytest.raises(UsageError, match="is no file"):
        list(dataset.runs(file="2024"))


def test_what_a_run_was_on_stays_when_nothing_else_leads_to_it(world: Path) -> None:
    write(world / "photos", {"side.jpg": b"side"})
    dataset = penstock.Dataset("demo/photos")
    lost = dataset.push(world / "photos", branch="lost")
    kept = dataset.push(write(world / "more", {"kept.jpg": b"kept"}), branch="kept")
    with penstock.open("demo/photos:kept"):
        stamp = {**penstock.stamp(), "opened": [each for each in opened(world) if each["handle"].endswith(":kept")]}
    penstock.record_run("kept", stamp=stamp)
    for branch in ("lost", "kept"):
        dataset.delete_branch(branch)
    report = penstock.Bucket("demo").gc(grace=0, delete=True)
    assert report.deleted.objects > 0
    with penstock.open(f"demo/photos:{kept.commit}") as package:
        assert package.read("kept.jpg") == b"kept"
    with pytest.raises(NotFoundError):
        penstock.open(f"demo/photos:{lost.commit}")
    gone = {**stamp, "opened": [{**stamp["opened"][0], "top_hash": lost.top_hash, "commit": lost.commit}]}
    with pytest.raises(NotFoundError):
        penstock.record_run("late", stamp=gone)
    with pytest.raises(NotFoundError, match="gc has deleted it"):
        penstock.reproduce(gone, world / "mnt")
    assert not (world / "mnt").exists()


GOOD = {"by": "package", "handle": "demo/photos", "bucket": "file:///x", "dataset": "photos", "top_hash": "0" * 64}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"\xff\xfe", "it is no JSON"),
        ("[1]", "it is a list"),
        ('{"penstock": 1, "time": "now"}', "opened"),
        ({"penstock": 1, "time": "", "opened": [{**GOOD, "top_hash": "f681076b"}]}, "no 64 lower-case hex digits"),
        ({"penstock": 1, "time": "", "opened": [{**GOOD, "commit": "sha256:" + "0" * 57}]}, "commit is"),
        ({"penstock": 1, "time": "", "opened": [{**GOOD, "dataset": 7}]}, "dataset"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_stamp_is_told(given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_stamp(given)


def test_a_stamp_of_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(FormatTooNewError):
        read_stamp({"penstock": 2, "opened": []})


def test_records_are_bounded_and_damage_is_named(world: Path) -> None:
    with penstock.open("demo/photos"):
        stamp = {**penstock.stamp(), "opened": opened(world)}
    with pytest.raises(UsageError, match="too large"):
        penstock.record_run("much", stamp=stamp, parameters={"notes": "x" * MOST_RUN})
    with pytest.raises(UsageError, match="names no version"):
        penstock.record_run("none", stamp={**stamp, "opened": []})
    dataset = penstock.Dataset("demo/photos")
    assert list(dataset.runs()) == []
    penstock.record_run("good", stamp=stamp)
    (path,) = (world.parent / "store/.penstock/datasets/photos/runs").glob("*/*/*")
    body = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(body.replace(b"good", b"evil"))
    with pytest.raises(IntegrityError, match="is damaged"):
        list(dataset.runs())
    path.unlink()
    odd = world.parent / "store" / object_keys.training_prefix("photos") / "notes.txt"
    odd.write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"notes\.txt"):
        list(dataset.runs())
    with pytest.raises(IntegrityError, match=r"notes\.txt.*Upgrade"):
        penstock.Bucket("demo").gc(grace=0, delete=True)


def test_keys_of_records_lead_back_to_what_they_name() -> None:
    top, commit, digest = (content_hash(each) for each in (b"top", b"commit", b"record"))
    for known in (commit, None):
        key = object_keys.training_key("photos", top, known, digest)
        assert object_keys.training_parts("photos", key) == (top, known, digest)
        assert object_keys.training_parts("photos", key.upper()) is None
        assert object_keys.training_parts("photos", key[:-2]) is None


def test_a_bucket_that_may_not_be_written_is_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with penstock.open("demo/photos"):
        stamp = {**penstock.stamp(), "opened": opened(world)}

    def refuse(*_: object, **__: object) -> bool:
        raise AccessError("it may not be written")

    monkeypatch.setattr("penstock.store.local.LocalStore.create", refuse)
    with pytest.raises(AccessError):
        penstock.record_run("refused", stamp=stamp)
