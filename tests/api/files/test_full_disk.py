"""A disk that fills up while a batch is at work: the row says so, the rest goes on, and nothing stays of it."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import pytest

import penstock
from penstock import FileDataset
from penstock.errors import PenstockError

MIB = 1 << 20


@pytest.fixture
def temporary(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have temporary directories lie there."""
    made = partial(mkdtemp, dir=small_disk)
    monkeypatch.setattr("penstock.api.files.work_directory.mkdtemp", lambda prefix, **_: made(prefix=prefix))
    return small_disk


def rows(here: Path, *sizes: int) -> pd.DataFrame:
    """Return a row for each size, with a file of so many bytes."""
    for number, size in enumerate(sizes):
        (here / f"in/{number}.bin").write_bytes(bytes([number]) * size)
    return pd.DataFrame(
        {"f": [here / f"in/{number}.bin" for number in range(len(sizes))], "id": range(len(sizes)), "grow": 0}
    )


def grown(input_dir: Path, output_dir: Path, *, grow: int) -> dict[str, Path]:
    (output_dir / "out").write_bytes((input_dir / "f").read_bytes() + bytes(grow))
    return {"out": output_dir / "out"}


@pytest.mark.parametrize("into", ["./out", "demo/made"])
def test_a_row_that_does_not_fit_says_so_and_is_done_when_there_is_room(into: str, here: Path, temporary: Path) -> None:
    frame = rows(here, 1000, 8 * MIB, 2000, 3000).assign(grow=[0, 0, 8 * MIB, 0])
    files = FileDataset()
    fetched, grew = (files.map_batch(frame.iloc[[n]], grown, {"into_path": into})["error"].iloc[0] for n in (1, 2))
    assert fetched.startswith("row 0 (id 1): f: cannot write")
    assert "No space left on device" in fetched
    assert "Make room" in fetched
    assert grew.startswith("row 0 (id 2): the function failed: OSError: [Errno 28] No space left on device")
    errors = list(files.map_batch(frame, grown, {"into_path": into})["error"])
    assert None not in errors[1:3]
    assert all(error is None or "No space left" in error for error in errors)  # neighbours may meet a full disk, too
    assert list(temporary.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(temporary)], check=True)
    found = files.map_batch(frame, grown, {"into_path": into})
    assert list(found["error"]) == [None] * 4
    with files.downloader({"x": found["out"][2]}).into_temp_dir() as folder:
        assert (folder / "x").stat().st_size == 2000 + 8 * MIB
    assert list(temporary.iterdir()) == []


def test_where_there_is_no_room_for_a_directory_nothing_is_begun(here: Path, temporary: Path) -> None:
    (temporary / "full").write_bytes(b"")
    with (temporary / "full").open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(MIB))
            file.flush()
    frame = rows(here, 100)
    found = FileDataset().map_batch(frame, grown, {"into_path": "./out"})
    assert "No space left on device" in found["error"][0]
    assert [path.name for path in temporary.iterdir()] == ["full"]


def test_a_place_that_is_full_is_said_and_what_was_sent_of_a_row_is_not_taken_for_done(
    here: Path, small_disk: Path
) -> None:
    frame = rows(here, 1000, 8 * MIB, 2000)
    files = FileDataset()
    found = files.map_batch(frame, grown, {"into_path": small_disk / "out"})
    errors = list(found["error"])
    assert errors[1] is not None
    assert all(error is None or "No space left on device" in error for error in errors)  # as above
    assert not (small_disk / "out/1/out").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert list(files.map_batch(frame, grown, {"into_path": small_disk / "out"})["error"]) == [None] * 3
    assert (small_disk / "out/1/out").read_bytes() == bytes([1]) * (8 * MIB)


def test_a_bucket_that_is_full_publishes_nothing_and_the_next_run_does(here: Path, small_disk: Path) -> None:
    penstock.add_remote("full", str(small_disk / "store"))
    frame = rows(here, 1000, 3 * MIB, 3 * MIB)
    files = FileDataset()
    with pytest.raises(PenstockError, match="No space left on device"):
        files.map_batch(frame, grown, {"into_path": "full/made"})
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert list(files.map_batch(frame, grown, {"into_path": "full/made"})["error"]) == [None] * 3
    assert penstock.open("full/made").verify(deep=True).sound
    assert len(list(penstock.Dataset("full/made").log())) == 1
