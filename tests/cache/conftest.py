"""Blocks that can be named by a number, peers in processes of their own, and small disks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from penstock.cache import SMALLEST_BOUND

PEER = """
import random, sys
from blake3 import blake3
from pathlib import Path
from penstock.cache import BlockCache

def block(seed, size):
    data = random.Random(seed).randbytes(size)
    return blake3(data).digest(), data

cache = BlockCache(Path(sys.argv[1]), int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    if word == "put":
        answer = cache.put(*block(*map(int, numbers)))
    elif word == "get":
        key, data = block(*map(int, numbers))
        found = cache.get(key)
        answer = "none" if found is None else found == data
    elif word == "stream":
        seed, size = map(int, numbers)
        while True:
            seed += 1
            print(seed, cache.put(*block(seed, size + seed % 977)), flush=True)
    elif word == "clear":
        answer = cache.clear()
    elif word == "mode":
        answer = cache.info().mode
    else:
        cache.close()
        answer = "closed"
    print(answer, flush=True)
"""


class Peer:
    """Another process with the same cache open; `ask` sends a line and returns the answer."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(directory), str(max_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def ask(self, line: str) -> str:
        self.send(line)
        return self.read()

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def start(directory: Path, max_bytes: int = SMALLEST_BOUND) -> Peer:
        peers.append(Peer(directory, max_bytes))
        return peers[-1]

    yield start
    for started in peers:
        started.end()


@pytest.fixture(scope="session")
def block() -> Callable[[int, int], tuple[bytes, bytes]]:
    def make(seed: int, size: int = 1000) -> tuple[bytes, bytes]:
        data = random.Random(seed).randbytes(size)
        return blake3(data).digest(), data

    return make


@pytest.fixture(scope="session")
def usage() -> Callable[[Path], int]:
    """Bytes on disk as du counts them, measured with du's own rule and not with the cache's code."""

    def measure(path: Path) -> int:
        output = subprocess.run(["du", "-s", "--block-size=1", path], capture_output=True, text=True, check=False)
        return int(output.stdout.split()[0])

    return measure


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come about"
            time.sleep(0.005)

    return wait


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB of its own (mounting it needs root, as the suite has in CI)."""
    mountpoint = tmp_path / "disk"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "penstock-test", mountpoint], check=True)
    yield mountpoint
    subprocess.run(["umount", "-l", mountpoint], check=True)


@pytest.fixture
def segment_files() -> Callable[[Path], list[Path]]:
    def find(directory: Path) -> list[Path]:
        return sorted((directory / "segments").iterdir())

    return find


@pytest.fixture
def overwrite() -> Callable[[Path, int, bytes], None]:
    def write(path: Path, offset: int, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)

    return write
