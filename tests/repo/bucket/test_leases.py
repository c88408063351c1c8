"""Leases: what others see of them, and that nobody believes in one that has ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock.repo.bucket.leases as module
from penstock.errors import AccessError, ConflictError, IntegrityError, StoreUnreachableError
from penstock.repo.bucket.leases import HeldLease, Lease, LeaseKind, held_version, leases
from penstock.store.base import Buffer
from penstock.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "store") as opened:
        yield opened


def test_it_is_there_as_long_as_it_is_held(store: LocalStore) -> None:
    with Lease(store, "things", LeaseKind.MOUNT, [b"\1" * 32, b"\2" * 32], seconds=50) as lease:
        (found,) = leases(store)
        assert (found.key, found.kind, found.dataset, found.seconds) == (lease.key, LeaseKind.MOUNT, "things", 50)
        assert found.holds == (b"\1" * 32, b"\2" * 32)
        assert not found.ended(time.time())
        assert found.ended(time.time() + 60)
        lease.hold([b"\3" * 32])
        assert leases(store)[0].holds == (b"\3" * 32,)
        assert leases(store, LeaseKind.PUSH) == []
        lease.check()
    assert leases(store) == []


def test_it_can_be_left_standing(store: LocalStore) -> None:
    lease = Lease(store, "things", LeaseKind.OVERLAY, [b"\1" * 32], seconds=86400 * 30).take()
    lease.close(keep=True)
    assert [found.key for found in leases(store)] == [lease.key]


def test_it_is_renewed(store: LocalStore) -> None:
    with Lease(store, "things", LeaseKind.PUSH, seconds=12):
        first = leases(store)[0].modified
        deadline = time.monotonic() + 60
        while leases(store)[0].modified == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.regress
def test_of_a_reader_it_stands_for_a_day_and_is_seldom_written(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, passed = module.now(), 0.0
    monkeypatch.setattr(module, "now", lambda: begun + passed)
    lease = held_version(store, "things", LeaseKind.MOUNT, [b"\1" * 32])
    assert lease is not None
    assert leases(store)[0].seconds >= 43200
    written = {}
    for minute in range(48 * 60):
        passed = minute * 60.0
        assert lease.keep_up()
        info = store.head(lease.key)
        assert info is not None
        written[info.etag] = minute
    assert len(written) <= 5
    # A machine that slept for longer than that writes it as soon as it looks.
    passed += 3 * 86400
    assert lease.keep_up()
    again = store.head(lease.key)
    assert again is not None
    assert again.etag not in written
    lease.close()
    assert not lease.keep_up()


def test_a_renewal_that_fails_is_tried_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, passed = module.now(), 0.0
    monkeypatch.setattr(module, "now", lambda: begun + passed)
    store = Unreachable(tmp_path / "store")
    with Lease(store, "things", LeaseKind.PUSH) as lease:
        before = store.head(lease.key)
        store.broken = True
        passed = 301.0
        assert lease.keep_up()
        store.broken = False
        passed = 332.0
        assert lease.keep_up()
        after = store.head(lease.key)
        assert before is not None
        assert after is not None
        assert after.etag != before.etag
        lease.check()


class Unreachable(LocalStore):
    """A store to which nothing can be written from some moment on."""

    broken = False

    def put(self, key: str, body: Buffer) -> None:
        if self.broken:
            raise StoreUnreachableError("no answer")
        super().put(key, body)


def test_one_that_could_not_be_renewed_in_time_is_lost_for_ever(tmp_path: Path) -> None:
    store = Unreachable(tmp_path / "store")
    with Lease(store, "things", LeaseKind.PUSH, seconds=4) as lease:
        store.broken = True
        deadline = time.monotonic() + 60
        while True:
            try:
                lease.check()
            except ConflictError as error:
                assert "Run the command again" in error.fix
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        store.broken = False
        with pytest.raises(ConflictError):
            lease.check()


def test_a_writer_waits_while_gc_deletes_and_no_longer(store: LocalStore) -> None:
    taken = threading.Event()
    collecting = Lease(store, "", LeaseKind.GC).take()

    def write() -> None:
        with Lease(store, "things", LeaseKind.PUSH):
            taken.set()

    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + 60
    while not leases(store, LeaseKind.PUSH):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not taken.wait(0.5)
    # Readers do not wait: what they read is not garbage, or nobody's loss.
    with Lease(store, "things", LeaseKind.MOUNT):
        assert not taken.is_set()
    collecting.close()
    assert taken.wait(60)
    writer.join()


def test_a_writer_does_not_wait_for_a_gc_that_died(store: LocalStore) -> None:
    Lease(store, "", LeaseKind.GC, seconds=0.5).take().close(keep=True)
    begun = time.monotonic()
    with Lease(store, "things", LeaseKind.PUSH):
        assert time.monotonic() - begun < 60


def test_a_bucket_that_may_only_be_read(tmp_path: Path) -> None:
    class ReadOnly(LocalStore):
        def put(self, key: str, body: Buffer) -> None:
            raise AccessError(f"{key} may not be written")

    store = ReadOnly(tmp_path / "store")
    with pytest.raises(AccessError):
        Lease(store, "things", LeaseKind.MOUNT).take()
    assert held_version(store, "things", LeaseKind.MOUNT, [b"\1" * 32]) is None


@pytest.mark.parametrize(("key", "body"), [("push/abc", b"{"), ("nosuch/abc", b"{}"), ("push/abc", b'{"penstock": 1}')])
def test_what_is_no_lease_is_named(store: LocalStore, key: str, body: bytes) -> None:
    store.put(f".penstock/leases/{key}", body)
    with pytest.raises(IntegrityError, match=r"\.penstock/leases/"):
        leases(store)


def test_an_end_is_counted_from_the_last_writing_with_slack() -> None:
    lease = HeldLease("k", LeaseKind.PUSH, "d", (), "h", 1000.0, 60.0)
    assert not lease.ended(1061.0)
    assert lease.ended(1063.0)


@pytest.mark.regress
@pytest.mark.parametrize(
    "lie",
    [
        {"seconds": 1e300},
        {"seconds": 7200.0},
        {"holds": ["../../../etc/passwd"]},
        {"holds": ["AB" * 32]},
        {"penstock": 2},
    ],
    ids=repr,
)
def test_a_lease_that_nobody_can_have_written_is_named_and_waited_for_by_nobody(
    store: LocalStore, lie: dict[str, object]
) -> None:
    """Whoever may write to the bucket could else keep everybody from writing for ever."""
    record = {"penstock": 1, "dataset": "things", "seconds": 60.0, "host": "there", "holds": []}
    store.put(f".penstock/leases/gc/{'0' * 32}", json.dumps(record | lie).encode())
    with pytest.raises(IntegrityError, match="is no lease"):
        leases(store)
