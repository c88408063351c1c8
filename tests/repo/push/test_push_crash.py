"""A push that is killed at any of its writes: the old version is whole, and the next push goes on from there."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.repo.session import bucket_session
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest


class FatalStore(LocalStore):
    """A local store that kills its process at the n-th write: just before it, or just after."""

    def __init__(self, path: str, fatal: int, *, after: bool) -> None:
        super().__init__(path)
        self._numbers = itertools.count(1)
        self._fatal = fatal
        self._after = after

    def _write(self, write: Callable[[], Any]) -> Any:
        is_fatal = next(self._numbers) == self._fatal
        if is_fatal and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = write()
        if is_fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def put(self, key: str, body: Buffer) -> None:
        self._write(lambda: super(FatalStore, self).put(key, body))

    def create(self, key: str, body: Buffer) -> bool:
        return bool(self._write(lambda: super(FatalStore, self).create(key, body)))


def dies(world: World, directory: str, fatal: int, *, after: bool) -> bool:
    """Push in a child process; whether it was killed at its n-th write (and did not end before that)."""
    child = os.fork()
    if not child:
        try:
            bucket_session.open_store = lambda url, options: FatalStore(str(world.folder / "store"), fatal, after=after)
            world.push(directory, tag="done", message="may die")
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


OLD = {b"a": b"old", b"same": b"same" * 100}
NEW: dict[bytes, Any] = {b"a": b"new", b"same": b"same" * 100, b"large": bytes(5 << 20), b"d/e/f": b"1", b"empty": None}
NEW_BYTES = 3 + (5 << 20) + 1


def stored_bytes(world: World) -> int:
    return sum(found.size for found in world.store().list(".penstock/data/"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_write(tmp_path: Path, new_world: Callable[[Path], World], after: bool) -> None:
    outcomes = []
    for fatal in itertools.count(1):
        (tmp_path / str(fatal)).mkdir()
        world = new_world(tmp_path / str(fatal))
        old = world.push(world.plant(OLD, "old"))
        directory = world.plant(NEW, "new")
        if not dies(world, directory, fatal, after=after):
            break
        snapshot = world.open(cached=False)
        published = snapshot.top_hash != old.top_hash
        assert world.read_back(snapshot) == (NEW if published else OLD)
        outcomes.append(published)
        # Whatever is there is whole, and only what is not there is sent.
        there = stored_bytes(world)
        report = world.push(directory, tag="done")
        assert report.bytes_uploaded == stored_bytes(world) - there
        assert stored_bytes(world) == old.bytes + NEW_BYTES
        assert (report.commit is None) == published
        assert world.read_back(world.open("done", cached=False)) == NEW
        assert world.open("done").commit_id == world.open().commit_id
        assert world.repository().refs.head("main").number == 1
        world.close()
    # A lease, a pack, a large file, nodes, manifest, commit, branch, tag: the branch moves in the last write but one.
    assert outcomes == [False] * 6 + ([True, True] if after else [False, True])


def test_a_first_push_that_is_killed_leaves_no_dataset_that_lies(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    fatal = 0
    while dies(world, directory, fatal := fatal + 1, after=False):
        if world.repository().refs.head("main") is not None:
            assert world.read_back(world.open(cached=False)) == {b"a": b"1"}
    assert fatal > 1
    assert world.open("done").top_hash == world.hash(directory)
