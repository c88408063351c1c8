"""Uploads: each object once, never too much in flight, ended by the first failure, and held up by nobody."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from penstock.errors import CancelledError, StoreUnreachableError
from penstock.progress import SILENT, ProgressMeter
from penstock.repo.write import upload as upload_module
from penstock.repo.write.upload import Upload
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest


class GatedStore(LocalStore):
    """A local store whose puts wait for leave, and fail where they are told to."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.failing: set[str] = set()
        self.changed = threading.Condition()
        self.started: list[str] = []

    def put(self, key: str, body: Buffer) -> None:
        with self.changed:
            self.started.append(key)
            self.changed.notify_all()
        if key in self.failing:
            raise StoreUnreachableError(f"cannot write {key}")
        assert self.gate.wait(60)
        if key in self.failing:
            raise StoreUnreachableError(f"cannot write {key}")
        super().put(key, body)

    def wait_started(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.started) >= count, 60)


@pytest.fixture
def store(tmp_path: Any) -> Any:
    store = GatedStore(str(tmp_path / "store"))
    yield store
    store.gate.set()


def test_what_is_there_is_not_sent(store: GatedStore) -> None:
    store.gate.set()
    LocalStore(store.path).put("there", b"123")
    LocalStore(store.path).put("of another size", b"1")
    meter = ProgressMeter()
    upload = Upload(store, meter.stage("uploading"))
    for key in ("there", "of another size", "new", "new"):
        upload.send(key, b"123", data=True)
    upload.send("nodes", b"4567", data=False)
    upload.finish()
    upload.close()
    assert sorted(store.started) == ["new", "nodes", "of another size"]
    assert (upload.sent[True].objects, upload.sent[True].bytes) == (2, 6)
    assert (upload.sent[False].objects, upload.sent[False].bytes) == (1, 4)
    assert meter.states()[0].done == 3 + 3 + 3 + 4


def test_bytes_in_flight_are_bounded(store: GatedStore) -> None:
    upload = Upload(store, SILENT.stage("uploading"), most=100)
    upload.send("a", bytes(60), data=True)
    upload.send("b", bytes(40), data=True)
    sender = threading.Thread(target=lambda: upload.send("c", bytes(1), data=True))
    sender.start()
    store.wait_started(2)
    assert sender.is_alive()
    assert sorted(store.started) == ["a", "b"]
    store.gate.set()
    sender.join(60)
    assert not sender.is_alive()
    upload.finish()
    # One that is larger than the bound goes alone.
    upload.send("huge", bytes(1000), data=True)
    upload.finish()
    assert upload.sent[True].objects == 4
    upload.close()


def test_the_first_failure_ends_it(store: GatedStore) -> None:
    store.failing.add("bad")
    upload = Upload(store, SILENT.stage("uploading"))
    upload.send("bad", b"1", data=True)
    with pytest.raises(StoreUnreachableError, match="bad"):
        upload.finish()
    with pytest.raises(StoreUnreachableError, match="bad"):
        upload.send("other", b"2", data=True)
    upload.close()
    assert store.started == ["bad"]


def test_a_failure_reaches_who_waits_for_room(store: GatedStore) -> None:
    upload = Upload(store, SILENT.stage("uploading"), most=1)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            upload.send("b", b"2", data=True)
        except StoreUnreachableError as error:
            failures.append(error)

    upload.send("a", b"1", data=True)
    store.wait_started(1)
    sender = threading.Thread(target=send)
    sender.start()
    store.failing.add("a")
    store.gate.set()
    sender.join(60)
    assert [str(failure) for failure in failures] == ["cannot write a"]
    upload.close()


def test_a_put_that_hangs_does_not_hold_up_the_end(store: GatedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "_LAST_MOMENT", 0.05)
    meter = ProgressMeter()
    upload = Upload(store, meter.stage("uploading"))
    for number in range(20):
        upload.send(f"{number}", b"1", data=True)
    store.wait_started(8)
    before = time.monotonic()
    upload.close()
    assert time.monotonic() - before < 10
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("penstock-upload")]
    assert len(workers) == 8
    assert all(thread.daemon for thread in workers)
    store.gate.set()
    for thread in workers:
        thread.join(60)
    assert len(store.started) == 8  # nothing more was begun
    assert meter.states()[0].done == 0


def test_an_upload_that_is_cancelled_ends(store: GatedStore) -> None:
    store.gate.set()
    meter = ProgressMeter()
    upload = Upload(store, meter.stage("uploading"))
    meter.cancel()
    upload.send("a", b"1", data=True)
    with pytest.raises(CancelledError):
        upload.finish()
    upload.close()
