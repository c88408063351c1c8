"""Rows with one large file: a byte of 10 GB changed and committed; 1 GiB written from begin to end."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from stage import RUNS, median

from .changing import Changing

__all__ = ["one_byte", "stream"]

_MIB = 1 << 20
_LARGE_BYTES = 320 * 32 * _MIB
_STREAM_BYTES = 1 << 30


def one_byte(changing: Changing) -> None:
    """One byte in the middle of 10 GB, with its block in the cache; then the commit of that."""
    bucket = changing.world.bucket()
    program = Path(__file__).with_name("large_version.py")
    changing.world.run(sys.executable, program, bucket, str(_LARGE_BYTES))
    chance = random.Random(0)
    times, copied, commits = [], [], []
    with changing.mounted(f"{bucket}/data") as (where, overlay):
        file = where / "large.bin"
        assert file.stat().st_size == _LARGE_BYTES
        for _ in range(RUNS):
            offset = chance.randrange(_LARGE_BYTES)
            before = _read(file, offset)
            data = _bytes_on_disk(overlay)
            times.append(_write(file, offset, bytes([before ^ 0xFF])))
            copied.append(_bytes_on_disk(overlay) - data)
            assert _read(file, offset) == before ^ 0xFF
            commits.append(changing.commit(where))
    add = changing.figures.add
    add("one byte changed in 10 GB, its block cached: open, write, close", median(times) * 1e3, "ms", at_most=50)
    add("  bytes that the overlay's data takes for it", max(copied), "B", at_most=_MIB)
    add("commit of that", median([each.seconds for each in commits]), "s")
    add("  bytes of data sent", max(each.data_bytes for each in commits), "B", at_most=_MIB)
    worst = max(commits, key=lambda each: each.puts.total())
    add(f"  PUTs ({worst.described})", worst.puts.total(), "", at_most=6)


def _read(file: Path, offset: int) -> int:
    with file.open("rb", buffering=0) as stream:
        return os.pread(stream.fileno(), 1, offset)[0]


def _write(file: Path, offset: int, data: bytes) -> float:
    begin = time.perf_counter()
    descriptor = os.open(file, os.O_WRONLY)
    os.pwrite(descriptor, data, offset)
    os.close(descriptor)
    return time.perf_counter() - begin


def _bytes_on_disk(overlay: Path) -> int:
    """Bytes of disk that data files take, those included that wait to be removed after a commit."""
    return sum(path.lstat().st_blocks * 512 for path in (overlay / "data").rglob("*") if path.is_file())


def stream(changing: Changing) -> None:
    """1 GiB written in pieces of 1 MiB to a new file, beside the same on the disk that the overlay is on."""
    plain = changing.world.scratch / "plain"
    plain.mkdir()
    piece = random.Random(0).randbytes(_MIB)
    rates: dict[tuple[str, bool], list[float]] = {}
    with changing.mounted(changing.empty()) as (where, _):
        for _ in range(RUNS):
            for synced in (False, True):
                for name, root in (("ours", where), ("plain", plain)):
                    os.sync()  # what the last one left is not to be written back in this one's time
                    took = _write_large(root / "stream.bin", piece, synced=synced)
                    rates.setdefault((name, synced), []).append(_STREAM_BYTES / took / 1e6)
                    (root / "stream.bin").unlink()
    for synced, what in ((False, "1 GiB written from begin to end"), (True, "  with an fsync at the end")):
        ours, disk = median(rates["ours", synced]), median(rates["plain", synced])
        changing.figures.add(what, ours, "MB/s")
        changing.figures.add("  plain disk", disk, "MB/s")
        changing.figures.add("  ours / plain", ours / disk, "x", at_least=0.5)


def _write_large(file: Path, piece: bytes, *, synced: bool) -> float:
    begin = time.perf_counter()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for _ in range(_STREAM_BYTES // len(piece)):
        os.write(descriptor, piece)
    if synced:
        os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - begin
