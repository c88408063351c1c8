"""S3 behind a server or proxy that leaves out, bends or inflates what it answers: nothing of it is taken on trust."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from servers.faultproxy import Answer, Endless, FaultProxy, Rewrite, Status, Trickle, TrickleHead

from penstock.errors import ConflictError, IntegrityError, PenstockError, StoreUnreachableError
from penstock.store import ByteRange, Store, StoreOptions, open_store

pytestmark = pytest.mark.s3

BODY = bytes(range(256)) * 400
OPTIONS = StoreOptions(connect_timeout=2.0, read_timeout=2.0, deadline=8.0, max_attempts=5)
ALWAYS = 1_000_000


@pytest.fixture
def direct(bucket: str, aws_environment: dict[str, str]) -> Iterator[Store]:
    with open_store(f"s3://{bucket}") as opened:
        opened.put("key", BODY)
        yield opened


@pytest.fixture
def store(direct: Store, fault_proxy: FaultProxy) -> Iterator[Store]:
    with open_store(direct.url, replace(OPTIONS, endpoint_url=fault_proxy.endpoint)) as opened:
        yield opened


def bend(proxy: FaultProxy, change: Callable[[Answer], None], *, times: int = ALWAYS, method: str = "") -> None:
    proxy.fail(fault=Rewrite(change), match=lambda seen, _: not method or seen == method, times=times)


def without(*names: str) -> Callable[[Answer], None]:
    """Leave headers out, and the elements of lists that say the same."""

    def change(answer: Answer) -> None:
        for name in names:
            answer.fields.pop(name.lower(), None)
            if name.lower() == "content-length" and answer.body:
                answer.fields["transfer-encoding"] = "chunked"
            element = name.replace("-", "").encode()
            answer.body = re.sub(rb"<%s>[^<]*</%s>" % (element, element), b"", answer.body)

    return change


def weakened(answer: Answer) -> None:
    if "etag" in answer.fields:
        answer.fields["etag"] = "W/" + answer.fields["etag"]
    answer.body = re.sub(rb"<ETag>", b"<ETag>W/", answer.body)


def got_into(store: Store, offset: int, length: int) -> bytes:
    memory = bytearray(length)
    return bytes(memory[: store.get_into("key", offset, memoryview(memory))])


# What is left out


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ETag", marks=pytest.mark.regress),
        pytest.param("Last-Modified", marks=pytest.mark.regress),
        pytest.param("Content-Length", marks=pytest.mark.regress),
        "x-amz-request-id",
        "Content-Type",
    ],
)
def test_what_a_server_does_not_say_is_not_missed(store: Store, fault_proxy: FaultProxy, name: str) -> None:
    bend(fault_proxy, without(name))
    assert store.get("key") == BODY
    assert store.get("key", ByteRange(5, 70_000)) == BODY[5:70_005]
    assert got_into(store, 5, 70_000) == BODY[5:70_005]
    assert store.get("key", ByteRange(len(BODY) + 5, 10)) == b""
    head = store.head("key")
    assert head is not None
    assert head.size == len(BODY)
    assert (head.etag is None) == (name == "ETag")
    assert (head.modified is None) == (name == "Last-Modified")
    [listed] = store.list()
    assert (listed.size, listed.etag is None) == (len(BODY), name == "ETag")
    assert [info.key for info in store.list_level().objects] == ["key"]
    assert store.create("new", b"x")
    store.copy(store, "key", "copy")
    store.delete(["new", "copy"])


def test_an_empty_object_of_which_nobody_says_how_large_it_is(
    store: Store, direct: Store, fault_proxy: FaultProxy
) -> None:
    direct.put("empty", b"")
    bend(fault_proxy, without("Content-Length"))
    head = store.head("empty")
    assert head is not None
    assert head.size == 0
    assert store.get("empty") == b""


def test_without_an_etag_only_who_checks_by_hash_goes_on(store: Store, fault_proxy: FaultProxy) -> None:
    head = store.head("key")
    assert head is not None
    assert head.etag
    bend(fault_proxy, without("ETag"))
    assert store.get("key", ByteRange(0, 5), etag=head.etag, checked=True) == BODY[:5]
    with pytest.raises(ConflictError, match="no ETag"):
        store.get("key", ByteRange(0, 5), etag=head.etag)


@pytest.mark.regress
def test_a_weak_etag_pins_as_a_strong_one_does(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    strong = direct.head("key")
    assert strong is not None
    bend(fault_proxy, weakened)
    weak = store.head("key")
    assert weak is not None
    assert weak.etag == strong.etag
    assert [info.etag for info in store.list()] == [strong.etag]
    for etag in (strong.etag, f'"{strong.etag}"', f'W/"{strong.etag}"', f'W/"{strong.etag}'):
        assert store.get("key", ByteRange(1, 9), etag=etag) == BODY[1:10]
    direct.put("key", BODY[::-1])
    with pytest.raises(ConflictError):
        store.get("key", ByteRange(1, 9), etag=strong.etag)


@pytest.mark.regress
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-length", "many"),
        ("content-length", "-5"),
        ("last-modified", "yesterday"),
        ("last-modified", "Mon, 30 Nov 2026 04:00:009223372036854775807MT"),
        ("etag", '""'),
    ],
)
def test_headers_that_say_nonsense(store: Store, fault_proxy: FaultProxy, name: str, value: str) -> None:
    """It may be an answer or one of the errors of the tree, but never another one."""

    def change(answer: Answer) -> None:
        answer.fields[name] = value

    bend(fault_proxy, change, method="HEAD")
    try:
        head = store.head("key")
        assert head is None or (head.size == len(BODY) and head.etag != "")
    except PenstockError as error:
        assert fault_proxy.endpoint in str(error)


# Ranges


def other_bytes(answer: Answer) -> None:
    """Send the object's beginning instead, and say so."""
    if answer.status == 206:
        answer.body = BODY[: len(answer.body)]
        answer.fields["content-range"] = f"bytes 0-{len(answer.body) - 1}/{len(BODY)}"


@pytest.mark.regress
def test_other_bytes_than_were_asked_for_are_refused(store: Store, fault_proxy: FaultProxy) -> None:
    bend(fault_proxy, other_bytes, method="GET")
    for get in (lambda: store.get("key", ByteRange(50, 10)), lambda: got_into(store, 50, 10)):
        before = fault_proxy.count("GET")
        with pytest.raises(StoreUnreachableError, match=r"3 times.*bytes 0-9/102400.*bytes 50-59 were asked.*proxy"):
            get()
        assert fault_proxy.count("GET") == before + 3


@pytest.mark.regress
def test_other_bytes_once_are_asked_for_again(store: Store, fault_proxy: FaultProxy) -> None:
    bend(fault_proxy, other_bytes, method="GET", times=2)
    assert store.get("key", ByteRange(50, 10)) == BODY[50:60]


@pytest.mark.regress
def test_a_shorter_answer_is_asked_on(store: Store, fault_proxy: FaultProxy) -> None:
    def change(answer: Answer) -> None:
        if answer.status == 206:
            first = int(answer.fields["content-range"].split()[1].split("-")[0])
            answer.body = answer.body[:30_000]
            answer.fields["content-range"] = f"bytes {first}-{first + len(answer.body) - 1}/{len(BODY)}"

    bend(fault_proxy, change, method="GET")
    assert store.get("key", ByteRange(5, 80_000)) == BODY[5:80_005]
    assert fault_proxy.count("GET") == 3
    assert store.get("key", ByteRange(50_000, 80_000)) == BODY[50_000:]
    assert got_into(store, 5, 80_000) == BODY[5:80_005]
    assert got_into(store, 50_000, 80_000) == BODY[50_000:]
    assert store.get("key") == BODY


def test_parts_of_two_objects_are_not_joined(store: Store, direct: Store, fault_proxy: FaultProxy) -> None:
    def change(answer: Answer) -> None:
        if answer.status == 206:
            first = int(answer.fields["content-range"].split()[1].split("-")[0])
            answer.body = answer.body[:60_000]
            answer.fields["content-range"] = f"bytes {first}-{first + len(answer.body) - 1}/{len(BODY)}"
            if first == 0:
                direct.put("key", BODY[::-1])

    bend(fault_proxy, change, method="GET", times=1)
    assert store.get("key", ByteRange(0, 100_000)) == BODY[::-1][:100_000]


@pytest.mark.parametrize("said", [None, "bytes 5-14/*", "bytes 0-99/102400", "bytes 5-14/7", "5-14", "bytes 14-5/99"])
def test_what_an_answer_says_of_its_bytes(store: Store, fault_proxy: FaultProxy, said: str | None) -> None:
    def change(answer: Answer) -> None:
        if answer.status == 206:
            answer.fields.pop("content-range")
            if said is not None:
                answer.fields["content-range"] = said
            if said == "bytes 0-99/102400":
                answer.body = BODY[:100]

    bend(fault_proxy, change, method="GET")
    wanted = ByteRange(5, 10)
    if said in ("bytes 5-14/*", "bytes 0-99/102400"):  # as good, or more than was asked for
        assert store.get("key", wanted) == BODY[5:15]
        assert got_into(store, 5, 10) == BODY[5:15]
        return
    with pytest.raises(StoreUnreachableError, match="answered something else"):
        store.get("key", wanted)
    if said is None:
        assert store.get("key", wanted, checked=True) == BODY[5:15]


def test_a_range_that_is_refused_though_it_lies_in_the_object(store: Store, fault_proxy: FaultProxy) -> None:
    refused = Status(416, b"", (("Content-Range", f"bytes */{len(BODY)}"),))
    fault_proxy.fail(fault=refused, times=1)
    assert store.get("key", ByteRange(5, 10)) == BODY[5:15]
    fault_proxy.fail(fault=refused, times=ALWAYS)
    with pytest.raises(StoreUnreachableError, match="refused bytes 5-14"):
        store.get("key", ByteRange(5, 10))


# Memory

_LITTLE = """
import resource, sys
from penstock.errors import PenstockError
from penstock.store import ByteRange, StoreOptions, open_store

options = StoreOptions(endpoint_url=sys.argv[2], connect_timeout=2, read_timeout=2, deadline=8, max_attempts=5)
with open_store(sys.argv[1], options) as store:
    store.prepare()
    with open("/proc/self/statm") as stream:
        size = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (160 << 20),) * 2)
    for call in sys.argv[3:]:
        try:
            print(eval(call))
        except PenstockError as error:
            print(type(error).__name__, error)
"""


def in_little_memory(store: Store, proxy: FaultProxy, *calls: str) -> list[str]:
    """Make calls in a process that may take 160 MiB for them; what each returned or raised."""
    command = [sys.executable, "-c", _LITTLE, store.url, proxy.endpoint, *calls]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.regress
def test_an_endless_answer_is_cut_at_what_was_asked_for(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Endless(200, (("ETag", '"x"'),)), times=ALWAYS)
    started = time.monotonic()
    assert in_little_memory(
        store,
        fault_proxy,
        "store.get('key', ByteRange(0, 10)) == bytes(10)",
        "store.get('key', ByteRange(1000, 70_000)) == bytes(70_000)",
        "(store.get_into('key', 1000, memoryview(memory := bytearray(b'?' * 70_000))), memory == bytes(70_000))",
        "store.get('key', ByteRange(1 << 40, 10))",
    )[:3] == ["True", "True", "(70000, True)"]
    assert time.monotonic() - started < 20


@pytest.mark.regress
def test_an_endless_record_is_not_read_to_its_end(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Endless(), times=ALWAYS)
    [whole] = in_little_memory(store, fault_proxy, "store.get('key')")
    assert whole.startswith("IntegrityError")
    assert "more than 67108864 bytes" in whole


@pytest.mark.regress(reason="there was no limit to name")
def test_an_object_larger_than_its_kind_may_be_is_not_read(
    store: Store, direct: Store, fault_proxy: FaultProxy
) -> None:
    assert store.get("key", limit=len(BODY)) == BODY
    for limit in (len(BODY) - 1, 10, 0):
        with pytest.raises(IntegrityError, match=f"more than {limit} bytes"):
            store.get("key", limit=limit)
    direct.put("large", bytes(8 << 20))
    started = len(fault_proxy.requests)
    with pytest.raises(IntegrityError):
        store.get("large", limit=1 << 20)
    assert len(fault_proxy.requests) == started + 1


@pytest.mark.regress
def test_an_endless_error_says_what_its_status_says(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Endless(404), times=ALWAYS)
    told = in_little_memory(store, fault_proxy, "store.get('key')", "list(store.list())", "store.put('key', b'x')")
    assert [line.split()[0] for line in told] == ["NotFoundError"] * 3


@pytest.mark.regress
def test_an_endless_list_is_an_error(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=Endless(200, (("Content-Type", "application/xml"),)), times=ALWAYS)
    told = in_little_memory(store, fault_proxy, "list(store.list())", "store.delete(['key'])")
    assert all(line.startswith("StoreUnreachableError") and "8 MiB" in line for line in told), told


# Time


@pytest.mark.regress
def test_a_head_that_comes_in_drops_ends_with_the_deadline(direct: Store, fault_proxy: FaultProxy) -> None:
    """Each wait is short, so that no timeout ever strikes."""
    fault_proxy.fail(fault=TrickleHead(8), times=ALWAYS)
    options = StoreOptions(endpoint_url=fault_proxy.endpoint, connect_timeout=0.5, read_timeout=1.0, deadline=2.5)
    with open_store(direct.url, options) as hurried:
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError):
            hurried.get("key")
        assert time.monotonic() - started < 4


@pytest.mark.regress
def test_a_body_that_comes_in_drops_is_asked_for_again_before_the_deadline(
    direct: Store, fault_proxy: FaultProxy
) -> None:
    fault_proxy.fail(fault=Trickle(200), times=1)
    options = StoreOptions(endpoint_url=fault_proxy.endpoint, connect_timeout=0.5, read_timeout=0.5, deadline=20.0)
    with open_store(direct.url, options) as patient:
        started = time.monotonic()
        assert patient.get("key") == BODY
        assert time.monotonic() - started < 5


@pytest.mark.regress
def test_a_connection_that_ends_after_leave_to_send(aws_environment: dict[str, str]) -> None:
    """botocore reads on after the end of the stream, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server:
                while True:
                    try:
                        peer, _ = server.accept()
                    except OSError:
                        return
                    with peer:
                        peer.recv(65536)
                        peer.sendall(b"HTTP/1.1 100 Continue\r\n")

        threading.Thread(target=serve, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        options = StoreOptions(
            endpoint_url=endpoint, connect_timeout=0.5, read_timeout=0.5, deadline=2.0, max_attempts=2
        )
        done = threading.Event()

        def put() -> None:
            with open_store("s3://some-bucket", options) as store, pytest.raises(StoreUnreachableError):
                store.put("key", bytes(300_000))
            done.set()

        threading.Thread(target=put, daemon=True).start()
        assert done.wait(6)
        server.shutdown(socket.SHUT_RDWR)


# Connections that are dead


def reuse(store: Store, proxy: FaultProxy, count: int) -> None:
    """Fill the pool with connections, and let them be idle for a moment."""
    threads = [threading.Thread(target=store.get, args=("key",)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(1.1)  # what is idle for less than a second is trusted
    assert proxy.forget() >= 1


@pytest.mark.regress
def test_forgotten_connections_cost_one_short_wait(direct: Store, fault_proxy: FaultProxy) -> None:
    """A pool of them, and a read timeout of 20 seconds: one wait for all of them, not one for each."""
    with open_store(direct.url, StoreOptions(endpoint_url=fault_proxy.endpoint)) as store:
        reuse(store, fault_proxy, 8)
        started = time.monotonic()
        assert store.get("key") == BODY
        first = time.monotonic() - started
        assert first < 8
        assert store.create("new", b"x")
        assert store.get("key") == BODY
        assert time.monotonic() - started - first < 2


def test_a_machine_that_slept_does_not_trust_its_connections(
    direct: Store, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(direct.url, StoreOptions(endpoint_url=fault_proxy.endpoint)) as store:
        assert store.get("key") == BODY
        assert fault_proxy.forget() == 1
        real = time.clock_gettime
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + 31)
        started = time.monotonic()
        assert store.get("key") == BODY
        assert time.monotonic() - started < 2.5


def test_a_server_that_is_slow_after_a_pause_is_not_given_up(direct: Store, fault_proxy: FaultProxy) -> None:
    """It is asked a second time, on a connection that just showed that it lives, and may take its time then."""
    from servers.faultproxy import Stall

    with open_store(direct.url, StoreOptions(endpoint_url=fault_proxy.endpoint)) as store:
        assert store.get("key") == BODY
        time.sleep(1.1)
        fault_proxy.fail(fault=Stall(3.5), times=ALWAYS)
        assert store.get("key") == BODY
        assert fault_proxy.count("GET") == 3


@pytest.mark.regress
def test_sockets_find_out_about_dead_peers(
    direct: Store, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    connect = http.client.HTTPConnection.putrequest

    def note(self: http.client.HTTPConnection, *args: object, **options: object) -> None:
        connect(self, *args, **options)  # type: ignore[arg-type]
        made.append(self.sock)

    with open_store(direct.url, StoreOptions(endpoint_url=fault_proxy.endpoint)) as store:
        store.get("key")
        monkeypatch.setattr(http.client.HTTPConnection, "putrequest", note)
        store.get("key")
        [sock] = made
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
        assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
