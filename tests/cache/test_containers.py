"""What a cache meets in containers: process ids that two of them have, limits on memory, holders that stand still."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.cache import SMALLEST_BOUND, BlockCache

Block = Callable[..., tuple[bytes, bytes]]

PEER = """
import random, sys
from blake3 import blake3
from pathlib import Path
from penstock.cache import BlockCache

cache = BlockCache(Path(sys.argv[1]), int(sys.argv[2]))
print(cache.mode, flush=True)
for line in sys.stdin:
    word, seed, size = line.split()
    data = random.Random(int(seed)).randbytes(int(size))
    key = blake3(data).digest()
    print(cache.put(key, data) if word == "put" else cache.get(key) == data, cache.mode, flush=True)
"""


class Container:
    """A process with the cache open that has id 1 in a PID namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [
                "unshare",
                "--pid",
                "--fork",
                "--kill-child",
                sys.executable,
                "-c",
                PEER,
                str(directory),
                str(2 * SMALLEST_BOUND),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.mode = self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[tuple[Container, Container]]:
    if os.geteuid() != 0:
        pytest.skip("only root makes PID namespaces")
    both = Container(tmp_path / "cache"), Container(tmp_path / "cache")
    yield both
    for each in both:
        each.end()


@pytest.mark.regress
def test_two_containers_with_the_same_process_ids_share_a_cache(
    tmp_path: Path, containers: tuple[Container, Container], block: Block
) -> None:
    assert [each.mode for each in containers] == ["ok", "ok"]
    for step in range(60):
        for number, each in enumerate(containers):
            each.send(f"put {2 * step + number} {40_000 + 100 * step}")
    for each in containers:
        assert [each.read() for _ in range(60)] == ["True ok"] * 60
    for step in range(60):
        for number, each in enumerate(containers):
            # What the other one has put.
            each.send(f"get {2 * step + 1 - number} {40_000 + 100 * step}")
    for each in containers:
        assert [each.read() for _ in range(60)] == ["True ok"] * 60
    with closing(BlockCache(tmp_path / "cache", 2 * SMALLEST_BOUND)) as cache:
        assert cache.info().blocks == 120
        assert cache.verify().damaged == 0
        assert cache.get(block(7, 40_300)[0]) == block(7, 40_300)[1]


LIMITED = """
import os, resource, sys
from blake3 import blake3
from pathlib import Path
from penstock.cache import BlockCache, LocationIndex

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
cache = BlockCache(Path(sys.argv[1]), 50 << 30)
data = os.urandom(100_000)
assert cache.put(blake3(data).digest(), data), cache.mode
assert cache.get(blake3(data).digest()) == data
assert cache.mode == "ok"
locations = LocationIndex(Path(sys.argv[1]), 50 << 30)
locations.put_many(b"n", [(b"content", b"place")])
assert locations.get(b"n", b"content") == b"place"
"""


@pytest.mark.regress
def test_a_limit_on_address_space_makes_the_map_smaller(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "cache")], check=True)


HOLD = """
import fcntl, sys

with open(sys.argv[1], "r+") as file:
    fcntl.flock(file, getattr(fcntl, sys.argv[2]))
    print(flush=True)
    input()
"""


def test_an_index_that_a_stopped_process_keeps_is_done_without(tmp_path: Path, block: Block) -> None:
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        cache.put(*block(1))
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "index-2" / "data.mdb"), "LOCK_EX"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder,
        closing(BlockCache(tmp_path, SMALLEST_BOUND, retry_seconds=0)) as cache,
    ):
        cache.get(block(1)[0])
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        assert block(2)[0] not in cache
        assert time.monotonic() - begun < 10
        assert "another process holds" in cache.mode
        holder.kill()
        holder.wait()
        assert block(1)[0] in cache
        assert cache.mode == "ok"


def test_the_index_of_the_version_before_is_taken_over(tmp_path: Path, block: Block) -> None:
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        cache.put(*block(1))
    os.rename(tmp_path / "index-2", tmp_path / "index")
    os.rename(tmp_path / "state-2", tmp_path / "state")
    was = (tmp_path / "index" / "data.mdb").stat().st_ino
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        assert cache.get(block(1)[0]) == block(1)[1]
    assert (tmp_path / "index-2" / "data.mdb").stat().st_ino == was
    assert not (tmp_path / "index").exists()


def test_an_index_that_the_version_before_still_uses_is_left_to_it(tmp_path: Path, block: Block) -> None:
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        cache.put(*block(1))
    os.rename(tmp_path / "index-2", tmp_path / "index")
    os.rename(tmp_path / "state-2", tmp_path / "state")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "users.lock"), "LOCK_SH"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as user:
        assert user.stdout is not None
        user.stdout.readline()
        with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
            assert cache.get(block(1)[0]) == block(1)[1], "made anew from the segments"
            assert (tmp_path / "index" / "data.mdb").exists()
        user.kill()
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        assert not (tmp_path / "index").exists()


CRASH = """
import os, sys
from pathlib import Path
from penstock.cache import BlockCache, note_crashes

note_crashes(Path(sys.argv[1]))
cache = BlockCache(Path(sys.argv[1]), int(sys.argv[2]))
cache.missing([bytes(32)])
os.abort()
"""


def test_after_a_crash_the_index_is_made_anew(tmp_path: Path, block: Block) -> None:
    data = tmp_path / "index-2" / "data.mdb"
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        cache.put(*block(1))
        before = data.stat().st_ino
        with open(data, "rb"):  # so that its number is not given to another file
            for _ in range(2):
                crashed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), str(SMALLEST_BOUND)], check=False)
                assert crashed.returncode == -signal.SIGABRT
                with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as other:
                    assert other.get(block(1)[0]) == block(1)[1]
            assert data.stat().st_ino != before
        assert cache.get(block(1)[0]) == block(1)[1], "who has the old one open moves to the new one"
        after = data.stat().st_ino
        with closing(BlockCache(tmp_path, SMALLEST_BOUND)):
            assert data.stat().st_ino == after, "once a crash"


USER = """
import random, sys
from blake3 import blake3
from pathlib import Path
import penstock.cache
from penstock.cache import BlockCache

getattr(penstock.cache, "note_crashes", lambda _: None)(Path(sys.argv[1]))
cache = BlockCache(Path(sys.argv[1]), int(sys.argv[2]), retry_seconds=0)
blocks = [random.Random(seed).randbytes(3000) for seed in range(300)]
keys = [blake3(data).digest() for data in blocks]
cache.put_many(zip(keys, blocks))
for line in sys.stdin:
    cache._session and cache._session.recent.clear()
    for turn, (key, data) in enumerate(zip(keys, blocks)):
        found = cache.get(key, fresh=turn % 2 == 0)
        assert found is None or found == data
        if found is None:
            cache.put(key, data)
    print(cache.info().blocks, len(cache.missing(keys)), cache.verify().blocks, flush=True)
"""


@pytest.mark.regress
def test_bits_that_flip_in_a_live_index_give_no_error_and_no_wrong_byte(tmp_path: Path) -> None:
    rng = random.Random(11)
    crashes = 0
    user: subprocess.Popen[str] | None = None
    for _ in range(25):
        if user is None:
            user = subprocess.Popen(
                [sys.executable, "-c", USER, str(tmp_path), str(SMALLEST_BOUND)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdin.write("\n")
        user.stdin.flush()
        if user.stdout.readline():
            [data] = tmp_path.glob("index*/data.mdb")
            with open(data, "r+b") as file:
                for _ in range(40):
                    at = rng.randrange(data.stat().st_size)
                    file.seek(at)
                    byte = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([byte ^ 1 << rng.randrange(8)]))
            continue
        error = user.communicate()[1]
        assert user.returncode < 0, error  # LMDB follows a page to where it ends the process: the next one does better
        user = None
        crashes += 1
    assert crashes < 20
    if user is not None:
        user.kill()
        user.communicate()
