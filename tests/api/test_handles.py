"""Handles travel: pickled, forked, spawned, they name the same version, and what is open stays in its process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import pytest

import penstock
from penstock.api.per_process import PerProcess
from penstock.errors import NotFoundError, UsageError


def labels(package: penstock.Package) -> bytes:
    return package.read("labels.csv")


def names(package: penstock.Package) -> list[str]:
    return [entry.key for entry in package.ls(recursive=True)]


def test_a_package_stays_at_the_version_it_was_looked_up_at(world: Path) -> None:
    package = penstock.open("demo/photos")
    before = names(package)
    penstock.Dataset("demo/photos").reset("v1")
    assert names(package) == before
    package.close()
    assert names(package) == before
    assert names(penstock.Package("demo/photos")) != before


def test_a_pickled_package_is_the_version_it_was(world: Path) -> None:
    package = penstock.Package("demo/photos")
    sent = pickle.dumps(package)
    penstock.Dataset("demo/photos").reset("v1")
    again = pickle.loads(sent)
    assert again.top_hash == package.top_hash
    assert names(again) == names(package)
    assert again.name == "demo/photos"


def test_a_pickled_entry_can_be_read(world: Path) -> None:
    entry = pickle.loads(pickle.dumps(penstock.open("demo/photos:v1").entry("2024/cat.jpg")))
    assert entry.read() == b"cat"


@pytest.mark.parametrize("kind", [penstock.Dataset, penstock.Bucket])
def test_handles_of_datasets_and_buckets_can_be_pickled(world: Path, kind: type) -> None:
    made = kind("demo/photos" if kind is penstock.Dataset else "demo")
    again = pickle.loads(pickle.dumps(made))
    assert (repr(again), again.settings) == (repr(made), made.settings)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_package_that_is_open_can_be_used_in_other_processes(world: Path, method: str) -> None:
    package = penstock.open("demo/photos:v1")
    assert labels(package) == b"cat,1"
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(package.read, ["labels.csv"] * 4) == [b"cat,1"] * 4
    assert labels(package) == b"cat,1"


def test_a_forked_child_opens_its_own_and_leaves_the_parents_alone(world: Path) -> None:
    package = penstock.open("demo/photos:v1")
    inherited = package._opened.get()
    child = os.fork()
    if child == 0:
        os._exit(0 if package._opened.get() is not inherited and labels(package) == b"cat,1" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert package._opened.get() is inherited
    assert labels(package) == b"cat,1"


def test_a_lock_that_another_thread_held_does_not_stop_a_forked_child(world: Path) -> None:
    package = penstock.Package("demo/photos:v1")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with package._opened._place.lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if labels(package) == b"cat,1" else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_was_left_open_is_closed_by_the_next_call() -> None:
    closed: list[int] = []

    class Thing:
        def __init__(self, number: int) -> None:
            self.number = number

        def close(self) -> None:
            closed.append(self.number)

    first = PerProcess(lambda: Thing(1))
    first.get()
    del first
    assert closed == []
    second = PerProcess(lambda: Thing(2))
    second.get()
    assert closed == [1]
    second.close()
    second.close()
    assert closed == [1, 2]
    assert not second.is_open


def test_what_cannot_be_opened_is_tried_again(world: Path) -> None:
    package = penstock.Package("demo/later")
    with pytest.raises(NotFoundError, match="later"):
        package.info()
    penstock.Dataset("demo/later").create()
    assert package.info().entries == 0


def test_a_name_of_another_kind_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(UsageError, match="names a version"):
        penstock.Dataset("demo/photos:v1")
    with pytest.raises(UsageError, match="names a path"):
        penstock.Dataset("demo/photos:v1/2024")
    with pytest.raises(NotFoundError, match="names a bucket"):
        penstock.Dataset("demo")
    with pytest.raises(UsageError, match="names a dataset"):
        penstock.Bucket("demo/photos")
    with pytest.raises(NotFoundError, match="names a bucket"):
        penstock.Package("demo")
