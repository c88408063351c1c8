"""Warming: all of a version or some of it goes into the cache, once, within the bound, whatever else goes wrong."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Status

from penstock.errors import AccessError, NotFoundError, StoreUnreachableError
from penstock.manifest.entry import block_count
from penstock.progress import SILENT, Progress, ProgressMeter, StageState
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.warm.warm import WarmOutcome, warm

MIB = 1 << 20
SHARED = os.urandom(70_000)


def warmed(world: Any, settings: Settings, *paths: str, watched: Progress = SILENT) -> WarmOutcome:
    return warm(parse_handle(world.handle()), paths, settings, watched)


def content() -> dict[bytes, Any]:
    files: dict[bytes, Any] = {b"small/%03d" % number: os.urandom(2000 + number) for number in range(300)}
    files[b"big/one"] = os.urandom(5 * MIB + 17)
    files[b"copies/first"] = files[b"copies/second"] = SHARED
    files[b"empty"] = b""
    return files


def in_cache(world: Any, settings: Settings) -> int:
    """Return the bytes of a version's files that the cache has, each content once."""
    snapshot = world.open(settings=settings)
    sizes = {}
    for _, entry in snapshot.tree.walk():
        if entry.is_file:
            for index in range(block_count(entry.size)):
                sizes[snapshot.block_hash(entry, index)] = min(MIB, entry.size - index * MIB)
    missing = snapshot.missing_blocks(list(sizes))
    return sum(sizes.values()) - sum(sizes[digest] for digest in missing)


def test_everything_is_there_afterwards_and_nothing_is_fetched_twice(world: Any) -> None:
    files = content()
    world.push(world.plant(files))
    there = world.machine("there")
    size = sum(len(body) for body in files.values())
    watched = ProgressMeter()
    report = warmed(world, there, watched=watched)
    assert (report.files, report.bytes, report.stopped, report.damaged) == (len(files), size, "", ())
    assert report.bytes_warmed == size - len(SHARED)
    assert report.bytes_there == len(SHARED)  # the second copy
    assert report.bytes_fetched < size * 1.05
    assert report.gets <= 8
    assert watched.states() == [StageState("warming", size, size)]

    again = warmed(world, there)
    assert (again.bytes_warmed, again.bytes_fetched, again.gets, again.bytes_there) == (0, 0, 0, size)

    for path in Path(world.folder, "store", ".penstock").glob("*/??/*"):
        path.unlink()  # data and nodes are gone; only what is in the cache can be read
    assert world.read_back(world.open(settings=there)) == files


def test_only_the_paths_that_were_asked_for(world: Any) -> None:
    files = content()
    world.push(world.plant(files))
    there = world.machine("there")
    report = warmed(world, there, "small", "copies/first")
    wanted = sum(len(body) for path, body in files.items() if path.startswith(b"small/")) + len(SHARED)
    assert (report.bytes, report.bytes_warmed, report.files) == (wanted, wanted, 301)
    assert in_cache(world, there) == wanted
    with pytest.raises(NotFoundError, match="smal"):
        warmed(world, there, "smal")


def test_it_ends_at_the_bound_and_evicts_nothing(world: Any) -> None:
    files = {b"%02d" % number: os.urandom(3 * MIB) for number in range(20)}
    world.push(world.plant(files))
    here = world.machine("small")
    small = Settings(here.config_path, here.cache_directory, 40 * MIB, {})
    watched = ProgressMeter()
    report = warmed(world, small, watched=watched)
    assert "is full" in report.stopped
    assert 15 * MIB < report.bytes_warmed < 40 * MIB
    assert in_cache(world, small) == report.bytes_warmed  # nothing of it was evicted for the rest
    assert watched.states()[0].done == report.bytes_warmed
    again = warmed(world, small)
    assert (again.bytes_warmed, again.bytes_there) == (0, report.bytes_warmed)
    assert in_cache(world, small) == report.bytes_warmed
    larger = Settings(here.config_path, here.cache_directory, 120 * MIB, {})
    rest = warmed(world, larger)
    assert (rest.stopped, rest.bytes_there, rest.bytes_warmed) == (
        "",
        report.bytes_warmed,
        60 * MIB - report.bytes_warmed,
    )


def test_many_tiny_files_do_not_fill_the_index_into_evictions(world: Any) -> None:
    world.push(world.plant({b"%05d" % number: b"%d" % number for number in range(6000)}))
    here = world.machine("small")
    small = Settings(here.config_path, here.cache_directory, 32 * MIB, {})
    report = warmed(world, small)
    assert in_cache(world, small) == report.bytes_warmed
    assert report.stopped == "" or "is full" in report.stopped


def test_what_is_damaged_in_the_store_is_told_and_the_rest_is_warmed(world: Any) -> None:
    files = {b"%d" % number: os.urandom(100_000) for number in range(8)}
    world.push(world.plant(files))
    (data,) = Path(world.folder, "store", ".penstock", "data").glob("??/*")
    data.chmod(0o644)
    with open(data, "r+b") as pack:
        pack.seek(250_000)
        pack.write(b"not what was there")
    there = world.machine("there")
    report = warmed(world, there)
    (told,) = report.damaged
    assert "are not what was written" in told
    assert (report.stopped, report.bytes_warmed, report.bytes_there) == ("", 700_000, 0)
    assert in_cache(world, there) == 700_000


@pytest.mark.s3
def test_a_store_that_goes_away_ends_it_and_what_is_there_stays(s3_world: Any, fault_proxy: FaultProxy) -> None:
    size = 24 * MIB
    s3_world.push(s3_world.plant({b"large": os.urandom(size)}))
    lab = Remote(
        name="lab", url=s3_world.bucket, endpoint_url=fault_proxy.endpoint, addressing_style="path", deadline=2.0
    )
    away = replace(s3_world.machine("away"), remotes={"lab": lab})
    served = itertools.count()

    def after_some(method: str, path: str) -> bool:
        return method == "GET" and "/data/" in path and next(served) >= 3

    fault_proxy.fail(fault=Status(503), match=after_some, times=1000)
    assert isinstance(warm(parse_handle("lab/things"), [], away, SILENT).error, StoreUnreachableError)
    fault_proxy.heal()
    report = warm(parse_handle("lab/things"), [], away, SILENT)
    # Of the three answers, one may be to a request that was sent again because the machine was slow.
    assert report.bytes_there >= 3 * MIB
    assert report.bytes_there + report.bytes_warmed == size


def test_a_cache_that_does_not_work_is_told_at_once(world: Any) -> None:
    world.push(world.plant({b"a": b"1"}))
    there = world.machine("there")
    there.cache_directory.mkdir(mode=0o700)
    (there.cache_directory / "segments").write_text("in the way")
    with pytest.raises(AccessError, match="degraded"):
        warmed(world, there)
