"""A store that answers badly, or not at all: every read ends in the right bytes, or in EIO within its deadline."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Fault, FlipByte, Reset, Stall, Status, Truncate
from views.bucket import write_tree
from views.living import until
from views.memory import Made
from views.outcomes import EIO, read_within

from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus
from penstock.repo.settings.settings import Settings

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]

SIZE = 1_500_000  # two blocks
NAMES = [f"{number:02d}" for number in range(24)]
SCATTERED = random.Random(3).sample(NAMES, len(NAMES))  # so that none is fetched ahead of its turn

INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Try again.</Message></Error>"
BURSTS: list[tuple[Fault, int]] = [
    (Status(503), 5),
    (Status(500, INTERNAL), 5),
    (Status(502, b"<html>bad gateway</html>", (("Content-Type", "text/html"),)), 3),
    (Status(429, b""), 3),
    (Reset(), 5),
    (Reset(after_forward=True), 3),
    (Truncate(0), 2),
    (Truncate(70_000), 4),
    (FlipByte(70_000), 1),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory of files of two blocks each."""
    rng = random.Random(2)
    write_tree(tmp_path / "source", {name.encode(): Made(rng.randbytes(SIZE)) for name in NAMES})
    return tmp_path / "source"


def of_data(method: str, path: str) -> bool:
    return method == "GET" and "/data/" in path


def test_bursts_of_errors_cost_time_and_nothing_else(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=behind_proxy(24.0))
    for name, (fault, times) in zip(SCATTERED, BURSTS, strict=False):
        armed = fault_proxy.fail(fault=fault, match=of_data, times=times)
        assert read_within(60, Path(info.mountpoint, name)) == (source / name).read_bytes(), fault
        assert armed.struck == times, fault
        fault_proxy.heal()
    assert info.log is not None
    assert "Traceback" not in Path(info.log).read_text()


def test_what_stays_bad_is_an_error_within_the_deadline_and_then_good_again(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=behind_proxy(2.0))
    bad: list[Fault] = [
        Status(503),
        Reset(),
        Stall(60),
        Stall(60, after_bytes=1000),
        Truncate(1000),
        FlipByte(1000),
    ]
    for name, fault in zip(SCATTERED, bad, strict=False):
        path = Path(info.mountpoint, name)
        armed = fault_proxy.fail(fault=fault, match=of_data, times=10_000)
        # The kernel asks twice: for what it would read ahead, then for what is wanted.
        assert read_within(2 * 2 + 16, path) == EIO, fault
        assert armed.struck > 0
        fault_proxy.heal()
        assert read_within(30, path) == (source / name).read_bytes(), fault


def test_readers_at_work_while_the_store_is_gone_for_longer_than_the_deadline(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=behind_proxy(2.0))
    place = Path(info.mountpoint)
    stalled = fault_proxy.fail(fault=Stall(60), match=of_data, times=10_000)
    with ThreadPoolExecutor(8) as pool:
        early = [pool.submit(read_within, 30, place / name) for name in SCATTERED[:4]]
        until(lambda: stalled.struck >= 2, "they wait for the store")
        fault_proxy.down()
        fault_proxy.heal()
        late = [pool.submit(read_within, 30, place / name) for name in SCATTERED[4:8]]
        assert {future.result() for future in early + late} == {EIO}
        fault_proxy.up()
        again = {name: pool.submit(read_within, 30, place / name) for name in SCATTERED[:8]}
        for name, future in again.items():
            assert future.result() == (source / name).read_bytes()


def test_one_answer_that_stalls_does_not_hold_its_reader_up(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=behind_proxy(120.0))
    place = Path(info.mountpoint)
    for name in SCATTERED[:10]:
        assert read_within(30, place / name) == (source / name).read_bytes()
    stalled = fault_proxy.fail(fault=Stall(100), match=of_data)
    assert read_within(15, place / SCATTERED[10]) == (source / SCATTERED[10]).read_bytes()
    assert stalled.struck == 1
    status = ask(info.mountpoint, StatusRequest(), MountStatus)
    assert status.hedges >= 1
    assert status.in_flight > 0  # it is still waited for, by nobody
