"""A disk that changes, or fails, after a block was verified: what is read from it once more is verified once more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.cache import SMALLEST_BOUND, BlockCache
from penstock.cache.segment import read_records

Block = Callable[..., tuple[bytes, bytes]]

_PAGE_OUT = """
import ctypes, os, sys
from pathlib import Path
from blake3 import blake3
from penstock.cache import BlockCache, SMALLEST_BOUND

def page_out():
    "Give back the pages of all segments, as the kernel does when memory is short."
    os.sync()
    for line in open("/proc/self/maps"):
        if "/segments/" in line:
            first, last = (int(word, 16) for word in line.split()[0].split("-"))
            assert ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), 21) == 0

disk, backing = map(Path, sys.argv[1:])
data = os.urandom(300_000)
key = blake3(data).digest()
cache = BlockCache(disk / "cache", SMALLEST_BOUND)
assert cache.put(key, data)
cache.close()
cache = BlockCache(disk / "cache", SMALLEST_BOUND)
assert cache.get(key) == data
page_out()
"""


@pytest.fixture
def raw_disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A disk of 64 MiB, and the file that it lies in."""
    backing, place = tmp_path / "backing", tmp_path / "disk"
    place.mkdir()
    with backing.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", backing], check=True)
    done = subprocess.run(["mount", "-o", "loop", backing, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop devices here: {done.stderr}")
    place.chmod(0o700)
    try:
        yield place, backing
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def run(disk: tuple[Path, Path], script: str) -> None:
    command = [sys.executable, "-c", _PAGE_OUT + script, *map(str, disk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.regress
def test_a_disk_that_fails_after_a_block_was_verified_makes_it_a_miss(raw_disk: tuple[Path, Path]) -> None:
    """The process would else be ended by SIGBUS when it, or the kernel for it, looks at the pages."""
    run(raw_disk, "os.truncate(backing, 1 << 20)\nassert cache.get(key) is None\n")


@pytest.mark.regress
def test_a_bit_that_flips_on_the_disk_after_a_block_was_verified_is_no_wrong_byte(raw_disk: tuple[Path, Path]) -> None:
    """Beside the file system, so that no time of a file tells of it."""
    run(
        raw_disk,
        """
content = bytearray(backing.read_bytes())
at = content.index(data[:64])
content[at + 1000] ^= 1
with backing.open("r+b") as file:
    file.seek(at)
    file.write(content[at : at + 4096])
fd = os.open(max((disk / "cache" / "segments").iterdir()), os.O_RDONLY)
found = cache.get(key)
assert found is None or found == data, "a wrong byte"
""",
    )


@pytest.mark.regress
@pytest.mark.parametrize("which", [0, -1], ids=["sealed", "open"])
def test_a_segment_that_is_written_to_after_a_block_was_verified_gives_no_wrong_byte(
    tmp_path: Path,
    block: Block,
    segment_files: Callable[[Path], list[Path]],
    overwrite: Callable[[Path, int, bytes], None],
    monkeypatch: pytest.MonkeyPatch,
    which: int,
) -> None:
    """By another program: it is seen when it was a twentieth of a second ago, or here at once."""
    monkeypatch.setattr("penstock.cache.mapping._LOOK_SECONDS", -1.0, raising=False)
    blocks = dict(block(seed, 200_000) for seed in range(40))
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    assert all(cache.put_many(blocks.items()))
    path = segment_files(tmp_path)[which]
    with path.open("rb") as file:
        record = read_records(file.fileno())[0]
    assert cache.get(record.key) == blocks[record.key]
    overwrite(path, record.offset + 1000, bytes([blocks[record.key][1000] ^ 1]))
    assert cache.get(record.key) is None
    assert cache.info().quarantined == 1
    assert cache.put(record.key, blocks[record.key])
    assert all(cache.get(key) == data for key, data in blocks.items())
    cache.close()


def test_what_is_appended_meanwhile_costs_no_block(
    tmp_path: Path, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.cache.mapping._LOOK_SECONDS", -1.0)
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    blocks = [block(seed, 10_000) for seed in range(50)]
    for count, (key, data) in enumerate(blocks, 1):
        assert cache.put(key, data)
        assert all(cache.get(known) == wanted for known, wanted in blocks[:count])
    assert cache.info().quarantined == 0
    cache.close()
