"""S3 behind a proxy that breaks what it is told to: what is retried, what is given up and how soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from servers.faultproxy import (
    Fault,
    FaultProxy,
    FlipByte,
    FlipRequestByte,
    Reset,
    Stall,
    Status,
    Trickle,
    Truncate,
)

from penstock.errors import IntegrityError, StoreUnreachableError
from penstock.store import ByteRange, Store, StoreOptions, open_store

pytestmark = pytest.mark.s3

BODY = bytes(range(256)) * 400
BIG = bytes(range(251)) * 3000
OPTIONS = StoreOptions(connect_timeout=1.0, read_timeout=1.0, deadline=8.0, max_attempts=6)

CALLS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "get": ("GET", lambda store: store.get("key") == BODY),
    "range": ("GET", lambda store: store.get("key", ByteRange(7, 70_000)) == BODY[7:70_007]),
    "put": ("PUT", lambda store: store.put("other", BODY) is None),
    "put big": ("PUT", lambda store: store.put("other", BIG) is None),
    "create": ("PUT", lambda store: store.create("new", BODY)),
    "head": ("HEAD", lambda store: store.head("key") is not None),
    "list": ("GET", lambda store: [info.key for info in store.list()] == ["key"]),
    "delete": ("DELETE", lambda store: store.delete(["key"]) is None),
    "delete many": ("POST", lambda store: store.delete(["key", "other"]) is None),
    "copy": ("PUT", lambda store: store.copy(store, "key", "copy") is None),
}


@pytest.fixture
def direct(bucket: str, aws_environment: dict[str, str]) -> Iterator[Store]:
    """Reach the same bucket by a way that never breaks."""
    with open_store(f"s3://{bucket}") as opened:
        opened.put("key", BODY)
        yield opened


@pytest.fixture
def store(direct: Store, fault_proxy: FaultProxy) -> Iterator[Store]:
    with open_store(direct.url, replace(OPTIONS, endpoint_url=fault_proxy.endpoint)) as opened:
        yield opened


def impatient(store: Store, proxy: FaultProxy, *, deadline: float = 2.0, attempts: int = 8) -> Store:
    options = StoreOptions(
        endpoint_url=proxy.endpoint, connect_timeout=0.5, read_timeout=0.5, deadline=deadline, max_attempts=attempts
    )
    return open_store(store.url, options)


def is_method(method: str) -> Callable[[str, str], bool]:
    return lambda seen, _: seen == method


# What passes


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "fault",
    [
        Status(500, b""),
        Status(503),
        Status(429, b"<Error><Code>TooManyRequests</Code></Error>"),
        Status(502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)),
        Reset(),
        Reset(after_forward=True),
    ],
    ids=repr,
)
def test_a_burst_is_ridden_out(store: Store, direct: Store, fault_proxy: FaultProxy, name: str, fault: Fault) -> None:
    method, call = CALLS[name]
    armed = fault_proxy.fail(fault=fault, match=is_method(method), times=2)
    assert call(store)
    assert armed.struck == 2
    if name.startswith("put"):
        assert direct.get("other") == (BIG if name == "put big" else BODY)
    if name == "create":
        assert direct.get("new") == BODY
    if name == "copy":
        assert direct.get("copy") == BODY


@pytest.mark.parametrize("fault", [Truncate(0), Truncate(1), Truncate(70_000)], ids=repr)
def test_a_truncated_body_is_read_again(store: Store, fault_proxy: FaultProxy, fault: Fault) -> None:
    memory = bytearray(99_999)
    for call in (
        lambda: store.get("key") == BODY,
        lambda: store.get("key", ByteRange(0, 99_999)) == BODY[:99_999],
        lambda: store.get_into("key", 0, memoryview(memory)) == len(memory) and memory == BODY[:99_999],
    ):
        armed = fault_proxy.fail(fault=fault, times=2)
        assert call()
        assert armed.struck == 2


@pytest.mark.parametrize("after", [None, 0, 50_000])
def test_one_stall_is_ridden_out(store: Store, fault_proxy: FaultProxy, after: int | None) -> None:
    armed = fault_proxy.fail(fault=Stall(60, after), times=1)
    started = time.monotonic()
    assert store.get("key") == BODY
    assert armed.struck == 1
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("body", [BODY, BIG], ids=["small", "big"])
def test_a_byte_damaged_on_its_way_up_is_sent_again(
    store: Store, direct: Store, fault_proxy: FaultProxy, body: bytes
) -> None:
    armed = fault_proxy.fail(fault=FlipRequestByte(1000), match=is_method("PUT"), times=1)
    store.put("up", body)
    assert store.create("new", body)
    assert armed.struck == 1
    assert direct.get("up") == direct.get("new") == body


def test_a_byte_damaged_on_its_way_down_is_for_the_reader_to_find(store: Store, fault_proxy: FaultProxy) -> None:
    """A store has no hash to hold the bytes against; whoever asked for them has."""
    fault_proxy.fail(fault=FlipByte(1000))
    damaged = store.get("key")
    assert len(damaged) == len(BODY)
    assert [i for i in range(len(BODY)) if damaged[i] != BODY[i]] == [1000]


def test_a_server_that_comes_back(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.down()
    with impatient(store, fault_proxy, attempts=1) as once, pytest.raises(StoreUnreachableError):
        once.get("key")
    fault_proxy.up()
    assert store.get("key") == BODY
    fault_proxy.down()  # cuts the connection that the pool keeps
    fault_proxy.up()
    assert store.get("key") == BODY


# What is given up, and how soon


@pytest.mark.parametrize("name", CALLS)
def test_a_store_that_is_down(store: Store, fault_proxy: FaultProxy, name: str) -> None:
    fault_proxy.down()
    with impatient(store, fault_proxy, deadline=4.0, attempts=3) as given_up:
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError) as caught:
            CALLS[name][1](given_up)
    assert time.monotonic() - started < 4
    assert fault_proxy.endpoint in caught.value.fix
    assert "3 times" in caught.value.why
    assert caught.value.why.endswith("Connection refused")


@pytest.mark.parametrize("name", CALLS)
def test_a_store_that_only_stalls(store: Store, fault_proxy: FaultProxy, name: str) -> None:
    fault_proxy.fail(fault=Stall(60), times=1000)
    with impatient(store, fault_proxy, attempts=4) as given_up:
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError) as caught:
            CALLS[name][1](given_up)
    # The big body is sent before the answer stalls, and bytes that move give a call more time: 6 seconds for these.
    assert time.monotonic() - started < (9 if name == "put big" else 3)
    assert fault_proxy.endpoint in str(caught.value)
    assert ("not known" in caught.value.fix) == (name == "create")


def test_a_store_that_only_fails(store: Store, fault_proxy: FaultProxy) -> None:
    armed = fault_proxy.fail(fault=Status(503), times=1000)
    given_up = impatient(store, fault_proxy, attempts=4, deadline=6)
    with given_up, pytest.raises(StoreUnreachableError, match=r"4 times.*503 SlowDown: Please reduce") as caught:
        given_up.get("key")
    assert armed.struck == 4
    assert fault_proxy.endpoint in str(caught.value)


def test_bodies_that_are_always_truncated(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Truncate(10), times=1000)
    with impatient(store, fault_proxy, attempts=3) as given_up, pytest.raises(StoreUnreachableError, match="3 times"):
        given_up.get("key")


def test_a_body_that_trickles(store: Store, fault_proxy: FaultProxy) -> None:
    """Each wait is short, so that no timeout ever strikes: 100 KiB at 4 KiB a second."""
    fault_proxy.fail(fault=Trickle(4096), times=1000)
    with impatient(store, fault_proxy, deadline=1.0) as given_up:
        for get in (
            lambda: given_up.get("key"),
            lambda: given_up.get("key", ByteRange(0, len(BODY))),
            lambda: given_up.get_into("key", 0, memoryview(bytearray(len(BODY)))),
        ):
            started = time.monotonic()
            with pytest.raises(StoreUnreachableError, match="bytes had come"):
                get()
            assert 1 < time.monotonic() - started < 3.5


def test_bytes_that_are_always_damaged_on_their_way_up(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=FlipRequestByte(5), match=is_method("PUT"), times=1000)
    with impatient(store, fault_proxy, attempts=3) as given_up:
        for call in (lambda: given_up.put("up", BODY), lambda: given_up.create("up", BODY)):
            with pytest.raises(IntegrityError, match="3 times"):
                call()
    assert direct.head("up") is None


# Create: one primitive, whatever happens to its answer


def test_a_lost_answer_after_it_was_written(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    armed = fault_proxy.fail(fault=Reset(after_forward=True), match=is_method("PUT"))
    assert store.create("ref", b"mine")
    assert armed.struck == 1
    assert fault_proxy.count("PUT") == 2
    assert direct.get("ref") == b"mine"


def test_a_lost_answer_before_it_was_written(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Reset(), match=is_method("PUT"))
    assert store.create("ref", b"mine")
    assert direct.get("ref") == b"mine"


def test_an_answer_that_comes_too_late(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Stall(60), match=is_method("PUT"))
    assert store.create("ref", b"mine")
    assert direct.get("ref") == b"mine"


@pytest.mark.parametrize("fault", [Reset(), Reset(after_forward=True), Stall(60), Status(500)], ids=repr)
def test_a_lost_answer_and_another_writer_was_first(
    store: Store, direct: Store, fault_proxy: FaultProxy, fault: Fault
) -> None:
    def just_before(method: str, _: str) -> bool:
        return method == "PUT" and direct.create("ref", b"theirs")

    fault_proxy.fail(fault=fault, match=just_before)
    assert not store.create("ref", b"mine")
    assert direct.get("ref") == b"theirs"


def test_a_conflict_with_another_writer_is_tried_again(store: Store, fault_proxy: FaultProxy) -> None:
    conflict = Status(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
    fault_proxy.fail(fault=conflict, match=is_method("PUT"), times=2)
    assert store.create("ref", b"mine")


def test_what_stood_in_the_way_was_deleted(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    direct.create("ref", b"theirs")

    def before_the_comparison(method: str, _: str) -> bool:
        if method == "GET":
            direct.delete(["ref"])
        return False

    fault_proxy.fail(fault=Status(500), match=before_the_comparison)
    assert store.create("ref", b"mine")
    assert direct.get("ref") == b"mine"


def test_the_comparison_is_retried_too(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    direct.create("ref", b"mine")
    for fault in (Reset(), Truncate(2), Status(503)):
        fault_proxy.fail(fault=fault, match=is_method("GET"))
    assert store.create("ref", b"mine")


# Deleting many: an answer of its own for each key


def test_one_key_that_fails_for_now(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    busy = b"<DeleteResult><Error><Key>key</Key><Code>InternalError</Code></Error></DeleteResult>"
    fault_proxy.fail(fault=Status(200, busy), match=is_method("POST"), times=2)
    store.delete(["key", "other"])
    assert direct.head("key") is None
