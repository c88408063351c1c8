"""Temporary bytes of a commit, where the folder for them is small, full or missing."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.overlay.commit.spool import Spool


def filled(spool: Spool, pieces: int, size: int = 100_000) -> bytes:
    draw = random.Random(1)
    parts = [draw.randbytes(size) for _ in range(pieces)]
    for part in parts:
        spool.write(part)
    return b"".join(parts)


def read(spool: Spool) -> bytes:
    spool.rewind()
    parts = []
    while part := spool.read(70_001):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("pieces", [0, 1, 3, 80])
def test_what_was_written_is_read(tmp_path: Path, pieces: int) -> None:
    spool = Spool([str(tmp_path)], in_memory=250_000)
    wanted = filled(spool, pieces)
    assert read(spool) == wanted
    assert read(spool) == wanted
    spool.close()


def test_it_goes_on_in_the_next_folder_when_one_is_full(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    spool = Spool([str(tmp_path)], in_memory=250_000)
    wanted = filled(spool, 80)  # 8 MB, and the disk has 4
    assert read(spool) == wanted
    spool.close()


def test_no_room_anywhere_is_told(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    spool = Spool([str(small_disk)], in_memory=250_000)
    with pytest.raises(PenstockError, match="no room for temporary files") as told:
        filled(spool, 80)
    assert "TMPDIR" in told.value.fix
    spool.close()
