"""A gc that is killed at any of its writes: whatever record is left in the bucket, all that it needs is there."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from penstock.progress import SILENT
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import collect
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest

ME = Authorship("tester", "", "test")
COMMITS = ".penstock/datasets/things/commits/"
MANIFESTS = ".penstock/datasets/things/manifests/"


class FatalStore(LocalStore):
    """A local store that kills its process at the n-th write or deletion of a key: just before it, or just after."""

    def __init__(self, path: str, fatal: int, *, after: bool) -> None:
        super().__init__(path)
        self._numbers = itertools.count(1)
        self._fatal = fatal
        self._after = after

    def _change(self, change: Callable[[], None]) -> None:
        is_fatal = next(self._numbers) == self._fatal
        if is_fatal and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        change()
        if is_fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, key: str, body: Buffer) -> None:
        self._change(lambda: super(FatalStore, self).put(key, body))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._change(lambda key=key: super(FatalStore, self).delete([key]))  # type: ignore[misc]  # a lambda in a loop


def run(store: LocalStore) -> None:
    # The lease of a run that dies ends at once, so that the next one need not wait for it.
    collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=-60, delete=True, lease_seconds=-60)


def dies(world: World, fatal: int, *, after: bool) -> bool:
    """Collect in a child process; whether it was killed at its n-th change."""
    child = os.fork()
    if not child:
        try:
            run(FatalStore(str(world.folder / "store"), fatal, after=after))
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


def check_all(world: World) -> None:
    """Every ref is sound; every commit has its manifest and its parents; every manifest has all of its tree."""
    repository = world.repository()
    commits = {key.removeprefix(COMMITS) for key in world.keys(COMMITS)}
    manifests = {key.removeprefix(MANIFESTS) for key in world.keys(MANIFESTS)}
    for name in commits:
        commit = repository.commit(bytes.fromhex(name))
        assert commit.top_hash.hex() in manifests
        assert {parent.hex() for parent in commit.parents} <= commits
    for name in (*manifests, "main", "v1"):
        report = verify(parse_handle(world.handle(name)), world.settings, SILENT, deep=True)
        assert report.is_sound, report.damages


def fill(world: World) -> None:
    """Make versions of which two on a line, and a cut off upload, are garbage, and share data with what is not."""
    world.push(world.plant({b"a": b"1", b"shared": b"x" * 100, b"large": bytes(2 << 20)}, "one"), tag="v1")
    world.push(world.plant({b"b": b"2", b"shared": b"x" * 100, b"d/e": b"3"}, "two"), "side")
    world.push(world.plant({b"b": b"4", b"shared": b"x" * 100, b"large": b"y" * (2 << 20)}, "three"), "side")
    world.delete_branch("side", ME)
    world.store().put(".penstock/data/ab/" + "ab" * 32, b"cut off")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_change(tmp_path: Path, new_world: Callable[[Path], World], after: bool) -> None:
    for fatal in itertools.count(1):
        (tmp_path / str(fatal)).mkdir()
        world = new_world(tmp_path / str(fatal))
        fill(world)
        if not dies(world, fatal, after=after):
            break
        check_all(world)
        # Whoever pushes the same again finds what is left of it, and makes the rest.
        world.push(str(world.folder / "three"), "again")
        check_all(world)
        world.delete_branch("again", ME)
        run(world.store())
        check_all(world)
        assert len(world.keys(COMMITS)) == len(world.keys(MANIFESTS)) == 1
        assert len(world.keys(".penstock/data/")) == 1
        assert len(world.keys(".penstock/nodes/")) == 1
        world.close()
    # An object for the time and a lease, each made and removed; two commits, manifests, node packs, three of data.
    assert fatal - 1 >= 4 + 2 + 2 + 2 + 3
