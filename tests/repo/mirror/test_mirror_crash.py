"""A mirror that is killed at any of its writes: nothing half is there under a final name, and the next run goes on."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.progress import SILENT
from penstock.repo.bucket import object_keys
from penstock.repo.mirror.mirror import mirror_dataset
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.store.base import Buffer, Store
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

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        self._write(lambda: super(FatalStore, self).copy(source, source_key, key, source_version_id=source_version_id))


def run(world: World, there: World, target: Store | None = None) -> None:
    with (
        BucketSession(BucketSetup.of(world.bucket, world.settings), cached=False) as source,
        BucketSession(BucketSetup.of(there.bucket, there.settings), cached=False, store=target) as session,
    ):
        mirror_dataset(source, session, "things")


def dies(world: World, there: World, fatal: int, *, after: bool) -> bool:
    child = os.fork()
    if not child:
        try:
            run(world, there, FatalStore(str(there.folder / "store"), fatal, after=after))
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


def kept(world: World) -> list[str]:
    """Return what lies in a bucket that belongs to versions; of moves of branches, the first."""
    folders = (object_keys.DATA, object_keys.NODES, object_keys.DATASETS)
    return [key for folder in folders for key in world.keys(folder) if not key.endswith("fffffffffffffffe")]


def check_whole(there: World) -> None:
    """Each record has what it needs, and each object the hash that names it."""
    refs = there.repository().refs
    for name in [*refs.branches(), *refs.tags()]:
        assert verify(parse_handle(there.handle(name)), there.settings, SILENT, deep=True).is_sound
    prefix = object_keys.commit_key("things", "")
    for key in there.keys(prefix):
        commit = there.repository().commit(bytes.fromhex(key[len(prefix) :]))
        for parent in commit.parents:
            there.repository().commit(parent)
        handle = parse_handle(there.handle(commit.top_hash.hex()))
        assert verify(handle, there.settings, SILENT, deep=True).is_sound


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_write(tmp_path: Path, new_world: Callable[[Path], World], after: bool) -> None:
    (tmp_path / "here").mkdir()
    world = new_world(tmp_path / "here")
    world.push(world.plant({b"a": b"1", b"large": bytes(5 << 20)}, "one"), tag="v1")
    world.push(world.plant({b"a": b"2", b"d/e": b"3"}, "two"))
    moved = []
    for fatal in itertools.count(1):
        (tmp_path / str(fatal)).mkdir()
        there = new_world(tmp_path / str(fatal))
        if not dies(world, there, fatal, after=after):
            break
        check_whole(there)
        moved.append(there.repository().refs.head("main") is not None)
        run(world, there)
        check_whole(there)
        assert there.open(cached=False).commit_id == world.open(cached=False).commit_id
        assert kept(there) == kept(world)
    # A probe or two, a lease, data, nodes, two manifests, two commits; and last the branch and the tag.
    assert moved[-2:] == ([True, True] if after else [False, True])
    assert not any(moved[:-2])
