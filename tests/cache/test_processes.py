"""Several processes with one cache: sharing, killing, forking."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.cache import SMALLEST_BOUND, BlockCache

Block = Callable[..., tuple[bytes, bytes]]


def test_what_one_process_puts_another_gets(tmp_path: Path, block: Block, peer: Callable[..., Any]) -> None:
    other = peer(tmp_path)
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for seed in range(5):
        assert other.ask(f"put {seed} 5000") == "True"
        assert cache.get(block(seed, 5000)[0]) == block(seed, 5000)[1]
        assert cache.put(*block(100 + seed, 5000))
        assert other.ask(f"get {100 + seed} 5000") == "True"
    assert cache.info().segments == 2, "a segment for each writer"
    assert cache.info().blocks == 10
    cache.close()


def test_processes_put_and_get_at_once_within_the_bound(
    tmp_path: Path, block: Block, peer: Callable[..., Any], usage: Callable[[Path], int]
) -> None:
    bound = 2 * SMALLEST_BOUND
    peers = [peer(tmp_path, bound) for _ in range(4)]
    for number, other in enumerate(peers):
        other.send(f"stream {1000 * number} 150000")
    for _ in range(60):
        lines = [other.read().split() for other in peers]
        assert all(stored == "True" for _, stored in lines)
        assert usage(tmp_path) <= bound
    cache = BlockCache(tmp_path, bound)
    latest = [int(seed) for seed, _ in lines]
    for seed in latest:
        key, data = block(seed, 150_000 + seed % 977)
        view = cache.get(key)
        assert view is None or view == data
    for other in peers:
        other.end()
    report = cache.verify()
    assert report.damaged == report.missing == 0
    assert report.blocks == cache.info().blocks > 100
    cache.close()


def test_all_that_fits_is_held_whoever_put_it(tmp_path: Path, block: Block, peer: Callable[..., Any]) -> None:
    bound = 4 * SMALLEST_BOUND
    peers = [peer(tmp_path, bound) for _ in range(3)]
    for step in range(40):
        for number, other in enumerate(peers):
            # Two of three put the same blocks.
            other.send(f"put {step + 1000 * (number // 2)} 100000")
    for other in peers:
        assert [other.read() for _ in range(40)] == ["True"] * 40
        assert other.ask("close") == "closed"
    cache = BlockCache(tmp_path, bound)
    assert cache.info().blocks == 80
    for step in range(40):
        for seed in (step, step + 1000):
            key, data = block(seed, 100_000)
            assert cache.get(key) == data
    cache.close()


def test_a_clear_elsewhere_is_noticed(tmp_path: Path, block: Block, peer: Callable[..., Any]) -> None:
    other = peer(tmp_path)
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    cache.put(*block(1))
    view = cache.get(block(1)[0])
    assert other.ask("put 2 1000") == "True"
    assert int(other.ask("clear")) > 0
    assert view == block(1)[1]
    assert cache.get(block(1)[0]) is None
    assert cache.put(*block(3))
    assert cache.get(block(3)[0]) == block(3)[1]
    assert other.ask("get 3 1000") == "True"
    assert other.ask("put 4 1000") == "True"
    cache.clear()
    assert other.ask("get 4 1000") == "none"
    assert other.ask("put 5 1000") == "True"
    assert cache.get(block(5)[0]) == block(5)[1]
    assert other.ask("mode") == "ok"
    cache.close()


def test_an_evicted_segment_is_not_kept_on_disk_by_who_mapped_it(
    tmp_path: Path, block: Block, peer: Callable[..., Any]
) -> None:
    other = peer(tmp_path)
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for seed in range(30):
        assert other.ask(f"put {seed} 400000") == "True"
        assert cache.get(block(seed, 400_000)[0]) is not None

    def evicted_but_mapped() -> list[str]:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return [line for line in maps if f"{tmp_path}/segments" in line and line.endswith("(deleted)")]

    while not evicted_but_mapped():
        seed += 1
        assert other.ask(f"put {seed} 400000") == "True"
        assert seed < 2000
    cache.trim()
    assert evicted_but_mapped() == []
    cache.close()


def test_the_index_is_lost_while_two_use_it(tmp_path: Path, block: Block, peer: Callable[..., Any]) -> None:
    other = peer(tmp_path)
    for seed in range(5):
        assert other.ask(f"put {seed} 5000") == "True"
    shutil.rmtree(tmp_path / "index-2")
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for seed in range(5):
        assert cache.get(block(seed, 5000)[0]) == block(seed, 5000)[1]
    assert other.ask("put 6 5000") == "True"
    assert cache.get(block(6, 5000)[0]) == block(6, 5000)[1]
    assert other.ask("mode") == "ok"
    cache.close()


@pytest.mark.slow
def test_writers_killed_at_any_moment_leave_only_whole_blocks(
    tmp_path: Path, block: Block, peer: Callable[..., Any], usage: Callable[[Path], int]
) -> None:
    rng = random.Random(11)
    for turn in range(20):
        start = 1000 * turn
        other = peer(tmp_path)
        other.send(f"stream {start} {rng.choice([3000, 60_000, 900_000])}")
        for _ in range(rng.randrange(1, 40)):
            assert other.read().endswith("True")
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        if turn % 3 == 0:
            shutil.rmtree(tmp_path / "index-2")
        assert usage(tmp_path) <= SMALLEST_BOUND
        cache = BlockCache(tmp_path, SMALLEST_BOUND)
        report = cache.verify()
        assert report.damaged == 0
        assert report.blocks > 0
        assert cache.put(*block(start, 5000))
        assert cache.get(block(start, 5000)[0]) == block(start, 5000)[1]
        assert cache.info().quarantined == 0
        cache.close()


def run_in_child(work: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 2
        except AssertionError:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_children_and_the_parent_go_on(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for seed in range(10):
        cache.put(*block(seed))
    view = cache.get(block(0)[0])

    def child() -> bool:
        mine = block(os.getpid())
        for key, data in [block(seed) for seed in range(10)]:
            assert cache.get(key) == data, cache.info()
        assert view == block(0)[1]
        assert cache.put(*mine), cache.info()
        assert cache.get(mine[0]) == mine[1], cache.info()
        cache.close()
        return True

    stop = threading.Event()
    wrong: list[int] = []

    def hammer(turn: int) -> None:
        seed = 100 + turn
        while not stop.is_set():
            seed += 7
            key, data = block(seed % 400 + 100, 3000)
            found = cache.get(key)
            if found is None:
                cache.put(key, data)
            elif found != data:
                wrong.append(seed)

    threads = [threading.Thread(target=hammer, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            children = [run_in_child(child) for _ in range(2)]
            assert [ended_well(pid) for pid in children] == [True, True]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert cache.info().mode == "ok"
    assert cache.put(*block(10**6))
    assert cache.get(block(5)[0]) == block(5)[1]
    assert cache.verify().damaged == 0
    cache.close()


def test_a_child_that_outlives_its_parent_does_not_hold_the_parents_segment(
    tmp_path: Path, block: Block, segment_files: Callable[[Path], list[Path]]
) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    cache.put(*block(1))
    read_end, write_end = os.pipe()
    pid = run_in_child(lambda: (os.close(write_end), os.read(read_end, 1) == b"")[1])
    os.close(read_end)
    cache.close()
    again = BlockCache(tmp_path, SMALLEST_BOUND)
    assert again.put(*block(2))
    assert len(segment_files(tmp_path)) == 1, "the parent's segment was adopted"
    again.close()
    os.close(write_end)
    assert ended_well(pid)
