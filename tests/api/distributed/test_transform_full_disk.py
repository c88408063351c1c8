"""A disk that fills up while a transform works: the input is named, nothing is published, the next run goes on."""

from __future__ import annotations

import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from views.transforms import halve, swell

import penstock
from penstock import distributed
from penstock.errors import PenstockError

MIB = 1 << 20
LARGE = "large.bin"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def large(things: Path) -> Path:
    """Have a file among the things that is larger than the small disk; return where small ones are."""
    (things / LARGE).write_bytes(bytes(8 * MIB))
    penstock.Dataset("demo/things").push(things)
    return things


def fill(disk: Path) -> None:
    with (disk / "full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(MIB))


def contents(handle: str) -> dict[str, str]:
    return {entry.key: entry.hash for entry in penstock.open(handle) if entry.is_file()}


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=96m", str(disk)], check=True)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_input_that_does_not_fit_is_named_and_the_next_run_does_the_rest(
    elsewhere: bool, large: Path, calls: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))  # where other processes have temporary directories
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))  # and this one
    given = {"calls": str(calls)}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        client = pool if elsewhere else None
        with pytest.raises(PenstockError, match="No space left on device") as told:
            distributed.transform("demo/things", halve, "demo/halves", parameters=given, tasks=5, client=client)
        assert told.value.what.startswith(f"{LARGE} cannot be put into a directory")
        assert "Make room" in told.value.fix
        assert list(small_disk.iterdir()) == []
        with pytest.raises(PenstockError):
            penstock.open("demo/halves")
        grow(small_disk)
        done = distributed.transform("demo/things", halve, "demo/halves", parameters=given, tasks=5, client=client)
    assert done.changed
    alone = distributed.transform("demo/things", halve, "demo/alone", parameters=given)
    assert (done.outputs, done.top_hash) == (alone.outputs, alone.top_hash)
    assert list(small_disk.iterdir()) == []


def test_a_function_that_fills_the_disk_fails_with_its_input(
    things: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(PenstockError, match=r"\.bin: the function failed: OSError: \[Errno 28\] No space left"):
        distributed.transform("demo/things", swell, "demo/swollen")
    assert list(small_disk.iterdir()) == []
    grow(small_disk)
    assert distributed.transform("demo/things", swell, "demo/swollen").outputs == 30


def test_where_there_is_no_room_for_inputs_or_the_cache_only_the_first_is_an_error(
    things: Path, calls: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"calls": str(calls)}
    fill(small_disk)
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(small_disk / "cache"))
    penstock.add_remote("uncached", str(Path("store").resolve()))
    assert distributed.transform("uncached/things", halve, "uncached/halves", parameters=given).outputs == 60
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(PenstockError, match=r"No space left on device\. Make room"):
        distributed.transform("demo/things", halve, "demo/other", parameters=given)
    assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_a_bucket_that_is_full_publishes_nothing_and_the_next_run_does(
    large: Path, calls: Path, small_disk: Path
) -> None:
    penstock.add_remote("full", str(small_disk / "store"))
    given = {"calls": str(calls)}
    with pytest.raises(PenstockError, match="No space left on device"):
        distributed.transform("demo/things", halve, "full/halves", parameters=given, tasks=5)
    grow(small_disk)
    done = distributed.transform("demo/things", halve, "full/halves", parameters=given, tasks=5)
    alone = distributed.transform("demo/things", halve, "demo/alone", parameters=given)
    assert done.outputs == alone.outputs
    # Not the top hash: one version says in which bucket its source is, where that is another one.
    assert contents("full/halves") == contents("demo/alone")
    assert penstock.open("full/halves").verify(deep=True).sound
    assert len(list(penstock.Dataset("full/halves").log())) == 1
