"""A package as a collection of entries: looked up, listed, walked, found by pattern, read; and what it refuses."""

from __future__ import annotations

import io
import os
import pickle
import random
from pathlib import Path

import pytest

import penstock
from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.progress import SILENT
from penstock.repo.push.push import push
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

MIB = 1 << 20
LARGE = random.Random(1).randbytes(10 * MIB + 12345)
SMALL = {f"many/{number:03}.bin": random.Random(number).randbytes(3000 + number) for number in range(120)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def package(world: Path) -> penstock.Package:
    folder = write(world / "mixed", {**SMALL, "large.bin": LARGE, "empty": b"", "README.md": b"# Mixed\n\nof it all\n"})
    write(folder, {"a/b/c.txt": "zwölf\nzwei\n".encode(), "a/d.txt": b"d"})
    os.symlink("a/d.txt", folder / "link")
    os.chmod(folder / "a/d.txt", 0o755)
    push(str(folder), parse_handle("demo/mixed"), Settings.load(), Authorship("Ada", "", "push"), SILENT, "v1")
    return penstock.open("demo/mixed:v1")


def test_it_is_a_collection_of_its_entries(package: penstock.Package) -> None:
    keys = [entry.key for entry in package]
    assert keys == list(package.keys()) == sorted(keys, key=lambda key: key.split("/"))
    assert len(package) == len(keys) == 9 + len(SMALL)
    assert all(key in package for key in keys)
    assert "a/" in package
    assert not [key for key in ("nothing", "a/d.txt/e", "a/../large.bin", "a\0") if key in package]
    assert 7 not in package
    assert package["a/b/c.txt"] == package.get_entry("/a/b/c.txt/")
    with pytest.raises(NotFoundError, match="a/b"):
        package["a/bb"]


def test_an_entry_has_its_four_parts(package: penstock.Package) -> None:
    entry = package["large.bin"]
    assert (entry.logical_key, entry.size, entry.metadata) == ("large.bin", len(LARGE), {})
    assert len(entry.hash) == 64
    assert sum(place.length for place in entry.physical_keys) == len(LARGE)
    assert all(place.uri.startswith("file://") for place in entry.physical_keys)
    assert [package[key].is_file() for key in ("a", "a/d.txt", "link", "empty")] == [False, True, False, True]
    assert package["a"].is_directory()


def test_listings_begin_anew_and_show_themselves(package: penstock.Package) -> None:
    listing = package.ls()
    shown = ["README.md", "a/", "empty", "large.bin", "link", "many/"]
    assert repr(listing).splitlines() == shown
    assert [entry.key for entry in listing] == [entry.key for entry in listing] == [key.rstrip("/") for key in shown]
    assert repr(package.ls("many")).endswith("...")
    assert [entry.name for entry in package.ls("many", after="117.bin")] == ["118.bin", "119.bin"]


def test_walking_can_leave_directories_out(package: penstock.Package) -> None:
    assert [(key, directories) for key, directories, _ in package.walk()] == [
        ("", ["a", "many"]), ("a", ["b"]), ("a/b", []), ("many", []),
    ]  # fmt: skip
    seen = []
    for key, directories, files in package.walk():
        seen += [f"{key}/{name}" for name in files]
        directories[:] = [name for name in directories if name != "many"]
    assert seen == ["/README.md", "/empty", "/large.bin", "/link", "a/d.txt", "a/b/c.txt"]
    with pytest.raises(UsageError, match="is a file"):
        next(package.walk("large.bin"))


def test_a_pattern_finds_whole_paths(package: penstock.Package) -> None:
    for pattern, fits in {
        "*.md": ["README.md"],
        "**/*.txt": ["a/b/c.txt", "a/d.txt"],
        "a/*": ["a/b", "a/d.txt"],
        "a/**": ["a/b", "a/b/c.txt", "a/d.txt"],
        "*/": ["a", "many"],
        "many/00[1-3].bin": ["many/001.bin", "many/002.bin", "many/003.bin"],
        "/l?nk": ["link"],
        "*.txt": [],
    }.items():
        assert [entry.key for entry in package.glob(pattern)] == fits, pattern
    for pattern in ("", "/", "x" * 5000, "[a"):
        with pytest.raises(UsageError, match="bad pattern"):
            list(package.glob(pattern))


def test_a_pattern_loads_only_what_it_can_fit_in(package: penstock.Package) -> None:
    nodes = []
    snapshot = package._snapshot
    load = snapshot.load
    snapshot.load = lambda ref: nodes.append(ref) or load(ref)
    assert len(list(package.glob("a/b/*"))) == 1
    assert len(nodes) == 3


def test_bytes_are_what_was_pushed(package: penstock.Package) -> None:
    assert package["large.bin"].read() == package.get("large.bin") == package.get_contents("large.bin") == LARGE
    assert package["large.bin"].get_bytes() == b"".join(package.blocks("large.bin"))
    assert package.read("empty") == b""
    with pytest.raises(UsageError, match="demo/mixed:v1/link is a symlink"):
        package.read("link")


def test_many_files_come_in_the_order_that_was_asked_for(package: penstock.Package) -> None:
    keys = [*SMALL, "large.bin", "empty", "many/007.bin"]
    random.Random(3).shuffle(keys)
    keys.append(keys[0])
    expected = {**SMALL, "large.bin": LARGE, "empty": b""}
    for budget in (1, 100_000, None):
        package.clear_cache()
        assert list(package.read_many(keys, budget=budget)) == [expected[key] for key in keys]
    assert list(package.read_many(package[key] for key in keys[:3])) == [expected[key] for key in keys[:3]]


def test_many_small_files_are_few_requests(package: penstock.Package) -> None:
    counts = package._snapshot.session.counts
    before = counts.snapshot()
    assert list(package.read_many(SMALL)) == list(SMALL.values())
    after = counts.snapshot()
    assert after["gets"] - after["node_gets"] - (before["gets"] - before["node_gets"]) <= 2


def test_a_damaged_file_is_an_error_in_its_turn(package: penstock.Package, world: Path) -> None:
    (place,) = package["many/050.bin"].physical_keys
    path = Path(place.uri.removeprefix("file://"))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place.offset + 5)
        file.write(b"\0\0\0\0")
    files = package.read_many(SMALL)
    assert [next(files) for _ in range(50)] == list(SMALL.values())[:50]
    with pytest.raises(IntegrityError, match=r"050\.bin"):
        next(files)


def test_a_file_that_is_left_early_leaves_no_thread(package: penstock.Package) -> None:
    files = package.read_many(SMALL, budget=10_000)
    assert next(files) == SMALL["many/000.bin"]
    files.close()
    with pytest.raises(StopIteration):
        next(files)


def test_an_open_entry_is_like_any_file(package: penstock.Package) -> None:
    ours, theirs = package["large.bin"].open(), io.BytesIO(LARGE)
    chance = random.Random(5)
    for _ in range(60):
        whence = chance.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END))
        offset = {os.SEEK_SET: chance.randrange(len(LARGE) + 10), os.SEEK_CUR: chance.randrange(MIB)}.get(
            whence, -chance.randrange(len(LARGE))
        )
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        length = chance.choice((0, 1, 100, MIB, 3 * MIB, 9 * MIB))
        assert ours.read(length) == theirs.read(length)
        assert ours.tell() == theirs.tell()
    ours.seek(MIB - 5)
    room = bytearray(10)
    assert ours.readinto(room) == 10
    assert room == LARGE[MIB - 5 : MIB + 5]
    assert pickle.loads(pickle.dumps(ours)).read(7) == LARGE[MIB + 5 : MIB + 12]
    with pytest.raises(ValueError, match="negative"):
        ours.seek(-1)
    assert (ours.readable(), ours.seekable(), ours.writable()) == (True, True, False)
    ours.close()
    with pytest.raises(ValueError, match="closed"):
        ours.read(1)


def test_text_is_read_as_text(package: penstock.Package) -> None:
    with package.open("a/b/c.txt", "rt") as lines:
        assert list(lines) == ["zwölf\n", "zwei\n"]
    with package["a/b/c.txt"].open("r", encoding="latin-1") as lines:
        assert lines.readline() == "zwÃ¶lf\n"


def test_a_version_is_not_opened_for_writing(package: penstock.Package) -> None:
    for mode in ("w", "wb", "a", "r+", "x"):
        with pytest.raises(UsageError, match="a version never changes"):
            package.open("a/d.txt", mode)
    with pytest.raises(UsageError, match="is a directory"):
        package.open("a")


def test_a_readme_shows_itself(package: penstock.Package) -> None:
    assert package.readme() == "# Mixed\n\nof it all\n"
    assert repr(package.readme()) == "# Mixed\n\nof it all"
    with pytest.raises(NotFoundError, match="no README in demo/photos"):
        penstock.open("demo/photos").readme()


def test_a_package_cannot_be_changed(package: penstock.Package) -> None:
    with pytest.raises(AttributeError, match=r"Package has no method set\(\)"):
        package.set("a", "b")
    with pytest.raises(AttributeError, match="never changes"):
        package.handle = None
    with pytest.raises(TypeError):
        package["a"] = 1
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
    assert not hasattr(package, "push")


def test_tags_and_hashes_name_versions(world: Path) -> None:
    v1 = penstock.Package("demo/photos", tag="v1")
    assert v1.name == "demo/photos:v1"
    assert penstock.Package("demo/photos", hash=v1.top_hash[:12]).top_hash == v1.top_hash
    assert pickle.loads(pickle.dumps(penstock.Package("demo/photos", hash=v1.commit))).top_hash == v1.top_hash
    with pytest.raises(UsageError, match="names a version twice"):
        penstock.Package("demo/photos:v1", hash=v1.top_hash)
    with pytest.raises(NotFoundError, match="'main' is no tag"):
        penstock.Package("demo/photos", tag="main").info()
    with pytest.raises(NotFoundError, match="'main' is no version's hash"):
        penstock.Package("demo/photos", hash="main").info()


def test_what_is_shown_is_text_whatever_the_names_are(world: Path) -> None:
    folder = write(world / "odd", {"<script>alert(1)<": b"x", "a\x1b[2Jb": b"", "é": b"y"})
    (folder / os.fsdecode(b"\xff")).write_bytes(b"")
    push(str(folder), parse_handle("demo/odd"), Settings.load(), Authorship("Ada", "", "push"), SILENT)
    package = penstock.Package("demo/odd")
    assert repr(package) == "Package('demo/odd')"
    html = package._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "\x1b" not in html
    html.encode()
    shown = repr(package)
    assert package.top_hash in shown
    assert "\x1b" not in shown
    assert "\x1b" not in repr(package.ls())
    assert "é -> bytes 1 to 2 of file://" in " ".join(shown.split())


def test_metadata_of_the_dataset_is_that_of_the_root(package: penstock.Package) -> None:
    assert package.get_metadata() == package[""].metadata == {}
    assert package.get_metadata("a/d.txt") == {}


def test_what_was_cached_is_read_without_the_store_until_it_is_cleared(package: penstock.Package) -> None:
    report = package.cache("large.bin")
    assert report.bytes_warmed == len(LARGE)
    before = package._snapshot.counters()["gets"]
    assert package.read("large.bin") == LARGE
    assert package._snapshot.counters()["gets"] == before
    assert package.clear_cache() >= len(LARGE)
    assert package.read("large.bin") == LARGE
    assert package._snapshot.counters()["gets"] > before


def test_a_single_question_fetches_a_small_part_of_the_tree(world: Path) -> None:
    chance = random.Random(2)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    files = {f"{number % 20:02}/{''.join(chance.choices(letters, k=240))}": b"" for number in range(1600)}
    push(
        str(write(world / "wide", files)), parse_handle("demo/wide"), Settings.load(), Authorship("A", "", "p"), SILENT
    )
    penstock.clear_cache()
    with penstock.open("demo/wide") as package:
        assert len(list(package.ls(limit=10))) == 10
        assert package._snapshot.counters()["bytes_fetched"] < 120_000
        assert len(list(package)) == len(package)
        assert package._snapshot.counters()["bytes_fetched"] > 250_000
