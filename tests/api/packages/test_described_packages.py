"""Metadata: set, kept by pushes, asked for; subsets of what it says, with no data copied."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import penstock
from penstock.errors import ConflictError, NotFoundError, UsageError

LARGE = {"boxes": ["x" * 1000] * 100}


@pytest.fixture
def photos(world: Path) -> penstock.Dataset:
    return penstock.Dataset("demo/photos")


@pytest.fixture
def labelled(world: Path) -> penstock.Dataset:
    """A dataset of 40 files with labels and patients."""
    metas = {}
    for number in range(40):
        name = f"in/{number % 4}/{number:02}.txt"
        (world / "cases" / name).parent.mkdir(parents=True, exist_ok=True)
        (world / "cases" / name).write_text(f"case {number}")
        metas[name] = {"label": "rare" if number % 10 == 0 else "usual", "patient": number // 4, "n": number}
    cases = penstock.Dataset("demo/cases")
    cases.push(world / "cases")
    cases.set_meta_many({**metas, "in": {"folder": True}, "": {"title": "Cases"}})
    return cases


def metadata(name: str) -> dict[str, object]:
    package = penstock.open(name)
    found = {entry.key: entry.metadata for entry in package if entry.metadata}
    return {**found, **({"": package.get_metadata()} if package.get_metadata() else {})}


def test_a_push_keeps_the_metadata_of_paths_that_remain(photos: penstock.Dataset, world: Path) -> None:
    metas = {"2024/cat.jpg": {"a": 1}, "2024/dog.jpg": LARGE, "labels.csv": {"b": 2}, "2024": {"c": 3}, "": {"d": 4}}
    photos.set_meta_many(metas)
    (world / "photos/2024/cat.jpg").write_bytes(b"another cat")
    (world / "photos/labels.csv").unlink()
    (world / "photos/new.txt").write_bytes(b"new")
    photos.push(world / "photos")
    del metas["labels.csv"]
    assert metadata("demo/photos") == metas
    assert photos.push(world / "photos").changed is False
    assert not list(penstock.open("demo/photos").diff(world / "photos").changes())
    photos.push(world / "photos", drop_metadata=True)
    assert metadata("demo/photos") == {}
    assert penstock.open("demo/photos").top_hash == penstock.hash_directory("photos").top_hash


def test_what_became_a_directory_has_no_metadata_of_the_file_that_it_was(photos: penstock.Dataset, world: Path) -> None:
    photos.set_meta_many({"labels.csv": {"a": 1}, "2024": {"b": 2}})
    (world / "photos/labels.csv").unlink()
    (world / "photos/labels.csv").mkdir()
    (world / "photos/labels.csv/x").write_bytes(b"x")
    for file in (world / "photos/2024").iterdir():
        file.unlink()
    (world / "photos/2024").rmdir()
    (world / "photos/2024").write_bytes(b"x")
    photos.push(world / "photos")
    assert metadata("demo/photos") == {}


def test_modes_are_those_of_the_directory_and_what_was_said_stays(photos: penstock.Dataset, world: Path) -> None:
    cat = world / "photos/2024/cat.jpg"
    cat.chmod(0o640)
    photos.push(world / "photos", modes=True)
    photos.set_meta("2024/cat.jpg", {"label": "cat"})
    assert metadata("demo/photos") == {"2024/cat.jpg": {"label": "cat", "penstock.mode": "0640"}}
    cat.chmod(0o600)
    photos.push(world / "photos", modes=True)
    assert metadata("demo/photos") == {"2024/cat.jpg": {"label": "cat", "penstock.mode": "0600"}}
    for bad in ({"penstock.mode": "0777"}, LARGE):
        with pytest.raises(UsageError, match=r"2024/cat\.jpg"):
            photos.set_meta("2024/cat.jpg", bad)
    photos.push(world / "photos")
    assert metadata("demo/photos") == {"2024/cat.jpg": {"label": "cat"}}
    photos.set_meta("2024/cat.jpg", LARGE)
    with pytest.raises(UsageError, match=r"cat\.jpg"):
        photos.push(world / "photos", modes=True)


def test_a_push_in_place_keeps_metadata_too(photos: penstock.Dataset, world: Path) -> None:
    photos.set_meta_many({"2024/cat.jpg": {"a": 1}, "2024": {"b": 2}, "": {"c": 3}})
    photos.push_in_place(world / "photos")
    assert metadata("demo/photos") == {"2024/cat.jpg": {"a": 1}, "2024": {"b": 2}, "": {"c": 3}}
    photos.push_in_place(world / "photos", drop_metadata=True)
    assert metadata("demo/photos") == {}


def test_setting_metadata_sends_no_data_and_changes_no_content(photos: penstock.Dataset, world: Path) -> None:
    before = penstock.open("demo/photos")
    made = photos.set_meta_many({"2024/dog.jpg": LARGE, "": {"t": 1}}, message="labels", tag="labelled")
    after = penstock.open("demo/photos:labelled")
    assert (made.bytes_uploaded, made.changed, made.top_hash) == (0, True, after.top_hash)
    assert made.top_hash != before.top_hash
    assert after["2024/dog.jpg"].hash == before["2024/dog.jpg"].hash
    assert after["2024/dog.jpg"].metadata == LARGE
    assert next(iter(photos.log())).message == "labels"
    assert photos.set_meta("", {"t": 1}).changed is False
    photos.set_meta_many({"2024/dog.jpg": {}, "": {}})
    assert penstock.open("demo/photos").top_hash == before.top_hash


def test_bad_metadata_changes_nothing_and_is_named(photos: penstock.Dataset) -> None:
    before = penstock.open("demo/photos").commit
    cases = [
        ({"2024/cat.jpg": {"x": float("nan")}}, UsageError, "2024/cat.jpg"),
        ({"2024/cat.jpg": {"x": "y" * (1 << 20)}}, UsageError, "2024/cat.jpg"),
        ({"2024/cat.jpg": ["x"]}, UsageError, "2024/cat.jpg"),
        ({"2024/cta.jpg": {"x": 1}}, NotFoundError, "2024/cta.jpg"),
        ({"2024": {"x": 1}, "/2024/": {"x": 2}}, UsageError, "2024"),
        ({}, UsageError, "path"),
    ]
    for metas, kind, told in cases:
        with pytest.raises(kind, match=told):
            photos.set_meta_many(metas)
    with pytest.raises(UsageError, match="tag"):
        photos.set_meta("", {"x": 1}, branch="v1")
    assert penstock.open("demo/photos").commit == before


def test_what_others_land_meanwhile_is_merged_or_a_conflict(
    photos: penstock.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.repo.push import metadata_edits

    real = metadata_edits.land_edits

    def race(path: str):  # type: ignore[no-untyped-def]
        def overtaken(*arguments, **options):  # type: ignore[no-untyped-def]
            monkeypatch.setattr(metadata_edits, "land_edits", real)
            penstock.Dataset("demo/photos").set_meta(path, {"theirs": 1})
            return real(*arguments, **options)

        monkeypatch.setattr(metadata_edits, "land_edits", overtaken)

    race("labels.csv")
    assert photos.set_meta("2024/cat.jpg", {"ours": 1}).merged_with is not None
    assert metadata("demo/photos") == {"labels.csv": {"theirs": 1}, "2024/cat.jpg": {"ours": 1}}
    race("2024/dog.jpg")
    with pytest.raises(ConflictError, match="1"):
        photos.set_meta("2024/dog.jpg", {"ours": 2})
    assert metadata("demo/photos")["2024/dog.jpg"] == {"theirs": 1}


def test_a_filter_streams_and_says_what_no_file_has(labelled: penstock.Dataset) -> None:
    package = penstock.open("demo/cases")
    rare = ["in/0/00.txt", "in/0/20.txt", "in/2/10.txt", "in/2/30.txt"]
    assert [entry.key for entry in package.filter(label="rare")] == rare
    assert [entry.key for entry in package.filter("in/2", where='label == "rare"', n=[10, 11])] == ["in/2/10.txt"]
    assert [entry.key for entry in package.filter("in/0/00.txt")] == ["in/0/00.txt"]
    assert next(package.filter(n=lambda n: n > 3)).metadata["n"] == 4
    for bad, told in (({"where": "label =="}, "parse"), ({"where": "labl == 1"}, "label"), ({"labl": 1}, "label")):
        with pytest.raises(UsageError) as raised:
            list(package.filter(**bad))
        assert told in f"{raised.value.what} {raised.value.fix}"
    with pytest.raises(NotFoundError):
        list(package.filter("out"))


def test_a_sample_keeps_shares_and_metadata_and_copies_nothing(labelled: penstock.Dataset) -> None:
    source = penstock.open("demo/cases")
    made = source.sample(10, "demo/few", seed=7, stratify="label", tag="t")
    few = penstock.open("demo/few:t")
    assert (made.bytes_uploaded, few.top_hash) == (0, made.top_hash)
    files = list(few.filter())
    assert Counter(entry.metadata["label"] for entry in files) == {"usual": 9, "rare": 1}
    assert all(entry.read() == source[entry.key].read() for entry in files)
    assert few["in"].metadata == {"folder": True}
    assert few.get_metadata()["title"] == "Cases"
    told = few.get_metadata()["derived_from"]
    assert (told["dataset"], told["top_hash"], told["seed"]) == ("cases", source.top_hash, 7)
    assert source.sample(10, "demo/few", seed=7, stratify="label").changed is False
    source.sample(None, "demo/few", where='label == "rare"')
    assert [entry.metadata["n"] for entry in penstock.open("demo/few").filter()] == [0, 20, 10, 30]
    assert penstock.Package("demo/few").verify(deep=True).sound


def test_a_split_keeps_groups_together_and_loses_none(labelled: penstock.Dataset) -> None:
    made = penstock.open("demo/cases").split({"train": 0.8, "val": 0.1, "test": 0.1}, group="patient", seed=1)
    parts = {part: list(penstock.open(version.handle).filter()) for part, version in made.items()}
    assert {part: len(files) for part, files in parts.items()} == {"train": 32, "val": 4, "test": 4}
    patients = [{entry.metadata["patient"] for entry in files} for files in parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 10
    assert sorted(entry.key for files in parts.values() for entry in files) == [
        entry.key for entry in penstock.open("demo/cases").filter()
    ]


def test_subsets_stay_in_their_bucket_and_name_fields_that_are_there(labelled: penstock.Dataset, world: Path) -> None:
    penstock.add_remote("other", str(world.parent / "other"))
    package = penstock.open("demo/cases")
    with pytest.raises(UsageError, match="another bucket"):
        package.sample(1, "other/few")
    with pytest.raises(UsageError, match="another bucket"):
        package.split({"a": 1}, "other/few")
    with pytest.raises(UsageError, match="labl"):
        package.sample(1, "demo/few", stratify="labl")
    with pytest.raises(UsageError, match="cat"):
        package.split({"a": 1}, group="cat")
    assert not (world.parent / "other").exists()
    with pytest.raises(NotFoundError):
        penstock.open("demo/few")


def test_a_subset_of_what_gc_took_meanwhile_is_an_error(labelled: penstock.Dataset) -> None:
    package = penstock.open("demo/cases")
    assert package.top_hash
    records = list((Path(penstock.Settings.load().remotes["demo"].url.removeprefix("file://"))).rglob(package.top_hash))
    assert records
    for record in records:
        record.unlink()
    with pytest.raises((NotFoundError, penstock.errors.IntegrityError)):
        package.sample(1, "demo/few")


def test_fields_are_told_with_types_shares_and_values(labelled: penstock.Dataset) -> None:
    found = penstock.open("demo/cases").metadata_fields()
    label, n, _ = found.fields
    assert (found.entries, found.described, label.share, dict(label.values or ())) == (
        40, 40, 1.0, {"usual": 36, "rare": 4},
    )  # fmt: skip
    assert (n.types, n.least, n.most) == ({"integer": 40}, 0, 39)


def test_a_version_is_held_against_a_schema_and_rules(labelled: penstock.Dataset, world: Path) -> None:
    package = penstock.open("demo/cases")
    schema = {"properties": {"n": {"maximum": 37}}, "required": ["label"]}
    (world / "s.json").write_text(json.dumps(schema))
    (world / "r.toml").write_text(
        'folders = ["in/", "out/"]\n[[types]]\npaths = "in/1/*"\ntypes = ["image/*"]\n[[counts]]\npaths="**"\nmost=39'
    )
    found = list(package.validate("s.json", world / "r.toml"))
    assert [(each.path, each.rule) for each in found if each.rule == "metadata"] == [
        ("in/2/38.txt", "metadata"), ("in/3/39.txt", "metadata"),
    ]  # fmt: skip
    assert sum(each.rule == "types" for each in found) == 10
    assert [(each.path, each.rule) for each in found[-2:]] == [("out/", "folders"), ("", "counts")]
    assert not list(package.validate({"required": ["label"]}))
    (world / "bad.json").write_text("{")
    for schema, rules in ((None, None), ("bad.json", None), ({"type": 3}, None), (None, {"colours": []})):
        with pytest.raises(UsageError):
            package.validate(schema, rules)
    with pytest.raises(NotFoundError):
        package.validate("missing.json")


def test_a_table_has_every_entry_and_is_there_when_it_is_whole(labelled: penstock.Dataset, world: Path) -> None:
    from pyarrow import parquet

    package = penstock.open("demo/cases")
    assert package.export(jsonl="t.jsonl") == package.export(parquet="t.parquet") == len(package) + 1 == 46
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["", *package.keys()]
    assert lines[0]["metadata"] == {"title": "Cases"}
    rows = parquet.read_table("t.parquet").to_pylist()
    for line, row in zip(lines, rows, strict=True):
        found = {name: json.loads(row[name]) if isinstance(line[name], list | dict) else row[name] for name in line}
        assert found == line
    with pytest.raises(UsageError):
        package.export()
    Path("t.jsonl").write_text("old")
    package.export(jsonl="t.jsonl")
    assert Path("t.jsonl").read_text() != "old"
    with pytest.raises(penstock.errors.AccessError):
        package.export(jsonl="missing/t.jsonl")
    assert sorted(path.name for path in world.glob("*.partial")) == []


def test_fields_of_one_type_are_columns_of_a_table(world: Path) -> None:
    from pyarrow import parquet

    dataset = penstock.Dataset("demo/photos")
    dataset.set_meta_many(
        {
            "2024/cat.jpg": {"label": "cat", "n": 1, "camera": {"iso": 100}, "box": [1, 2.5], "mixed": 1, "tags": []},
            "2024/dog.jpg": {"label": "dog", "n": 2, "camera": {"iso": 0.5}, "box": None, "mixed": "a", "big": 1 << 63},
            "labels.csv": {"ok": True, "tags": ["x"]},
            "2024": {"label": 7},
            "": {"n": "many"},
        }
    )
    penstock.open("demo/photos").export(parquet="t.parquet")
    table = parquet.read_table("t.parquet")
    columns = {name: str(table.schema.field(name).type) for name in table.column_names if name.startswith("metadata.")}
    assert columns == {
        "metadata.big": "double",
        "metadata.box": "list<element: double>",
        "metadata.camera.iso": "double",
        "metadata.label": "string",
        "metadata.n": "int64",
        "metadata.ok": "bool",
        "metadata.tags": "list<element: string>",
    }
    rows = {row["path"]: row for row in table.to_pylist()}
    assert (rows["2024/cat.jpg"]["metadata.label"], rows["2024/cat.jpg"]["metadata.box"]) == ("cat", [1.0, 2.5])
    assert (rows["2024"]["metadata.label"], json.loads(rows["2024"]["metadata"])) == (None, {"label": 7})
    assert rows["labels.csv"]["metadata.tags"] == ["x"]


def test_what_users_say_leaves_modes_as_they_are(world: Path) -> None:
    (world / "photos/labels.csv").chmod(0o600)
    penstock.Dataset("demo/photos").push("photos", modes=True)
    builder = (
        penstock.Package("demo/photos").to_builder().set_meta("labels.csv", {"a": 1}).set_meta("labels.csv", {"b": 2})
    )
    assert builder.get_metadata("labels.csv") == {"b": 2, "penstock.mode": "0600"}
    assert builder.set_meta("labels.csv").get_metadata("labels.csv") == {"penstock.mode": "0600"}
    for change in (
        lambda: builder.set_meta("labels.csv", {"penstock.mode": "0777"}),
        lambda: builder.set("new", "photos/labels.csv", {"penstock.mode": "0777"}),
    ):
        with pytest.raises(UsageError, match=r"is Penstock's"):
            change()
