"""Pushes, rollbacks and gc at the same time, with no grace period: what anything leads to is always whole."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import pytest

import penstock.repo.bucket.leases as module
from penstock.errors import ConflictError, PenstockError
from penstock.progress import SILENT, ProgressMeter, Stage, Unit
from penstock.repo.bucket.leases import LeaseKind, leases
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.history.branches import delete_branch, make_tag, reset_branch
from penstock.repo.push.push import push
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store import open_store
from penstock.store.base import Store
from penstock.store.local import LocalStore

World = Any  # see conftest

ME = Authorship("tester", "", "test")
CONTENTS = 3
SECONDS = 40.0


class Life:
    """Writers that bring the same few contents again and again, and let them go; and a gc without end."""

    def __init__(self, world: World, rounds: int) -> None:
        self.world = world
        self.rounds = rounds
        self.directories = [
            world.plant(
                {b"f%d" % number: b"%d" % number * 50, b"all": b"all", b"large": bytes([number]) * (5 << 20)},
                f"c{number}",
            )
            for number in range(CONTENTS)
        ]
        self.changed = threading.Condition()
        self.deleted = 0
        self.complete = 0
        self.pushed = 0
        self.over = threading.Event()
        self.failures: list[BaseException] = []

    def guard(self, live: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                live()
            except BaseException as error:  # noqa: BLE001  # told in the test's own thread
                self.failures.append(error)
                self.over.set()
                with self.changed:
                    self.changed.notify_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write(self, number: int) -> None:
        """Push to a branch of one's own, then delete it or go back: what was pushed is garbage, and comes again."""
        world, rng = self.world, random.Random(number)
        machine = world.machine(f"m{number}")
        branch = f"b{number}"
        until = time.monotonic() + SECONDS
        round_number = 0
        while not self.over.is_set() and time.monotonic() < until:
            round_number += 1
            if round_number > self.rounds and self.deleted >= 2:
                break
            report = world.push(rng.choice(self.directories), branch, settings=machine)
            self.pushed += 1
            with self.world.writer(branch, tag=f"t{number}-{round_number}", who=ME, settings=machine) as writer:
                repository = writer.repository
                if report.commit is not None and rng.random() < 0.2:
                    make_tag(writer, VersionId(report.top_hash, report.commit))
                parents = repository.commit(report.commit).parents if report.commit is not None else ()
                if parents and rng.random() < 0.5:
                    back = repository.commit(parents[0])
                    reset_branch(writer, VersionId(back.top_hash, parents[0]))
                elif rng.random() < 0.8:
                    delete_branch(writer)
            if round_number % 3 == 0:
                self.let_gc_through()
            else:
                self.over.wait(rng.uniform(0, 0.2))

    def let_gc_through(self) -> None:
        """Pause until a gc has ended that no writer stopped: when all pause, one does."""
        with self.changed:
            before = self.complete
            self.changed.wait_for(lambda: self.complete > before or self.over.is_set(), SECONDS)

    def collect(self) -> None:
        while not self.over.is_set():
            with closing(open_store(self.world.bucket)) as store:
                load = Nodes(store, None, RequestCounts()).load
                report = collect(store, load, SILENT, grace=0, delete=True, patience=0.5)
            with self.changed:
                self.deleted += report.deleted.objects > 0
                self.complete += not report.stopped
                self.changed.notify_all()


def check_all(world: World, store: Store) -> int:
    """Check every ref and every record that is left, deep; return how many versions there are."""
    manifests = ".penstock/datasets/things/manifests/"
    names = [info.key.removeprefix(manifests) for info in store.list(manifests)]
    refs = world.repository().refs
    names += [name for name in refs.branches() if refs.head(name) is not None]
    names += refs.tags()
    for name in names:
        report = verify(parse_handle(world.handle(name)), world.settings, SILENT, deep=True)
        assert report.is_sound, (name, report.damages)
    return len(names)


def live(world: World, writers: int, rounds: int) -> Life:
    life = Life(world, rounds)
    world.push(world.plant({b"first": b"1"}, "first"))
    collector = life.guard(life.collect)
    threads = [life.guard(lambda number=number: life.write(number)) for number in range(writers)]  # type: ignore[misc]  # a lambda in a loop
    for thread in threads:
        thread.join()
    life.over.set()
    collector.join()
    assert life.failures == []
    return life


@pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow])])
def test_what_anything_leads_to_is_whole(request: pytest.FixtureRequest, kind: str) -> None:
    world = request.getfixturevalue("world" if kind == "local" else "s3_world")
    life = live(world, writers=2, rounds=24 if kind == "local" else 6)
    assert life.pushed > 6
    assert life.deleted > 0
    assert check_all(world, world.store()) > 0
    with closing(open_store(world.bucket)) as store:
        collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=-60, delete=True)
    check_all(world, world.store())
    assert world.keys(".penstock/leases/") == []


def test_a_push_that_lost_its_lease_does_not_move_the_branch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept: gc took its lease for ended, and may have deleted what the push found."""
    first = world.push(world.plant({b"a": b"1"}))
    real = module.now
    slept = threading.Event()
    monkeypatch.setattr(module, "now", lambda: real() + (3600 if slept.is_set() else 0))

    with pytest.raises(ConflictError, match="took longer than its lease") as caught:
        push(world.plant({b"a": b"2"}, "two"), parse_handle(world.handle()), world.settings, ME, Uploading(slept.set))
    assert isinstance(caught.value, PenstockError)
    slept.clear()
    assert world.open().top_hash == first.top_hash


class Uploading(ProgressMeter):
    """Does something each time that an upload has come further."""

    def __init__(self, react: Callable[[], object]) -> None:
        super().__init__()
        self._react = react

    is_shown = False

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        made = super().stage(name, total=total, unit=unit)
        return _UploadStage(self._react) if name == "uploading" else made


class _UploadStage:
    def __init__(self, react: Callable[[], object]) -> None:
        self._react = react

    def advance(self, amount: int = 1, /) -> None:
        self._react()

    def total(self, amount: int, /) -> None:
        """As much as it is."""


def garbage(world: World) -> str:
    """Leave a version behind that nothing leads to; return the directory that it was made from."""
    directory = world.plant({b"a": b"again", b"large": b"z" * (5 << 20)}, "again")
    world.push(world.plant({b"first": b"1"}, "first"))
    world.push(directory, "side")
    world.delete_branch("side", ME)
    return str(directory)


def sweep(store: Store) -> GcReport:
    """Collect without any grace: not even this second's objects are young."""
    return collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=-60, delete=True, patience=0)


def test_what_a_push_has_found_is_not_deleted_before_its_branch_moves(world: World) -> None:
    directory = garbage(world)
    reports: list[GcReport] = []

    # The object was there already, and nothing refers to it.
    slow = Uploading(lambda: reports.append(sweep(world.store())))
    report = push(directory, parse_handle(world.handle("new")), world.machine("other"), ME, slow)
    assert report.bytes_uploaded == 0
    assert reports
    assert all(found.stopped and not found.deleted.objects for found in reports)
    assert check_all(world, world.store())
    assert world.open("new").top_hash == report.top_hash


def test_a_push_that_begins_while_gc_deletes_looks_when_that_is_over(world: World) -> None:
    directory = garbage(world)
    done = threading.Event()
    pushers: list[threading.Thread] = []

    def begin() -> None:
        world.push(directory, "new", settings=world.machine("other"))
        done.set()

    class Slow(LocalStore):
        def delete(self, keys: Iterable[str]) -> None:
            for key in keys:
                if "/data/" in key and not pushers:
                    pushers.append(threading.Thread(target=begin))
                    pushers[0].start()
                    deadline = time.monotonic() + 60
                    while not leases(self, LeaseKind.PUSH):
                        assert time.monotonic() < deadline
                        time.sleep(0.01)
                    assert not done.wait(0.5)
                super().delete([key])

    report = sweep(Slow(world.folder / "store"))
    assert report.deleted.objects > 3
    pushers[0].join()
    assert done.is_set()
    assert check_all(world, world.store())
    assert world.read_back(world.open("new", cached=False)) == {b"a": b"again", b"large": b"z" * (5 << 20)}
