"""Announced orders on a real mount: what is announced is there before it is opened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from servers.latency import LatencyProxy
from servers.rgw import RadosGateway
from views.bucket import LocalBucket, push
from views.living import kill, until, worker

import penstock
from penstock.errors import NotFoundError, UsageError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.vfs.ahead.small_file_rules import RUN_MOST

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]
FILES = 3000
SIZE = 10_000


@pytest.fixture
def far(
    demo: LocalBucket, bucket: str, aws_environment: dict[str, str], gateway: RadosGateway, tmp_path: Path
) -> Iterator[Callable[[str, int], Settings]]:
    """Push many small files to S3; return what makes settings, with a cache of their own, of a machine far from it."""
    del aws_environment
    chance = random.Random(3)
    folder = tmp_path / "many"
    for number in range(FILES):
        place = folder / f"d{number % 30:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05}").write_bytes(chance.randbytes(SIZE))
    plain = replace(demo.settings, remotes={})
    push(folder, f"s3://{bucket}/data", plain)
    with LatencyProxy(gateway.endpoint) as proxy:

        def settings(name: str, cache_size: int) -> Settings:
            lab = Remote(name="lab", url=f"s3://{bucket}", endpoint_url=proxy.endpoint, addressing_style="path")
            return replace(
                plain, cache_directory=tmp_path / f"cache-{name}", cache_size=cache_size, remotes={"lab": lab}
            )

        yield settings


def status(info: MountInfo) -> MountStatus:
    return ask(info.mountpoint, StatusRequest(), MountStatus, timeout=20)


def read_all(source: Path, mounted: str, paths: list[str]) -> float:
    """Read files and compare them; return the seconds that it took."""
    took = 0.0
    for path in paths:
        begun = time.monotonic()
        found = Path(mounted, path).read_bytes()
        took += time.monotonic() - begun
        assert found == (source / path).read_bytes(), path
    return took


def sample(count: int) -> list[str]:
    return [f"d{number % 30:02}/{number:05}" for number in random.Random(9).sample(range(FILES), count)]


@pytest.mark.s3
def test_a_reader_in_announced_order_waits_far_less(
    far: Callable[[str, int], Settings], mounts: Mount, tmp_path: Path
) -> None:
    # A cache that does not hold the version, so that nothing else fetches it ahead.
    size = 32 << 20
    order = sample(250)
    without = mounts("lab/data", "without", settings=far("without", size))
    alone = read_all(tmp_path / "many", without.mountpoint, order)
    misses = status(without).misses
    assert misses >= 150

    announced = mounts("lab/data", "announced", settings=far("announced", size))
    before = status(announced).bytes_fetched
    penstock.announce([f"{announced.mountpoint}/{path}" for path in order])
    led = read_all(tmp_path / "many", announced.mountpoint, order)
    found = status(announced)
    assert found.misses <= misses / 10
    assert led < alone / 2
    assert found.bytes_fetched - before <= 1.1 * len(order) * SIZE


@pytest.mark.s3
def test_a_whole_epoch_takes_few_requests_and_each_byte_once(
    far: Callable[[str, int], Settings], mounts: Mount, tmp_path: Path
) -> None:
    info = mounts("lab/data", settings=far("whole", 1 << 30))
    order = sample(FILES)
    before = status(info).bytes_fetched
    penstock.announce(order, mountpoint=info.mountpoint)
    read_all(tmp_path / "many", info.mountpoint, order)
    found = status(info)
    assert found.misses <= FILES / 20
    # What a busy machine is late with is asked for a second time, a run at the most.
    assert found.bytes_fetched - before <= 1.1 * FILES * SIZE + found.hedges * RUN_MOST
    assert found.gets <= FILES / 10
    # The next epoch, of a smaller part, takes the place of this one, and fetches nothing.
    penstock.announce(order[:100], mountpoint=info.mountpoint)
    read_all(tmp_path / "many", info.mountpoint, order[:100])
    assert status(info).gets == found.gets


def test_paths_of_every_kind(mounted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    penstock.announce([mounted / "big.bin", os.fsencode(mounted / "small.txt"), f"{mounted}/bin/again"])
    penstock.announce([b"names/not-utf8-\xff\xfe", "names/a\nb"], mountpoint=mounted, name="worker 1")
    monkeypatch.chdir(mounted / "bin")
    penstock.announce(["hello", "../old"])
    (tmp_path / "shortcut").symlink_to(mounted)
    penstock.announce(["old"], mountpoint=tmp_path / "shortcut")
    penstock.announce([tmp_path / "shortcut" / "bin" / "hello"])
    penstock.announce([])
    penstock.announce([], mountpoint=mounted)
    (tmp_path / "bound").mkdir()
    subprocess.run(["mount", "--bind", mounted / "bin", tmp_path / "bound"], check=True)
    penstock.announce([tmp_path / "bound" / "hello"])
    penstock.announce(["hello"], mountpoint=tmp_path / "bound")


def test_paths_that_are_not_there_are_named(mounted: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere.*not in the version"):
        penstock.announce([mounted / "small.txt", mounted / "nowhere"])
    with pytest.raises(NotFoundError, match="bin/nothing"):
        penstock.announce(["bin/hello", "bin/nothing"], mountpoint=mounted)
    with pytest.raises(UsageError, match="no file"):
        penstock.announce([mounted / "bin"])
    with pytest.raises(NotFoundError, match="in no mount"):
        penstock.announce([tmp_path / "source" / "small.txt"])
    with pytest.raises(NotFoundError, match="not in the mount"):
        penstock.announce([tmp_path / "source" / "small.txt"], mountpoint=mounted)
    with pytest.raises(NotFoundError, match="nothing is mounted"):
        penstock.announce(["small.txt"], mountpoint=tmp_path)


def test_a_long_announcement_goes_in_parts(mounted: Path) -> None:
    penstock.announce(["names/" + "x" * 255] * 6000, mountpoint=mounted)
    assert (mounted / "small.txt").read_bytes() == b"hello world\n"


def test_an_announcement_dies_with_the_process_that_serves_and_harms_nobody(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    penstock.announce(["small.txt", "old"], mountpoint=info.mountpoint)
    first = worker(info)
    os.kill(first, 9)
    until(lambda: worker(info) != first, "another process serves")
    assert Path(info.mountpoint, "small.txt").read_bytes() == b"hello world\n"
    penstock.announce(["big.bin"], mountpoint=info.mountpoint)
    kill(info)


def test_announcing_takes_neither_the_mount_nor_the_store_along() -> None:
    program = "import sys, penstock; penstock.announce; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"boto3", "botocore", "lmdb", "pyfuse3", "trio", "click", "rich"})
