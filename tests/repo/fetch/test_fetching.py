"""Processes that fetch: blocks through the shared cache, errors passed on, deaths survived, bytes in flight bounded."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from servers.faultproxy import FaultProxy
from servers.faults import FlipByte, Stall

from penstock.cache import BlockCache
from penstock.errors import AccessError, IntegrityError, StoreUnreachableError
from penstock.manifest.entry import External
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.fetch_messages import FetchAnswer
from penstock.repo.fetch.fetch_pool import FetchPool
from penstock.repo.fetch.hedge_policy import BURST, SHARE
from penstock.repo.fetch.hedged_call import HedgedCalls
from penstock.repo.fetch.regions import Region, RegionPiece, RegionReader
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.settings import Settings
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

MIB = 1 << 20
CACHE = 64 * MIB

Made = tuple[FetchPool, BlockCache, RequestCounts]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def store_pack(url: str, options: StoreOptions, blocks: list[bytes]) -> Region:
    """Put blocks side by side into one data object; the region that is all of them."""
    body = b"".join(blocks)
    with open_store(url, options) as store:
        store.put(object_keys.data_key(content_hash(body)), body)
    pieces, at = [], 0
    for block in blocks:
        pieces.append(RegionPiece(content_hash(block), at, len(block)))
        at += len(block)
    return Region(content_hash(body), tuple(pieces))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def make(url: str, options: StoreOptions, *, budget: int = 64 * MIB, counters: RequestCounts | None = None) -> Made:
        cache = BlockCache(tmp_path / "cache", CACHE)
        counters = counters or RequestCounts()
        setup = BucketSetup("demo", url, options, Settings(tmp_path / "config.toml", tmp_path / "cache", CACHE))
        made.append((FetchPool(setup, counters, budget=budget), cache, counters))
        return made[-1]

    yield make
    for fetchers, cache, _ in made:
        fetchers.close()
        cache.close()


def test_blocks_come_through_the_cache(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    blocks = [os.urandom(size) for size in (1, 4096, MIB)]
    region = store_pack(url, StoreOptions(), blocks)
    fetchers, cache, counters = make(url, StoreOptions())
    assert fetchers.pids() == []  # none before there is something to do
    assert fetchers.fetch(region) == [True, True, True]
    assert [cache.get(content_hash(block)) for block in blocks] == blocks
    counts = counters.snapshot()
    assert (counts["gets"], counts["bytes_fetched"]) == (1, sum(map(len, blocks)))
    assert fetchers.budget.held == 0


def test_only_the_blocks_asked_for_are_kept(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    blocks = [os.urandom(1000) for _ in range(5)]
    whole = store_pack(url, StoreOptions(), blocks)
    fetchers, cache, _ = make(url, StoreOptions())
    fetchers.fetch(Region(whole.object, whole.pieces[1:4:2]))
    assert [content_hash(block) in cache for block in blocks] == [False, True, False, True, False]


def test_an_object_that_is_gone(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    region = store_pack(url, StoreOptions(), [b"block"])
    fetchers, _, _ = make(url, StoreOptions())
    with open_store(url) as store:
        store.delete([object_keys.data_key(region.object)])  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match="cannot be read") as caught:
        fetchers.fetch(region)
    assert caught.value.fix


def test_an_error_about_a_path_that_is_no_text_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(state + b"/penstock/local-folders")  # where the list of allowed folders should be, a file
    monkeypatch.setenv("XDG_STATE_HOME", os.fsdecode(state))
    settings = Settings(tmp_path / "config.toml", tmp_path / "cache", CACHE)
    setup = BucketSetup("demo", f"file://{tmp_path}/store", StoreOptions(deadline=5.0), settings)
    region = Region(External(f"file://{tmp_path}/outside"), (RegionPiece(content_hash(b"x"), 0, 1),))
    told = pytest.raises(AccessError, match=r"caf\\udce9/penstock/local-folders, cannot be used")
    with closing(FetchPool(setup, RequestCounts())) as fetchers, told:
        fetchers.fetch(region)


def test_wrong_bytes_never_reach_the_cache(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    region = store_pack(url, StoreOptions(), [b"good", b"also"])
    path = tmp_path / "store" / object_keys.data_key(region.object)  # type: ignore[arg-type]
    path.chmod(0o644)
    path.write_bytes(b"gxodalso")
    fetchers, cache, _ = make(url, StoreOptions())
    with pytest.raises(IntegrityError, match="not what was written"):
        fetchers.fetch(region)
    assert content_hash(b"gxod") not in cache


def at(region: Region) -> Callable[[str, str], bool]:
    key = object_keys.data_key(region.object)  # type: ignore[arg-type]
    return lambda method, path: method == "GET" and key in path


def options_through(proxy: FaultProxy, **more: float) -> StoreOptions:
    return StoreOptions(endpoint_url=proxy.endpoint, addressing_style="path", **more)  # type: ignore[arg-type]


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_a_flip_on_the_way_is_healed(fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]) -> None:
    options = options_through(fault_proxy)
    block = os.urandom(5000)
    region = store_pack(f"s3://{bucket}", options, [block])
    fetchers, cache, counters = make(f"s3://{bucket}", options)
    fault_proxy.fail(fault=FlipByte(100), match=lambda method, path: method == "GET")
    assert fetchers.fetch(region) == [True]
    assert cache.get(content_hash(block)) == block
    assert counters.snapshot()["corrupt_answers"] == 1


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_killed_while_it_fetches(fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]) -> None:
    options = options_through(fault_proxy)
    block = os.urandom(MIB)
    region = store_pack(f"s3://{bucket}", options, [block])
    fetchers, cache, _ = make(f"s3://{bucket}", options)
    armed = fault_proxy.fail(fault=Stall(60), match=lambda method, path: method == "GET")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fetchers.fetch, region)
        until(lambda: armed.struck == 1)
        (pid,) = fetchers.pids()
        os.kill(pid, signal.SIGKILL)
        assert answer.result(20) == [True]  # another process was asked
    assert cache.get(content_hash(block)) == block
    assert pid not in fetchers.pids()


def message(told: object) -> bytes:
    body = msgspec.msgpack.encode(told)
    return len(body).to_bytes(4, "little") + body


ANSWER = FetchAnswer(1, [True], None, {}, "ok")
NO_ANSWERS = {
    "no MessagePack": b"\x03\0\0\0\xc1\xc1\xc1",
    "of another form": message(["answer", "1", [True], None, {}, "ok"]),
    "of an unknown kind": message(["greeting", 1]),
    "longer than a message": b"\xff" * 64,
    "to what nobody asked": message(msgspec.structs.replace(ANSWER, number=7)),
    "about other blocks": message(msgspec.structs.replace(ANSWER, kept=[True, True])),
    "with no sensible counts": message(msgspec.structs.replace(ANSWER, counts={"self": "x"})),
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_a_process_that_says_what_is_no_answer_is_killed_and_another_asked(
    tmp_path: Path, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    block = os.urandom(1000)
    region = store_pack(f"file://{tmp_path}/store", StoreOptions(), [block])
    # The first process reads its setup and a request, says that, and stays; those after it are the real ones.
    (tmp_path / "said").write_bytes(said)
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
mkdir {tmp_path}/first 2>/dev/null || exec {sys.executable} "$@"
echo $$ > {tmp_path}/pid
length=$(head -c 4 | od -An -tu4)
head -c $((length + 5)) > /dev/null
cat {tmp_path}/said
exec sleep 300
"""
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    fetchers, cache, _ = make(f"file://{tmp_path}/store", StoreOptions(deadline=60.0))
    begun = time.monotonic()
    assert fetchers.fetch(region) == [True]
    assert time.monotonic() - begun < 15  # the request's own deadline is two minutes, that of a start half of one
    assert cache.get(content_hash(block)) == block
    assert int((tmp_path / "pid").read_text()) not in fetchers.pids()
    until(lambda: not Path("/proc", (tmp_path / "pid").read_text().strip()).exists())


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_a_store_that_stalls(fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]) -> None:
    region = store_pack(f"s3://{bucket}", options_through(fault_proxy), [b"block"])
    fetchers, _, _ = make(f"s3://{bucket}", options_through(fault_proxy, deadline=2.0, read_timeout=1.0))
    fault_proxy.fail(fault=Stall(60), match=lambda method, path: method == "GET", times=100)
    begin = time.monotonic()
    with pytest.raises(StoreUnreachableError):
        fetchers.fetch(region)
    assert time.monotonic() - begin < 15
    until(lambda: fetchers.budget.held == 0)  # a second request ends a little later


def of_data(method: str, path: str) -> bool:
    return method == "GET" and "/data/" in path


@contextmanager
def reading(
    way: str, url: str, options: StoreOptions, make: Callable[..., Made], counters: RequestCounts
) -> Iterator[Callable[[Region], object]]:
    """Yield what reads a region, by processes or here; `counters` count it."""
    if way == "by processes":
        yield make(url, options, counters=counters)[0].fetch
    else:
        with open_store(url, options) as store:
            yield RegionReader(store, no_externals, counters, HedgedCalls(counters)).read


def seconds_of(read: Callable[[Region], object], region: Region) -> float:
    begin = time.monotonic()
    read(region)
    return time.monotonic() - begin


def no_externals(uri: str) -> NoReturn:
    raise AssertionError(uri)


WAYS = pytest.mark.parametrize("way", ["by processes", "here"])


@WAYS
@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_a_request_that_stalls_is_sent_again(
    fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made], way: str
) -> None:
    options = options_through(fault_proxy)  # a deadline of 60 seconds
    url = f"s3://{bucket}"
    regions = [store_pack(url, options, [os.urandom(50_000), os.urandom(50_000)]) for _ in range(30)]
    counters = RequestCounts()
    with reading(way, url, options, make, counters) as read, ThreadPoolExecutor(4) as pool:
        read(regions[0])
        begin = time.monotonic()
        stalled = [
            fault_proxy.fail(fault=Stall(50), match=at(regions[10])),
            fault_proxy.fail(fault=Stall(50, after_bytes=60_000), match=at(regions[20])),
        ]
        found = list(pool.map(read, regions))
        assert time.monotonic() - begin < 15
        assert [armed.struck for armed in stalled] == [1, 1]
        assert counters.snapshot()["hedges"] >= 2
        for region, got in zip(regions, found, strict=True):
            if way == "by processes":
                assert got == [True, True]
            else:
                assert isinstance(got, list)
                assert [content_hash(block) for block in got] == [piece.digest for piece in region.pieces]


@WAYS
@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_a_store_that_is_slow_for_all_is_not_asked_for_more(
    fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made], way: str
) -> None:
    options = options_through(fault_proxy)
    url = f"s3://{bucket}"
    regions = [store_pack(url, options, [os.urandom(1000)]) for _ in range(100)]
    counters = RequestCounts()
    with reading(way, url, options, make, counters) as read, ThreadPoolExecutor(16) as pool:
        slowest = max(pool.map(partial(seconds_of, read), regions[:20]))
        assert fault_proxy.count("GET", of_data) <= 20 + BURST + SHARE * 20
        late = 0.2 + 2 * slowest  # as the policy has it, whatever else the machine does
        fault_proxy.fail(fault=Stall(late + 0.5), match=of_data, times=10_000)
        list(pool.map(read, regions[20:]))
        assert 1 <= counters.snapshot()["hedges"] <= BURST + SHARE * 100
        assert fault_proxy.count("GET", of_data) <= 120  # a slow machine may make some wait beyond a time limit


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_what_nobody_waits_for_counts_until_it_ends(
    fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]
) -> None:
    options = options_through(fault_proxy, deadline=8.0)
    block = os.urandom(1000)
    region = store_pack(f"s3://{bucket}", options, [block])
    fetchers, _, counters = make(f"s3://{bucket}", options)
    fault_proxy.fail(fault=Stall(60), match=of_data)
    assert fetchers.fetch(region) == [True]
    assert counters.snapshot()["hedges"] == 1
    assert fetchers.budget.held == 1000
    until(lambda: fetchers.budget.held == 0)


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_no_second_request_beyond_the_budget(fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]) -> None:
    options = options_through(fault_proxy)
    region = store_pack(f"s3://{bucket}", options, [os.urandom(MIB)])
    fetchers, _, counters = make(f"s3://{bucket}", options, budget=MIB + 1)
    armed = fault_proxy.fail(fault=Stall(2.5), match=of_data)
    assert fetchers.fetch(region) == [True]
    assert (armed.struck, counters.snapshot()["hedges"]) == (1, 0)


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_who_finds_no_room_is_not_kept_waiting_by_a_dead_store(
    fault_proxy: FaultProxy, bucket: str, make: Callable[..., Made]
) -> None:
    options = options_through(fault_proxy, deadline=2.0)
    regions = [store_pack(f"s3://{bucket}", options, [os.urandom(MIB)]) for _ in range(16)]
    fetchers, _, _ = make(f"s3://{bucket}", options, budget=MIB)
    fault_proxy.fail(fault=Stall(60), match=of_data, times=1000)
    begin = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        for answer in [pool.submit(fetchers.fetch, region) for region in regions]:
            assert isinstance(answer.exception(60), StoreUnreachableError)
    assert time.monotonic() - begin < 20  # and not one after the other


def test_many_at_once_within_the_budget(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    regions = [store_pack(url, StoreOptions(), [os.urandom(MIB)]) for _ in range(12)]
    fetchers, cache, _ = make(url, StoreOptions(), budget=3 * MIB)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, fetchers.budget.held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(fetchers.fetch, regions)) == [[True]] * 12
    done.set()
    watcher.join()
    assert 0 < most <= 3 * MIB
    assert all(region.pieces[0].digest in cache for region in regions)


def test_they_end_with_their_owner(tmp_path: Path, make: Callable[..., Made]) -> None:
    url = f"file://{tmp_path}/store"
    region = store_pack(url, StoreOptions(), [b"block"])
    fetchers, _, _ = make(url, StoreOptions())
    fetchers.fetch(region)
    pids = fetchers.pids()
    fetchers.close()
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(StoreUnreachableError):
        fetchers.fetch(region)
