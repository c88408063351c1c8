"""Recorded traces on a real mount: what is written, and that warming from it makes the next run need no store."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import kill, until, worker

from penstock.errors import AccessError, UsageError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.unmount import unmount
from penstock.progress import SILENT
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.warm.trace import Trace
from penstock.repo.warm.warm import WarmOutcome, warm

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]
MIB = 1 << 20
FILES = 300
LARGE = 8 * MIB + 5


@pytest.fixture
def many(demo: LocalBucket, tmp_path: Path) -> Path:
    """Push small files and a large one; return the directory they come from."""
    chance = random.Random(3)
    folder = tmp_path / "many"
    for number in range(FILES):
        place = folder / f"d{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}").write_bytes(chance.randbytes(5000))
    (folder / "large").write_bytes(chance.randbytes(LARGE))
    demo.push(folder)
    return folder


def cold(demo: LocalBucket, tmp_path: Path, name: str) -> Settings:
    return replace(demo.settings, cache_directory=tmp_path / f"cache-{name}")


def use(mountpoint: str, source: Path) -> list[str]:
    """Read some small files in an order of their own, and a piece of the large one; return their paths."""
    order = [f"d{number % 7}/{number:03}" for number in random.Random(4).sample(range(FILES), 60)]
    for path in order:
        assert Path(mountpoint, path).read_bytes() == (source / path).read_bytes()
    with open(f"{mountpoint}/large", "rb", buffering=0) as stream:
        # The kernel reads on behind what it is asked for, unless it is told not to.
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for block in (5, 2, 5):
            assert (
                os.pread(stream.fileno(), 100, block * MIB + 7)
                == (source / "large").read_bytes()[block * MIB + 7 :][:100]
            )
    return order


def status(info: MountInfo) -> MountStatus:
    return ask(info.mountpoint, StatusRequest(), MountStatus, timeout=20)


def warmed(settings: Settings, trace: Path) -> WarmOutcome:
    return warm(parse_handle("demo/data"), (), settings, SILENT, trace=Trace(str(trace)))


def test_a_run_that_was_recorded_needs_no_store_the_next_time(
    demo: LocalBucket, mounts: Mount, many: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "run.trace"
    first = mounts(settings=cold(demo, tmp_path, "first"), options=MountOptions(record_trace=str(trace)))
    order = use(first.mountpoint, many)
    use(first.mountpoint, many)
    unmount(first.mountpoint)

    found = list(Trace(str(trace)))
    assert [access.path for access in found[:60]] == order
    assert [(access.path, access.first) for access in found[60:]] == [("large", 5), ("large", 2)]
    assert Trace(str(trace)).size == 60 * 5000 + sum(access.size for access in found[60:])

    again = cold(demo, tmp_path, "again")
    report = warmed(again, trace)
    assert (report.stopped, report.damaged, report.gone) == ("", (), 0)
    assert report.bytes_warmed == report.bytes == Trace(str(trace)).size
    second = mounts(at="second", settings=again)
    before = status(second)
    use(second.mountpoint, many)
    after = status(second)
    assert (after.misses, after.gets) == (0, before.gets)
    assert after.bytes_fetched == before.bytes_fetched


def test_another_version_is_warmed_with_what_it_still_has(
    demo: LocalBucket, mounts: Mount, many: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "run.trace"
    first = mounts(options=MountOptions(record_trace=str(trace)))
    order = use(first.mountpoint, many)
    unmount(first.mountpoint)
    (many / order[0]).unlink()
    (many / order[1]).unlink()
    (many / order[1]).mkdir()
    (many / order[2]).write_bytes(b"shorter")
    (many / order[3]).write_bytes(b"longer " * 1000)
    (many / "large").write_bytes(b"less")
    demo.push(many)
    report = warmed(cold(demo, tmp_path, "again"), trace)
    assert report.gone == 2
    assert report.stopped == ""
    # Blocks that the large file no longer has are nothing to fetch; whole small files are, as they are now.
    assert report.bytes == report.bytes_warmed == 56 * 5000 + 7 + 7000


def test_a_trace_survives_the_process_that_writes_it(
    mounts: Mount, many: Path, demo: LocalBucket, tmp_path: Path
) -> None:
    trace = tmp_path / "run.trace"
    info = mounts(options=MountOptions(record_trace=str(trace)))
    Path(info.mountpoint, "d0/000").read_bytes()
    until(lambda: "d0/000" in trace.read_text(), "written while the mount lives")
    first = worker(info)
    os.kill(first, 9)
    until(lambda: worker(info) != first, "another process serves")
    with open(trace, "ab") as stream:
        stream.write(b"")
    Path(info.mountpoint, "d1/001").read_bytes()
    until(lambda: "d1/001" in trace.read_text(), "written by the next process")
    kill(info)
    assert [access.path for access in Trace(str(trace))] == ["d0/000", "d1/001"]


def test_where_a_trace_cannot_be_written_nothing_is_mounted(mounts: Mount, many: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a letter")
    with pytest.raises(UsageError, match="is no trace"):
        mounts(options=MountOptions(record_trace=str(tmp_path / "mine")))
    assert (tmp_path / "mine").read_text() == "a letter"
    with pytest.raises(AccessError, match="cannot be written"):
        mounts(options=MountOptions(record_trace=str(tmp_path / "nowhere" / "run.trace")))
    with pytest.raises(UsageError, match="mounted over"):
        mounts(options=MountOptions(record_trace=str(tmp_path / "mnt" / "run.trace")))
    assert not os.path.ismount(tmp_path / "mnt")


def test_an_earlier_trace_is_replaced(mounts: Mount, many: Path, tmp_path: Path) -> None:
    trace = tmp_path / "run.trace"
    for path in ("d0/000", "d1/001"):
        info = mounts(options=MountOptions(record_trace=str(trace)))
        Path(info.mountpoint, path).read_bytes()
        unmount(info.mountpoint)
    assert [access.path for access in Trace(str(trace))] == ["d1/001"]
    header = json.loads(trace.read_text().splitlines()[0])
    assert header["handle"] == "demo/data"
    assert time.time() - trace.stat().st_mtime < 60
