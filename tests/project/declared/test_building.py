"""Versions are made by what the declaration says, and no more is run than changed."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from views.declared import picture

from penstock.errors import MergeConflictError, NotFoundError, UsageError
from penstock.progress import SILENT
from penstock.project.commits.attached_database import attached_database, database_maker
from penstock.project.records.code_processes import CodeError
from penstock.project.records.version_draft import Merging
from penstock.project.records.versions import open_version
from penstock.repo.gc.collect import collect

HEAD = (
    "from penstock import alter, dataset, delete, derived, ingest, was, File, jpg, png\nfrom pathlib import Path\n"
    "@dataset(remote='demo')\nclass Photos:\n"
)
FIELDS = "    image: File[png | jpg]\n    label: str\n"
INGEST = """
    @ingest
    def load():
        note('load')
        files = sorted(Path('in').iterdir())
        return [f for f in files], [f.stem for f in files]
"""
SMALL = """
    def small(image: File[png]) -> File[png]:
        note('small')
        return image.read_bytes() + b'small'
"""
NOTE = "\ndef note(text):\n    with open('calls', 'a') as f:\n        f.write(text + '\\n')\n"


def calls(bench):
    place = bench.root / "calls"
    found = place.read_text().split() if place.exists() else []
    place.unlink(missing_ok=True)
    return sorted(found)


@pytest.fixture
def photos(bench):
    (bench.root / "in").mkdir()
    for number in range(3):
        (bench.root / "in" / f"p{number}.png").write_bytes(picture(number))
    return bench


def test_the_first_version_has_a_folder_for_each_field(bench):
    bench.build(HEAD + FIELDS)
    assert bench.folders() == [".records", "image"]
    assert bench.version.count == 0


def test_an_ingest_runs_once_for_each_version_of_its_code(photos):
    built = photos.build(HEAD + FIELDS + INGEST + NOTE)
    assert (built.added, built.calls) == (3, {"load": 1})
    assert calls(photos) == ["load"]
    rows = photos.rows()
    assert sorted(each.values["label"] for each in rows.values()) == ["p0", "p1", "p2"]
    names = photos.names("image")
    assert names == sorted(f"{name}.{each.files['image'].hash[:16]}.png" for name, each in rows.items())
    before = photos.version
    assert photos.build(HEAD + FIELDS + INGEST + NOTE).version is before
    photos.build(HEAD + FIELDS + INGEST.replace("note('load')", "note('load')  # again") + NOTE)
    assert calls(photos) == []
    (photos.root / "in" / "p3.png").write_bytes(picture(3))
    assert photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'load2')") + NOTE).added == 1
    assert calls(photos) == ["load2"]


def test_files_are_objects_of_the_local_bucket_and_read_only(photos):
    photos.build(HEAD + FIELDS + INGEST + NOTE)
    for record in photos.rows().values():
        place = photos.shop.files.path_of(photos.shop.kept.stored(record.files["image"]).object)
        assert Path(place).read_bytes() in [picture(number) for number in range(3)]


def test_a_derived_field_is_made_once_for_each_new_record(photos):
    photos.build(HEAD + FIELDS + INGEST + NOTE)
    calls(photos)
    photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE)
    assert calls(photos) == ["small"] * 3
    assert len(photos.names("small")) == 3
    (photos.root / "in" / "p3.png").write_bytes(picture(3))
    photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'load2')") + SMALL + NOTE)
    assert calls(photos) == ["load2", "small"]
    photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'load2')") + SMALL.replace("b'small'", "b'tiny'") + NOTE)
    assert calls(photos) == ["small"] * 4


def test_what_was_made_once_is_not_made_again_when_code_comes_back(photos):
    first = photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE).version
    photos.build(HEAD + FIELDS + INGEST + SMALL.replace("b'small'", "b'tiny'") + NOTE)
    calls(photos)
    again = photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE).version
    assert calls(photos) == []
    assert again.id.top_hash == first.id.top_hash


def test_a_removed_field_takes_its_folder_along_and_what_was_made_of_it_stays(photos):
    first = photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE).version
    calls(photos)
    photos.build(HEAD + "    label: str\n" + SMALL + NOTE)
    assert photos.folders() == [".records", "small"]
    assert len(photos.names("small")) == 3
    assert calls(photos) == []
    made = [each.made["small"].of["image"] for each in photos.rows().values()]
    assert sorted(made) == sorted(each.files["image"].hash for each in photos.rows(first).values())
    assert len(photos.names("image", first)) == 3


def test_a_field_can_be_renamed_without_being_made_again(photos):
    photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE)
    calls(photos)
    text = HEAD + FIELDS.replace("label: str", "name: str = was('label')") + INGEST
    photos.build(text + "    @was('small')\n" + SMALL.replace("def small", "def little").lstrip("\n") + NOTE)
    assert calls(photos) == []
    assert photos.folders() == [".records", "image", "little"]
    assert sorted(each.values["name"] for each in photos.rows().values()) == ["p0", "p1", "p2"]
    assert photos.names("little")


def test_a_generator_brings_records_one_by_one_and_what_came_is_kept(photos):
    text = (
        HEAD + "    image: File[png]\n    number: int\n"
        "    @ingest\n    def load(done=0):\n        for number in range(done, 5):\n"
        "            note(str(number))\n            if number == 3 and not Path('go').exists():\n"
        "                raise OSError('the line is dead')\n"
        "            yield {'image': Path('in/p0.png').read_bytes(), 'number': number}\n" + NOTE
    )
    with pytest.raises(CodeError, match=r"load failed: OSError: the line is dead"):
        photos.build(text)
    assert photos.version is None
    (photos.root / "go").touch()
    assert calls(photos) == ["0", "1", "2", "3"]
    photos.build(text)
    assert calls(photos) == ["3", "4"]
    assert sorted(each.values["number"] for each in photos.rows().values()) == [0, 1, 2, 3, 4]


def test_equal_records_of_one_ingest_are_several(photos):
    text = HEAD + "    label: str\n    @ingest\n    def load():\n        return [('a',), ('b',), ('a',)]\n"
    photos.build(text.replace("[('a',), ('b',), ('a',)]", "(['a', 'b', 'a'],)"))
    assert sorted(each.values["label"] for each in photos.rows().values()) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1], ['a', 'b']", "label has 2 values, and image has 1"),
        ("return [__file__], ['a']", r"index\.py: the file is no png or jpg: it begins with"),
        ("return ['nowhere.png'], ['a']", r"nowhere\.png, which cannot be read: No such file"),
        ("return [Path('in/p0.png')], [3]", "label is str, and the value is 3"),
        ("return [Path('in/p0.png')], [None]", "label has no value"),
        ("return [Path('in/p0.png')],", "1 lists were returned, and there are 2 fields"),
        ("return [{'image': Path('in/p0.png'), 'lable': 'a'}]", "there is no field 'lable'"),
        ("return [(None, 'a')]", "image has no file"),
        ("return [(3, 'a')]", "image is a int"),
        ("raise KeyError('x')", r"KeyError: 'x'"),
    ],
)
def test_what_an_ingest_returns_has_to_fit(photos, body, said):
    with pytest.raises(UsageError, match=said) as caught:
        photos.build(HEAD + FIELDS + f"    @ingest\n    def load():\n        {body}\n")
    assert "load" in str(caught.value)
    assert "index.py" in str(caught.value)
    assert photos.version is None


def test_a_failing_record_is_named_and_what_others_made_is_kept(photos):
    text = (
        HEAD
        + FIELDS
        + INGEST
        + SMALL.replace("return", "assert image.read_bytes() != BAD or Path('go').exists()\n        return")
    )
    text += NOTE + f"\nBAD = {picture(1)!r}\n"
    with pytest.raises(CodeError, match=r"index.py:\d+: small failed for record [0-9a-f]{20}: AssertionError"):
        photos.build(text)
    assert photos.version is None
    calls(photos)
    keeping = dataclasses.replace(photos.shop, keep_errors=True)
    built = photos.build(text, shop=keeping)
    assert built.failed == {"small": 1}
    assert "load" not in calls(photos)
    assert len(photos.names("small")) == 2
    assert [each.error["small"][:14] for each in photos.rows().values() if each.error] == ["AssertionError"]


def test_a_check_refuses_and_rows_are_dropped_and_altered(photos):
    check = "    def named(label: str) -> None:\n        if label == 'p1':\n            raise ValueError('bad')\n"
    with pytest.raises(CodeError, match=r"named failed for record .*ValueError: bad"):
        photos.build(HEAD + FIELDS + INGEST + check + NOTE)
    drop = "    @delete\n    def bad(label: str) -> bool:\n        return label == 'p1'\n"
    upper = (
        "    @alter('label')\n    def up(label: str) -> str:\n"
        "        return label.replace('p0', 'P0').replace('p2', 'P2')\n"
    )
    photos.build(HEAD + FIELDS + INGEST + drop + upper + check + NOTE)
    assert sorted(each.values["label"] for each in photos.rows().values()) == ["P0", "P2"]
    assert len(photos.names("image")) == 2


def test_a_type_that_records_do_not_fit_is_refused(photos):
    photos.build(HEAD + FIELDS + INGEST + NOTE)
    with pytest.raises(UsageError, match=r"index.py:6: record [0-9a-f]{20} does not fit: label is int"):
        photos.build(HEAD + FIELDS.replace("str", "int") + INGEST + NOTE)
    with pytest.raises(UsageError, match=r"does not fit: the file is no jpg: its content is png"):
        photos.build(HEAD + FIELDS.replace("png | jpg", "jpg") + INGEST + NOTE)
    photos.build(HEAD + FIELDS.replace("png | jpg", "png") + INGEST + NOTE)


def test_new_fields_are_empty_in_old_records(photos):
    photos.build(HEAD + FIELDS + INGEST + NOTE)
    photos.build(HEAD + FIELDS + "    score: float | None\n    mask: File[png]\n" + INGEST + NOTE)
    assert {each.value("score") for each in photos.rows().values()} == {None}
    assert "mask" in photos.folders()


def test_a_library_that_is_not_there_is_named(photos):
    with pytest.raises(NotFoundError, match="imports no_such_library, which is not installed"):
        photos.build("import no_such_library\n" + HEAD + FIELDS + INGEST + NOTE)


def test_nothing_runs_before_it_may(photos):
    def refuse(what):
        raise PermissionError(what)

    with pytest.raises(PermissionError, match=r"index.py: Photos.load"):
        photos.build(HEAD + FIELDS + INGEST + NOTE, shop=dataclasses.replace(photos.shop, permit=refuse))
    assert calls(photos) == []


def test_many_records_are_made_in_several_processes(photos):
    text = HEAD + "    number: int\n    @ingest\n    def load():\n        return (list(range(200)),)\n"
    text += "    def double(number: int) -> int:\n        return 2 * number\n"
    text += "    def process(double: int) -> int:\n        import os\n        return os.getpid()\n"
    built = photos.build(text)
    assert built.calls == {"load": 1, "double": 200, "process": 200}
    assert sorted(each.values["double"] for each in photos.rows().values()) == list(range(0, 400, 2))
    assert 1 <= len({each.values["process"] for each in photos.rows().values()}) <= 64


def two_sides(photos):
    base = photos.build(HEAD + FIELDS + INGEST + SMALL + NOTE).version
    (photos.root / "in" / "p0.png").write_bytes(picture(10))
    ours_text = HEAD + FIELDS + INGEST.replace("'load')", "'ours')") + SMALL + NOTE
    ours = photos.build(ours_text, base).version
    (photos.root / "in" / "p0.png").write_bytes(picture(20))
    theirs = photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'theirs')") + SMALL + NOTE, base).version
    calls(photos)
    return base, ours, theirs, ours_text


def test_records_that_two_sides_added_are_joined(photos):
    base, ours, theirs, text = two_sides(photos)
    assert (base.count, ours.count, theirs.count) == (3, 4, 4)
    joined = photos.build(text, ours, Merging(base, theirs, lambda _: None)).version
    assert joined.count == 5
    assert len(photos.names("small")) == len(photos.names("image")) == 5
    assert calls(photos) == []


def test_a_record_that_both_sides_changed_is_a_conflict_by_its_id(photos):
    base, _, _, _ = two_sides(photos)

    def renamed(to, base):
        return photos.build(
            HEAD + FIELDS + INGEST + f"    @alter('label')\n    def name(label: str) -> str:\n"
            f"        return {to!r} if label == 'p1' else label\n" + NOTE,
            base,
        )

    ours, theirs = renamed("a", base).version, renamed("b", base).version
    changed = next(name for name, each in base.records() if each.values["label"] == "p1")
    text = HEAD + FIELDS + INGEST + NOTE
    with pytest.raises(MergeConflictError, match=rf"1 record was changed on both sides: {changed} \(label\)"):
        photos.build(text, ours, Merging(base, theirs, lambda _: None))
    for side, label in (("ours", "a"), ("theirs", "b")):
        joined = photos.build(text, ours, Merging(base, theirs, lambda _, side=side: side)).version
        assert joined.record(changed).values["label"] == label


def test_a_large_file_is_one_object_as_well(photos):
    big = bytes(range(256)) * 4096 * 40
    (photos.root / "in" / "big.bin").write_bytes(big)
    text = HEAD + "    data: File['bin']\n    @ingest\n    def load():\n        return [Path('in/big.bin')]\n"
    photos.build(text)
    entry = next(photos.version.files("data"))
    assert entry.size == len(big)
    assert len(entry.extents) == 1
    assert len(entry.pages) == 1
    stored = photos.shop.kept.stored(next(iter(photos.rows().values())).files["data"])
    assert Path(photos.shop.files.path_of(stored.object)).read_bytes() == big


def test_a_database_goes_along_with_each_version_and_gc_keeps_it(photos):
    shop = dataclasses.replace(photos.shop, attach=database_maker(photos.shop.files))
    photos.build(HEAD + FIELDS + INGEST + NOTE, shop=shop)
    (photos.root / "in" / "p3.png").write_bytes(picture(3))
    photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'load2')") + NOTE, shop=shop)
    session = photos.shop.session
    collect(session.store, session.load, SILENT, grace=0, delete=True, agree=lambda _: True)
    version = open_version(session, "Photos", photos.version.commit)
    with (
        attached_database(version, photos.shop.files) as path,
        closing(sqlite3.connect(path)) as database,
    ):
        rows = database.execute("SELECT label, image FROM Photos ORDER BY label").fetchall()
    assert [row[0] for row in rows] == ["p0", "p1", "p2", "p3"]
    assert sorted(row[1] for row in rows) == [f"image/{name}" for name in photos.names("image")]
    # and is made of that of the version before, which has gone with nothing
    photos.build(HEAD + FIELDS + INGEST.replace("'load')", "'load3')") + NOTE, version, shop=shop)
    with attached_database(photos.version, photos.shop.files) as path:
        assert path is not None


MANY = (
    "from penstock import dataset, ingest\n@dataset(remote='demo')\nclass Many:\n    number: int\n    text: str\n"
    "    @ingest\n    def {name}():\n        return [(each, 'x' * 200) for each in range({first}, {last})]\n"
)


def test_of_a_database_the_pages_are_kept_that_are_other_ones(bench):
    shop = dataclasses.replace(bench.shop, attach=database_maker(bench.shop.files))
    bench.build(MANY.format(name="load", first=0, last=1000), shop=shop)
    sizes, kept = [], []
    for number in range(3):
        first = 1000 + number
        bench.build(MANY.format(name=f"load{number}", first=first, last=first + 1), shop=shop)
        entry = bench.version.attached(b"dataset.sqlite")
        sizes.append(entry.size)
        # what is new of it is one object of few pages; the rest lies where it lay
        newest = {each.object for each in entry.extents} - {each for it in kept for each in it}
        kept.append({each.object for each in entry.extents})
        if number:
            assert len(newest) == 1
        assert sum(os.stat(shop.files.path_of(each)).st_size for each in newest) < sizes[0] * 2
        with attached_database(bench.version, shop.files) as path, closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = database.execute("SELECT count(*), max(number) FROM Many").fetchone()
        assert rows == (1001 + number, first)
        blocks = bench.shop.session.blocks.fetch(entry, 0, 1)
        assert len(b"".join(blocks)) == entry.size
    assert len(kept[-1]) > 2
    assert min(sizes) > 200_000
    # where an object of it is gone it is made whole again
    os.unlink(shop.files.path_of(next(iter(kept[-1] - kept[0]))))
    bench.build(MANY.format(name="last", first=2000, last=2001), shop=shop)
    with attached_database(bench.version, shop.files) as path, closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM Many").fetchone() == (1004,)
