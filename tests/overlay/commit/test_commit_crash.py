"""A commit that is killed between any two writes, to bucket or overlay: nothing is lost, nothing lands twice.

The process that dies is a fork of this one.
"""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, Tree, version_tree
from views.memory import Made, Spec

from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.intent import read_intent
from penstock.progress import SILENT
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.refs.repository import Repository
from penstock.store.local import LocalStore

SPEC: Spec = {
    b"a": Made(b"first"),
    b"big": Made(bytes(2 * BLOCK_SIZE + 100)),
    b"dir": {b"one": Made(b"1"), b"two": Made(b"2")},
    b"far": Made(b"far"),
}
STEPS = ((LocalStore, "put"), (LocalStore, "create"), (DurableTables, "change"), (DurableTables, "checkpoint"))


def change(edited: Edited) -> None:
    edited.write("a", 0, b"FIRST")
    edited.write("big", BLOCK_SIZE, b"!")
    edited.create("new", b"new")
    edited.rename("dir", "moved")
    edited.unlink("moved/one")


def change_more(edited: Edited) -> None:
    """Change what was committed, perhaps: that it was is to be known, or it looks like another's change."""
    edited.write("a", 0, b"again")
    edited.unlink("new")
    edited.rename("moved", "dir")
    edited.write("dir/two", 0, b"22")


def newest(bucket: LocalBucket) -> Tree:
    return version_tree(open_snapshot("demo/data", bucket.settings, cached=False))


def history(bucket: LocalBucket) -> list[str]:
    """Return the messages of the branch's commits, newest first."""
    repository = Repository(LocalStore(os.fspath(bucket.directory)), "data")
    head = repository.refs.head("main")
    assert head is not None
    at, found = head.record.commit, []
    while at is not None:
        commit = repository.commit(at)
        found.append(commit.message)
        at = commit.parents[0] if commit.parents else None
    return found


def count_steps(act: Callable[[int], None], patch: Callable[[Any, str, Any], None]) -> None:
    """Have `act` called before each write, and so after the one before, with the number of the moment."""
    numbers = itertools.count(1)

    def counted(call: Any) -> Any:
        def step(*arguments: Any, **named: Any) -> Any:
            act(next(numbers))
            return call(*arguments, **named)

        return step

    for owner, name in STEPS:
        patch(owner, name, counted(getattr(owner, name)))


def dies(bucket: LocalBucket, directory: Path, fatal: int) -> bool:
    """Commit in a child process that is killed at a moment; whether it lived to see it."""
    child = os.fork()
    if not child:
        try:
            edited = Edited(bucket, directory)

            def kill(number: int) -> None:
                if number == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

            count_steps(kill, setattr)
            edited.commit("the first")
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


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[int], tuple[LocalBucket, Path]]:
    """Make a bucket, and an overlay of it with changes that nobody committed."""
    write_tree(tmp_path / "source", SPEC)

    def plant(number: int) -> tuple[LocalBucket, Path]:
        bucket = LocalBucket(tmp_path / str(number))
        bucket.push(tmp_path / "source")
        edited = Edited(bucket, tmp_path / str(number) / "overlay")
        change(edited)
        edited.close()
        return bucket, tmp_path / str(number) / "overlay"

    return plant


def test_killed_at_every_write(planted: Callable[[int], tuple[LocalBucket, Path]]) -> None:
    landings = []
    for fatal in itertools.count(1):
        bucket, directory = planted(fatal)
        old = newest(bucket)
        if not dies(bucket, directory, fatal):
            break
        edited = Edited(bucket, directory)
        wanted = edited.tree()
        assert wanted["a"] == Made(b"FIRST", False, 0)
        landed = newest(bucket) != old
        assert newest(bucket) in (old, wanted)
        landings.append(landed)
        change_more(edited)
        seen = edited.tree()
        assert edited.commit("the second").commit is not None
        assert edited.tree() == seen == newest(bucket) == edited.committed_tree()
        assert not edited.overlay.is_dirty()
        assert read_intent(edited.overlay.records) is None
        assert history(bucket) == ["the second", *(["the first"] if landed else []), ""]
        edited.close()
    assert landings == sorted(landings)
    assert {False, True} == set(landings)


def test_an_answer_that_is_lost_is_looked_up(
    planted: Callable[[int], tuple[LocalBucket, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, directory = planted(1)
    edited = Edited(bucket, directory)
    create = LocalStore.create

    def unheard(store: LocalStore, key: str, body: bytes) -> bool:
        create(store, key, body)
        if "/heads/" in key:
            raise StoreUnreachableError("no answer")
        return True

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "create", unheard)
        with pytest.raises(StoreUnreachableError):
            edited.commit("the first")
    assert edited.overlay.is_dirty()
    edited.close()
    edited = Edited(bucket, directory)
    change_more(edited)
    seen = edited.tree()
    assert edited.commit("the second").commit is not None
    assert newest(bucket) == seen == edited.tree()
    assert history(bucket) == ["the second", "the first", ""]
    edited.close()


def test_what_was_removed_before_it_was_known_that_it_landed_is_removed(
    planted: Callable[[int], tuple[LocalBucket, Path]],
) -> None:
    bucket, directory = planted(1)
    edited = Edited(bucket, directory)
    commit = edited.committing("the first")
    commit.begin()

    assert commit.build(SILENT)
    commit.intend()
    edited.unlink("new")
    commit.land()
    commit.close()  # as if it had died: the overlay takes no note
    edited.close()
    edited = Edited(bucket, directory)
    assert newest(bucket)["new"] == Made(b"new", False, 0)
    edited.commit("the second")
    assert "new" not in newest(bucket)
    edited.close()
