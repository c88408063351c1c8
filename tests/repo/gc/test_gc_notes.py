"""What gc notes: nothing goes that was not found twice, a grace period apart, whatever becomes of the notes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.manifest.hashing import content_hash
from penstock.progress import SILENT
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store import Store
from penstock.store.local import LocalStore

World = Any  # see conftest

ME = Authorship("tester", "", "test")
HOUR = 3600.0
NOTES = ".penstock/garbage/"


def gc(store: Store, grace: float = HOUR, **options: Any) -> GcReport:
    load = Nodes(store, None, RequestCounts()).load
    return collect(store, load, SILENT, grace=grace, delete=True, **options)


def age(world: World, seconds: float = 2 * HOUR) -> None:
    """Let everything in a local bucket be older, and what is noted have been found earlier."""
    store = world.store()
    for info in list(store.list(NOTES)):
        fields = msgspec.msgpack.decode(store.get(info.key))
        fields[2] -= seconds
        store.delete([info.key])
        put_note(store, *fields)
    for path in (world.folder / "store" / ".penstock").rglob("*"):
        if path.is_file():
            modified = path.stat().st_mtime - seconds
            os.utime(path, (modified, modified))


def put_note(store: Store, *fields: Any) -> str:
    body = msgspec.msgpack.encode(fields)
    key = NOTES + content_hash(body).hex()
    store.put(key, body)
    return key


def read_notes(store: Store, marks: Marks) -> Any:
    # Not at the top: the version before had no notes, and has to fail here and not earlier.
    from penstock.repo.gc.notes import Notes

    return Notes(store, marks)


def forget_notes(store: Store) -> int:
    from penstock.repo.gc.collect import forget_notes

    return forget_notes(store)


def noted(store: Store) -> set[bytes]:
    with Marks() as marks:
        read_notes(store, marks)
        return {row[0] for row in marks._database.execute("SELECT id FROM noted")}


def fill(world: World) -> VersionId:
    """Make a branch, and two versions one behind the other that nothing leads to; return the second."""
    world.push(world.plant({b"a": b"1", b"shared": b"x" * 100}, "one"))
    world.push(world.plant({b"b": b"2", b"shared": b"x" * 100, b"d/e": b"3"}, "two"), "side")
    report = world.push(world.plant({b"b": b"4", b"large": b"y" * (2 << 20)}, "three"), "side")
    world.delete_branch("side", ME)
    age(world)
    assert report.commit is not None
    return VersionId(report.top_hash, report.commit)


def objects(world: World) -> set[str]:
    return {key for key in world.keys(".penstock/") if not key.startswith(NOTES)}


def needed(world: World, ref: str) -> set[bytes]:
    """Return the data objects of a version."""
    found: set[bytes] = set()
    for _, entry in world.open(ref, cached=False).tree.walk():
        found |= {extent.object for extent in entry.extents if isinstance(extent.object, bytes)}
    return found


def is_sound(world: World, ref: str = "main") -> bool:
    return verify(parse_handle(world.handle(ref)), world.settings, SILENT, deep=True).is_sound


@pytest.mark.regress(reason="what is found once was deleted at once: nothing was due later")
def test_what_is_found_once_stays_and_what_is_found_again_goes(world: World) -> None:
    fill(world)
    before = objects(world)
    first = gc(world.store())
    assert (first.garbage.objects, first.due.objects, first.deleted.objects) == (8, 0, 0)
    assert objects(world) == before
    # Found again too soon, it is not noted anew: the time of the first finding counts.
    age(world, HOUR / 2)
    again = gc(world.store())
    assert (again.deleted.objects, objects(world)) == (0, before)
    assert again.due_in is not None
    assert HOUR / 2 - 60 < again.due_in <= HOUR / 2
    age(world, HOUR)
    assert gc(world.store()).deleted == first.garbage
    assert len(before - objects(world)) == 8
    assert noted(world.store()) == set()
    assert is_sound(world)


def test_what_was_needed_in_between_has_to_be_found_twice_anew(world: World) -> None:
    lost = fill(world)
    gc(world.store())
    age(world)
    world.make_branch("again", lost, ME)
    assert gc(world.store()).garbage.objects == 0
    assert noted(world.store()) == set()
    world.delete_branch("again", ME)
    age(world)
    assert gc(world.store()).deleted.objects == 0
    assert is_sound(world, lost.commit.hex())
    age(world)
    assert gc(world.store()).deleted.objects == 8


def test_what_is_needed_when_the_deletion_begins_stays(world: World) -> None:
    """Found twice, and needed again by a push that ends while gc waits for it."""
    lost = fill(world)
    gc(world.store())
    age(world)

    class Late(LocalStore):
        done = False

        def put(self, key: str, body: Any) -> None:
            if "/leases/gc/" in key and not self.done:
                self.done = True
                world.make_branch("again", lost, ME)
            super().put(key, body)

    assert gc(Late(world.folder / "store")).deleted.objects == 0
    assert is_sound(world, "again")


def test_a_version_of_which_only_a_part_is_due_stays_whole(world: World) -> None:
    """The note of the older commit and of all data is there; that of the newer commit was lost."""
    fill(world)
    gc(world.store())
    age(world)
    store = world.store()
    (key,) = [info.key for info in store.list(NOTES) if b"commits/things" in store.get(info.key)]
    fields = msgspec.msgpack.decode(store.get(key))
    newest = max(
        world.keys(".penstock/datasets/things/commits/"),
        key=lambda name: (
            len(world.repository().commit(bytes.fromhex(name[-64:])).parents)
            and os.stat(world.folder / "store" / name).st_mtime
        ),
    )
    store.delete([key])
    names = b"".join(fields[3][at : at + 32] for at in (0, 32) if fields[3][at : at + 32].hex() != newest[-64:])
    assert len(names) == 32
    put_note(store, *fields[:3], names)
    before = objects(world)
    report = gc(world.store())
    assert (report.garbage.objects, report.due.objects) == (8, 7)
    assert report.deleted.objects == 0
    assert objects(world) == before
    assert is_sound(world, newest[-64:])


def damage(store: Store, key: str) -> None:
    body = bytearray(store.get(key))
    body[-1] ^= 1
    store.put(key, bytes(body))


def cut(store: Store, key: str) -> None:
    store.put(key, store.get(key)[:-32])


def empty(store: Store, key: str) -> None:
    store.put(key, b"")


@pytest.mark.parametrize("harm", [damage, cut, empty, lambda store, key: store.delete([key])])
def test_notes_that_are_damaged_put_it_off(world: World, harm: Callable[[Store, str], None]) -> None:
    fill(world)
    gc(world.store())
    age(world)
    store = world.store()
    for info in list(store.list(NOTES)):
        harm(store, info.key)
    before = objects(world)
    report = gc(world.store())
    assert (report.due.objects, report.deleted.objects) == (0, 0)
    assert objects(world) == before
    age(world)
    assert gc(world.store()).deleted.objects == 8


def test_notes_of_others_are_none(world: World) -> None:
    """Of a later version, of no kind, of no whole hashes, dated after they were written, or of what is needed."""
    fill(world)
    store = world.store()
    ids = b"".join(bytes.fromhex(key[-64:]) for key in world.keys(".penstock/data/"))
    now = store.list(".penstock/").__next__().modified
    keys = [
        put_note(store, 2, "data", 1.0, ids),
        put_note(store, 1, "elsewhere", 1.0, ids),
        put_note(store, 1, "commits/../../x", 1.0, ids),
        put_note(store, 1, "data", 1.0, ids[:-1]),
        put_note(store, 1, "data", 1.0, b""),
        put_note(store, 1, "data", now + 1e9, ids),
        put_note(store, 1, "data", float("nan"), ids),
        put_note(store, 1, "data", float("-inf"), ids),
        put_note(store, 1, "data", "soon", ids),
        put_note(store, 1, "data"),
        put_note(store, 1, "refs", 1.0, b"\xff\xfe/../..\nthings/heads/../../x\n\0\n/\n" + b"a" * 2000),
        put_note(store, 1, "data", 1.0, bytes(3 << 20)),
    ]
    before = objects(world)
    for _ in range(2):
        report = gc(world.store())
        assert (report.due.objects, report.deleted.objects) == (0, 0)
        assert objects(world) == before
    # What this version cannot read is left to who can.
    assert keys[0] in world.keys(NOTES)
    # What is needed is not deleted for a note that says so; and the note goes.
    needed = put_note(store, 1, "data", 1.0, ids)
    gc(world.store())
    assert needed not in world.keys(NOTES)
    assert is_sound(world)


def test_a_million_is_noted_in_few_objects(tmp_path: Path) -> None:
    """A part of that, for the time it takes: two notes, the first of a MiB, read and told apart again."""
    count = 40_000
    with LocalStore(tmp_path / "store") as store:
        with Marks() as marks:
            for number in range(count):
                marks.add_garbage("data", (content_hash(b"%d" % number), 1), due=False)
            read_notes(store, marks).note_garbage(1000.0)
        infos = list(store.list(NOTES))
        assert len(infos) == 2
        assert max(info.size for info in infos) < 1.1 * (1 << 20)
        with Marks() as marks:
            notes = read_notes(store, marks)
            assert marks.noted_since("data", content_hash(b"77")) == 1000.0
            assert marks.noted_since("node", content_hash(b"77")) is None
            for number in range(1, count):
                marks.add_garbage("data", (content_hash(b"%d" % number), 1))
            notes.drop_outdated()
            notes.note_garbage(2000.0)
        with Marks() as marks:
            read_notes(store, marks)
            assert marks.noted_since("data", content_hash(b"0")) is None
            assert marks.noted_since("data", content_hash(b"1")) == 1000.0
        assert len(list(store.list(NOTES))) == 2
        assert forget_notes(store) == 2
        assert list(store.list()) == []


def test_collectors_at_once_leave_what_is_needed(world: World) -> None:
    """Three of them, two with grace periods of their own, and a fourth that asks for none."""
    lost = fill(world)
    world.make_branch("kept", lost, ME)
    world.push(world.plant({b"c": b"5" * 1000}, "four"), "side")
    world.delete_branch("side", ME)
    age(world)
    gc(world.store())
    age(world)
    failures: list[BaseException] = []
    begin = threading.Barrier(4)

    def run(grace: float) -> None:
        try:
            begin.wait(60)
            for _ in range(3):
                with LocalStore(world.folder / "store") as store:
                    gc(store, grace)
        except BaseException as error:  # noqa: BLE001  # told in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(grace,)) for grace in (HOUR, HOUR, HOUR / 2, 0.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert is_sound(world)
    assert is_sound(world, "kept")
    assert len(world.keys(".penstock/datasets/things/commits/")) == 3
    assert world.keys(".penstock/leases/") == []
    assert gc(world.store(), 0).garbage.objects == 0


class FatalStore(LocalStore):
    """A local store that is dead from its n-th change on."""

    class Killed(BaseException):
        """No error that anything would catch."""

    def __init__(self, path: str, fatal: int) -> None:
        super().__init__(path)
        self._numbers = itertools.count(1)
        self._fatal = fatal

    def _change(self) -> None:
        if next(self._numbers) >= self._fatal:
            raise self.Killed

    def put(self, key: str, body: Any) -> None:
        self._change()
        super().put(key, body)

    def delete(self, keys: Any) -> None:
        for key in keys:
            self._change()
            super().delete([key])


def test_killed_at_every_change_of_the_run_that_notes(tmp_path: Path, new_world: Callable[[Path], World]) -> None:
    world = new_world(tmp_path)
    fill(world)
    before = objects(world)
    for fatal in itertools.count(1):
        try:
            gc(FatalStore(str(world.folder / "store"), fatal), lease_seconds=-60)
        except FatalStore.Killed:
            assert before <= objects(world)
            assert is_sound(world)
            forget_notes(world.store())
        else:
            break
    assert fatal > 8
    age(world)
    assert gc(world.store(), lease_seconds=-60).deleted.objects == 8
    assert is_sound(world)
    world.close()


def test_killed_at_every_change_of_the_run_that_deletes(tmp_path: Path, new_world: Callable[[Path], World]) -> None:
    """The same content comes again: it is whole, and what was noted of it before is not remembered."""
    for fatal in itertools.count(6):  # the probes before are those of the run that notes
        (tmp_path / str(fatal)).mkdir()
        world = new_world(tmp_path / str(fatal))
        fill(world)
        gc(world.store())
        age(world)
        try:
            gc(FatalStore(str(world.folder / "store"), fatal), lease_seconds=-60)
        except FatalStore.Killed:
            again = world.push(str(world.folder / "three"), "again")
            gc(world.store(), lease_seconds=-60)
            assert is_sound(world, "again")
            assert again.commit not in noted(world.store())
            assert not noted(world.store()) & needed(world, "again")
            world.close()
        else:
            assert noted(world.store()) == set()
            world.close()
            break
    assert fatal > 15
