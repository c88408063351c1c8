"""A directory that many processes push, each its part: the version is that of one push, or there is none."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import penstock
from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.repo.bucket import object_keys
from penstock.repo.parts import part_writer
from penstock.repo.parts.part_record import decode_record, encode_record
from penstock.repo.push.part_push import Share, part_name, pushed_set
from penstock.store.local import LocalStore

OF = 3


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    return LocalStore(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory of all that a version can hold."""
    top, chance = tmp_path / "folder", random.Random(1)
    for number in range(120):
        path = top / f"{number % 5}" / f"{number % 3}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes((0, 10, 3000)[number % 3]))
    (top / "large").write_bytes(chance.randbytes((5 << 20) + 7))
    (top / "link").symlink_to("0/0")
    (top / "empty").mkdir()
    (top / "left out").write_bytes(b"1")
    (top / ".penstockignore").write_bytes(b"left out\n")
    os.chmod(top / "0/0/file-0", 0o755)
    return top


def push_part(folder: Path, number: int, of: int = OF, run: str = "job", dataset: str = "demo/things") -> None:
    penstock.Dataset(dataset).push_part(folder, number, of, run=run)


def data(store: LocalStore) -> set[str]:
    return {info.key for info in store.list(object_keys.DATA)}


def test_parts_make_the_version_of_one_push_in_any_order_and_pushed_again(store: LocalStore, folder: Path) -> None:
    things = penstock.Dataset("demo/things")
    for number in (2, 3, 1, 3):
        push_part(folder, number)
    assert not list(store.list(object_keys.dataset_prefix("things")))  # nobody sees any of it
    made = things.merge_parts("job", tag="v1", message="all of it")
    assert made.top_hash == penstock.hash_directory(folder).top_hash
    assert made.changed
    assert made.files == 122
    assert penstock.open("demo/things:v1").verify(deep=True).sound
    assert not list(store.list(object_keys.PARTS))
    again = things.merge_parts("job", tag="v1")
    assert (again.changed, again.top_hash) == (False, made.top_hash)
    assert again.notes


def test_each_path_belongs_to_one_part() -> None:
    paths = [(b"a", b"%d" % number) for number in range(100)]
    for of in (1, 2, 7):
        shares = [Share(number, of) for number in range(1, of + 1)]
        assert all(sum(share.has(path) for share in shares) == 1 for path in paths)
    with pytest.raises(UsageError, match="no part 0 of 3"):
        Share(0, 3)
    with pytest.raises(UsageError, match="no part 4 of 3"):
        Share(4, 3)
    with pytest.raises(UsageError, match="0 parts"):
        Share(0, 0)


def test_a_later_run_sends_what_is_new_and_keeps_metadata(store: LocalStore, folder: Path) -> None:
    things = penstock.Dataset("demo/things")
    things.push(folder)
    things.set_meta_many({"large": {"label": "big"}, "1": {"is": "folder"}, "": {"title": "Things"}})
    before = data(store)
    (folder / "new").write_bytes(b"something new")
    (folder / "0/0/file-0").unlink()
    for number in (1, 2, 3):
        push_part(folder, number, run="second")
    made = things.merge_parts("second")
    assert len(data(store) - before) == 1
    now = penstock.open("demo/things")
    assert [now.get_metadata(path) for path in ("large", "1", "")] == [
        {"label": "big"},
        {"is": "folder"},
        {"title": "Things"},
    ]
    assert "0/0/file-0" not in now
    for number in (1, 2, 3):
        push_part(folder, number, run="third")
    plain = things.merge_parts("third", drop_metadata=True)
    assert plain.top_hash == penstock.hash_directory(folder).top_hash != made.top_hash


def test_missing_parts_are_named_and_nothing_is_published(store: LocalStore, folder: Path) -> None:
    things = penstock.Dataset("demo/things")
    with pytest.raises(NotFoundError, match="no parts of run 'job'"):
        things.merge_parts("job")
    push_part(folder, 2)
    with pytest.raises(NotFoundError, match="2 of 3 parts of run 'job' are missing: 1, 3"):
        things.merge_parts("job")
    assert not list(store.list(object_keys.dataset_prefix("things")))


def test_parts_that_do_not_belong_together_are_refused(store: LocalStore, folder: Path) -> None:
    things = penstock.Dataset("demo/things")
    push_part(folder, 1, 2)
    push_part(folder, 3, 3)
    with pytest.raises(ConflictError, match="parts of 2 and of 3"):
        things.merge_parts("job")
    push_part(folder, 1, 2, run="other")
    things.push_part(folder, 2, 2, run="other", modes=True)
    with pytest.raises(ConflictError, match="different options"):
        things.merge_parts("other")
    with pytest.raises(UsageError, match="a run needs a name"):
        push_part(folder, 1, run="")


def test_a_directory_that_changed_between_parts_is_told(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    share = next(number for number in (1, 2) if Share(number, 2).has((b"large",)))
    push_part(folder, share, 2)
    (folder / "large").unlink()
    (folder / "large").mkdir()
    for number in range(20):
        (folder / "large" / f"{number}").write_bytes(b"1")
    push_part(folder, 3 - share, 2)
    with pytest.raises(ConflictError, match="'large' is a file in one part"):
        penstock.Dataset("demo/things").merge_parts("job")


def test_data_that_went_meanwhile_is_an_error_that_names_the_part(store: LocalStore, folder: Path) -> None:
    for number in (1, 2, 3):
        push_part(folder, number)
    store.delete([next(iter(data(store)))])
    with pytest.raises(IntegrityError, match=r"data of part \d of run 'job' is not in .* any more"):
        penstock.Dataset("demo/things").merge_parts("job")
    for number in (1, 2, 3):
        push_part(folder, number)
    assert penstock.Dataset("demo/things").merge_parts("job").top_hash == penstock.hash_directory(folder).top_hash


def test_gc_leaves_young_parts_and_takes_old_ones_with_their_data(store: LocalStore, folder: Path) -> None:
    penstock.Dataset("demo/other").create()
    for number in (1, 2):
        push_part(folder, number)
    bucket = penstock.Bucket("demo")
    bucket.gc(delete=True)
    assert len(list(store.list(object_keys.PARTS))) == 2
    assert bucket.gc(delete=True, grace=0).deleted.objects
    assert not data(store)
    assert not list(store.list(object_keys.PARTS))


def damaged(store: LocalStore, change: Callable[[bytes], bytes]) -> None:
    key = pushed_set("things", "job").record_key(part_name(2))
    store.put(key, change(store.get(key)))


def flip(stored: bytes) -> bytes:
    return stored[:-1] + bytes([stored[-1] ^ 1])


def forge(stored: bytes) -> bytes:
    """Change what a record holds, and make it whole again."""
    record = decode_record(stored)
    return encode_record(msgspec.structs.replace(record, body=flip(record.body)))


@pytest.mark.parametrize("change", [flip, forge, lambda _: b"", lambda _: b"PSP2", lambda stored: stored[:50]])
def test_a_damaged_part_is_an_error(store: LocalStore, folder: Path, change: Callable[[bytes], bytes]) -> None:
    for number in (1, 2, 3):
        push_part(folder, number)
    damaged(store, change)
    with pytest.raises(IntegrityError, match="part"):
        penstock.Dataset("demo/things").merge_parts("job")
    assert not list(store.list(object_keys.dataset_prefix("things")))


def test_entries_beyond_what_a_record_holds_lie_in_chunks(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_writer, "_CHUNK", 1000)
    monkeypatch.setattr(part_writer, "_INLINE", 100)
    monkeypatch.setattr(part_writer, "_MERGED", 8)
    monkeypatch.setattr(part_writer, "frame_entries", lambda _: 5)
    for number in (1, 2, 3):
        push_part(folder, number)
    assert len(list(store.list(object_keys.PARTS))) > 10
    made = penstock.Dataset("demo/things").merge_parts("job")
    assert made.top_hash == penstock.hash_directory(folder).top_hash
    assert not list(store.list(object_keys.PARTS))


def test_a_part_that_was_killed_is_no_part_until_it_is_pushed_again(store: LocalStore, folder: Path) -> None:
    for number in (1, 2):
        push_part(folder, number)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_die_before_the_record, args=(folder,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    with pytest.raises(NotFoundError, match="missing: 3"):
        penstock.Dataset("demo/things").merge_parts("job")
    push_part(folder, 3)
    assert penstock.Dataset("demo/things").merge_parts("job").top_hash == penstock.hash_directory(folder).top_hash


def _die_before_the_record(folder: Path) -> None:
    part_writer.PartWriter.finish = lambda *_, **__: os._exit(9)  # type: ignore[method-assign,assignment]  # this process only
    push_part(folder, 3)
