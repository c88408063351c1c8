"""Entries that point to files which cannot be read: their readers get an error in time, and nobody else waits.

The files hang below a file system that does not look as if it could (`servers.hanging`); and there is the mount
whose entries lead into the mount itself.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from servers.hanging import stuck_files
from views.bucket import LocalBucket

from penstock.cache import BlockCache
from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import External
from penstock.manifest.hashing import content_hash
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.unmount import unmount
from penstock.progress import SILENT
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.fetch_pool import FetchPool
from penstock.repo.fetch.regions import Region, RegionPiece
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.push.push import push_in_place
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

pytestmark = [pytest.mark.fuse, pytest.mark.skipif(os.geteuid() != 0, reason="mounts an overlay")]

COUNT = 160
SIZE = 1000
Mount = Callable[..., MountInfo]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory of files that can be read: those in ``far`` as long as nothing hides them."""
    source = tmp_path / "source"
    for name in ("near", "far"):
        (source / name).mkdir(parents=True)
    (source / "near" / "file").write_bytes(b"healthy")
    for number in range(COUNT):
        (source / "far" / str(number)).write_bytes(b"%d" % number * SIZE)
        os.truncate(source / "far" / str(number), SIZE)
    record = Path(os.environ["XDG_STATE_HOME"]) / "penstock"
    record.mkdir(parents=True)
    (record / "local-folders").write_text(f"{source}\n")  # as a push in place notes it
    (record / "local-folders").chmod(0o600)
    return source


def region(path: Path) -> Region:
    body = path.read_bytes()
    return Region(External(f"file://{path}"), (RegionPiece(content_hash(body), 0, len(body)),))


@pytest.fixture
def fetchers(tmp_path: Path) -> Iterator[FetchPool]:
    settings = Settings(tmp_path / "config.toml", tmp_path / "cache", 64 << 20)
    setup = BucketSetup("demo", f"file://{tmp_path}/store", StoreOptions(deadline=2.0), settings)
    with closing(BlockCache(tmp_path / "cache", 64 << 20)), closing(FetchPool(setup, RequestCounts())) as fetchers:
        yield fetchers


@pytest.mark.regress
def test_files_that_hang_end_in_time_and_keep_nobody_waiting(source: Path, fetchers: FetchPool, tmp_path: Path) -> None:
    with open_store(f"file://{tmp_path}/store") as store:
        store.put(object_keys.data_key(content_hash(b"own")), b"own")
    own = Region(content_hash(b"own"), (RegionPiece(content_hash(b"own"), 0, 3),))
    stuck = [region(source / "far" / str(number)) for number in range(COUNT)]
    near = region(source / "near" / "file")
    fetchers.fetch(own)  # its process is there
    with stuck_files(source / "far", COUNT, SIZE), ThreadPoolExecutor(COUNT) as pool:
        begin = time.monotonic()
        answers = [pool.submit(fetchers.fetch, each) for each in stuck]
        while sum(answer.running() for answer in answers) < COUNT:
            time.sleep(0.01)
        assert fetchers.fetch(own) == [True]
        assert fetchers.fetch(near) == [True]
        assert not any(answer.done() for answer in answers), "they waited for the files that hang"
        for answer in answers:
            assert isinstance(answer.exception(20), StoreUnreachableError)
        assert time.monotonic() - begin < 8
        begin = time.monotonic()
        assert fetchers.fetch(near) == [True]  # what hung holds nothing any more
        with pytest.raises(StoreUnreachableError):
            fetchers.fetch(stuck[0])
        assert time.monotonic() - begin < 3
        begin = time.monotonic()
        fetchers.close()
        assert time.monotonic() - begin < 4.5


def test_a_mount_serves_the_rest(source: Path, demo: LocalBucket, mounts: Mount) -> None:
    in_time = Remote(name="demo", url=f"file://{demo.directory}", deadline=3.0)
    settings = replace(demo.settings, remotes={"demo": in_time})
    push_in_place(str(source), parse_handle("demo/data"), settings, Authorship("me", "", "push"), SILENT)
    with stuck_files(source / "far", COUNT, SIZE), ThreadPoolExecutor(COUNT) as pool:
        info = mounts(settings=settings)
        mountpoint = Path(info.mountpoint)
        begun = threading.Semaphore(0)

        def read(number: int) -> int:
            begun.release()
            try:
                (mountpoint / "far" / str(number)).read_bytes()
            except OSError as error:
                return error.errno or 0
            return 0

        begin = time.monotonic()
        answers = [pool.submit(read, number) for number in range(COUNT)]
        for _ in range(COUNT):
            begun.acquire()
        assert (mountpoint / "near" / "file").read_bytes() == b"healthy"
        assert not any(answer.done() for answer in answers), "it waited for the files that hang"
        assert {answer.result(30) for answer in answers} == {errno.EIO}
        assert time.monotonic() - begin < 12
        unmount(info.mountpoint)
    mountpoint = Path(mounts(settings=settings).mountpoint)
    assert (mountpoint / "far" / "7").read_bytes() == (source / "far" / "7").read_bytes()


@pytest.mark.regress
def test_entries_that_lead_into_their_own_mount(source: Path, demo: LocalBucket, mounts: Mount) -> None:
    push_in_place(str(source), parse_handle("demo/data"), demo.settings, Authorship("me", "", "push"), SILENT)
    source.rename(source.with_name("moved"))
    mounts(at="source")
    reader = subprocess.run(
        [sys.executable, "-c", f"open({str(source / 'near' / 'file')!r}, 'rb').read()"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert "PermissionError" in reader.stderr


def test_nothing_is_registered_from_a_file_system_that_a_program_serves(
    source: Path, demo: LocalBucket, mounts: Mount
) -> None:
    demo.push(source)
    mountpoint = mounts().mountpoint
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "push", "--in-place", mountpoint, f"file://{demo.directory}/other"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 6
    assert "is served by a program" in done.stderr
