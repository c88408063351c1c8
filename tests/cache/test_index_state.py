"""Whether an index that was closed is opened as it is: its file and times tell in one boot, its bytes after that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.cache.index_state import IndexState


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the file of an index that was closed cleanly in a boot called `one`."""
    found = tmp_path / "index" / "data.mdb"
    found.parent.mkdir()
    found.write_bytes(b"x" * 1000)
    state = state_of(found)
    state.begin()
    state.end()
    return found


def state_of(data: Path, boot: str = "one") -> IndexState:
    root = data.parents[1]
    return IndexState(str(root / "state"), str(data.parent), boot, str(root))


def test_an_index_that_nobody_wrote_to_is_not_hashed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(IndexState, "_digest", lambda _: pytest.fail("it was hashed"))
        for _ in range(2):
            state = state_of(data)
            assert state.trusted(sole=True)
            state.begin()
            state.end()
    assert state_of(data, "another").trusted(sole=True)


@pytest.mark.parametrize("boot", ["one", "another"])
def test_bytes_that_changed_are_noticed_although_the_time_did_not(data: Path, boot: str) -> None:
    before = data.stat()
    with data.open("r+b") as file:
        file.write(b"y")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    while data.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a file system ticks slowly
        os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not state_of(data, boot).trusted(sole=True)


@pytest.mark.parametrize("boot", ["one", "another"])
def test_what_was_written_while_it_was_open_is_no_damage(data: Path, boot: str) -> None:
    state = state_of(data)
    assert state.trusted(sole=True)
    state.begin()
    data.write_bytes(b"z" * 2000)
    state.end()
    assert state_of(data, boot).trusted(sole=True)


def test_a_copy_that_has_the_same_bytes_and_time_is_as_good(data: Path) -> None:
    before = data.stat()
    copy = data.with_name("copy")
    copy.write_bytes(data.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(data)
    assert state_of(data).trusted(sole=True)
