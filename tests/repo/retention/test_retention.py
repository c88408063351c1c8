"""What a policy keeps, and what gc lets go by it: found twice, said in the bucket, never more than the policy says."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.api.datasets.dataset import Dataset
from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.manifest.hashing import content_hash
from penstock.progress import SILENT
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.mirror.mirror import mirror_dataset
from penstock.repo.session.bucket_session import open_session
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.store.base import Buffer, Store
from penstock.store.local import LocalStore

World = Any  # see conftest

HOUR = 3600.0


def gc(store: Store, grace: float = HOUR, **options: Any) -> GcReport:
    load = Nodes(store, None, RequestCounts()).load
    return collect(store, load, SILENT, grace=grace, **{"delete": True, **options})


def age(world: World, seconds: float = 2 * HOUR) -> None:
    """Let everything in a local bucket be older, and what is noted have been found earlier."""
    store = world.store()
    for info in list(store.list(".penstock/garbage/")):
        fields = msgspec.msgpack.decode(store.get(info.key))
        fields[2] -= seconds
        store.delete([info.key])
        body = msgspec.msgpack.encode(fields)
        store.put(f".penstock/garbage/{content_hash(body).hex()}", body)
    for path in (world.folder / "store" / ".penstock").rglob("*"):
        if path.is_file():
            modified = path.stat().st_mtime - seconds
            os.utime(path, (modified, modified))


def dataset(world: World) -> Dataset:
    return Dataset(world.handle(), world.settings)


def fill(world: World, count: int = 5) -> list[Any]:
    """Push versions of one branch; the second has the tag v1."""
    pushed = []
    for number in range(count):
        content = {b"same": b"s" * 100, b"file": b"%d" % number * 50, b"d/%d" % number: b"x"}
        tag = "v1" if number == 1 else None
        pushed.append(world.push(world.plant(content, str(number)), tag=tag, message=f"number {number}"))
    return pushed


def there(world: World) -> list[str]:
    prefix = object_keys.manifest_key("things", "")
    return [key[len(prefix) :] for key in world.keys(prefix)]


def is_sound(world: World, ref: str) -> bool:
    return verify(parse_handle(world.handle(ref)), world.settings, SILENT, deep=True).is_sound


def test_what_the_policy_lets_go_goes_when_it_was_found_twice(world: World) -> None:
    pushed = fill(world)
    age(world)
    assert gc(world.store()).let_go == {}
    plan = dataset(world).retention("keep last 2, tags for ever")
    assert [(each.message, each.kept) for each in plan.versions] == [
        ("number 4", "branch main"),
        ("number 3", "one of the last 2"),
        ("number 2", None),
        ("number 1", "tag v1"),
        ("number 0", None),
    ]
    assert dataset(world).retention().policy == "everything for ever"
    dataset(world).set_retention("keep last 2, tags for ever")
    going = {each.top_hash.hex() for each in (pushed[0], pushed[2])}
    before = set(world.keys(".penstock/data/"))
    for delete in (False, True):
        report = gc(world.store(), delete=delete)
        assert {top for top, _ in report.let_go["things"]} == going
        assert report.deleted.objects == 0
    assert set(there(world)) == {each.top_hash.hex() for each in pushed}
    age(world)
    report = gc(world.store())
    assert report.deleted.objects > 2
    assert set(there(world)) == {each.top_hash.hex() for each in pushed} - going
    assert set(world.keys(".penstock/data/")) < before
    for ref in ("main", "main~1", "v1"):
        assert is_sound(world, ref)
    # The commits are there still, and who opens what was let go is told so.
    assert len(list(dataset(world).log())) == 5
    for ref in ("main~2", pushed[0].commit.hex()):
        with pytest.raises(NotFoundError, match="not kept any more"):
            world.open(ref)
        with pytest.raises(NotFoundError, match="not kept any more"):
            world.reset_branch("main", world.repository().resolve(ref))
    age(world)
    assert gc(world.store()).garbage.objects == 0
    # The same content pushed anew is there again.
    world.push(str(world.folder / "2"))
    assert is_sound(world, "main")


def test_what_a_mount_shows_a_run_was_trained_on_or_is_young_stays(world: World) -> None:
    pushed = fill(world)
    dataset(world).set_retention("keep last 1")
    assert gc(world.store()).let_go == {}  # all of it is young
    age(world)
    with Lease(world.store(), "things", LeaseKind.MOUNT, [pushed[2].top_hash]):
        stamp = f".penstock/datasets/things/runs/{pushed[3].top_hash.hex()}/{'0' * 64}/{'1' * 64}"
        world.store().put(stamp, b"{}")
        for _ in range(2):
            gc(world.store())
            age(world)
        assert set(there(world)) == {pushed[number].top_hash.hex() for number in (1, 2, 3, 4)}
        assert is_sound(world, pushed[3].top_hash.hex())
        plan = dataset(world).retention()
        assert [each.kept for each in plan.versions][1] == "a run was trained on it"


def test_a_policy_that_came_and_went_lets_nothing_go(world: World) -> None:
    pushed = fill(world)
    age(world)
    dataset(world).set_retention("keep last 1")
    gc(world.store())
    age(world)
    dataset(world).set_retention("everything for ever")
    gc(world.store())
    age(world)
    gc(world.store())
    assert len(there(world)) == len(pushed)


def test_what_cannot_be_known_deletes_nothing(world: World) -> None:
    fill(world)
    dataset(world).set_retention("keep last 3")
    dataset(world).set_retention("everything for ever")
    age(world)
    keys = world.keys(object_keys.policy_prefix("things"))

    class Hiding(LocalStore):
        def list(self, prefix: str = "", **options: Any) -> Any:
            return (info for info in super().list(prefix, **options) if info.key != keys[0])

    with pytest.raises(IntegrityError, match="leaves out"):
        gc(Hiding(world.folder / "store"))
    store = world.store()
    body = store.get(keys[0])
    store.put(keys[0], body.replace(b"everything for ever", b"keep what is good"))
    with pytest.raises(UsageError, match="what is good"):
        gc(world.store())
    store.put(keys[0], body)
    assert len(there(world)) == 5
    # Damage is no policy: what is missing and was not let go is an error.
    key = object_keys.manifest_key("things", there(world)[0])
    store.delete([key])
    with pytest.raises(IntegrityError):
        gc(world.store())


def test_a_mirror_has_what_was_kept_and_the_policy(
    world: World, tmp_path: Path, new_world: Callable[[Path], World]
) -> None:
    fill(world)
    dataset(world).set_retention("keep last 2")
    gc(world.store(), grace=-60)
    (tmp_path / "there").mkdir()
    copy = new_world(tmp_path / "there")
    with (
        open_session(world.bucket, world.settings, cached=False) as source,
        open_session(copy.bucket, copy.settings, cached=False) as target,
    ):
        assert mirror_dataset(source, target, "things").versions == 5
    assert there(copy) == there(world)
    assert dataset(copy).retention() == dataset(world).retention()
    with pytest.raises(NotFoundError, match="not kept any more"):
        copy.open("main~2")
    gc(copy.store(), grace=-60)
    assert is_sound(copy, "main~1")


@pytest.mark.s3
def test_on_the_real_server(s3_world: World) -> None:
    pushed = fill(s3_world, 4)
    dataset(s3_world).set_retention("keep last 1, tags for ever")
    report = gc(s3_world.store(), grace=-60)
    assert len(report.let_go["things"]) == 2
    assert set(there(s3_world)) == {pushed[1].top_hash.hex(), pushed[3].top_hash.hex()}
    assert is_sound(s3_world, "main")
    assert is_sound(s3_world, "v1")
    with pytest.raises(NotFoundError, match="not kept any more"):
        s3_world.open("main~1")


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


def dies(world: World, fatal: int, *, after: bool) -> bool:
    child = os.fork()
    if not child:
        try:
            # The lease of a run that dies ends at once, so that the next one need not wait for it.
            store = FatalStore(str(world.folder / "store"), fatal, after=after)
            gc(store, grace=-60, lease_seconds=-60)
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


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_change(tmp_path: Path, new_world: Callable[[Path], World], after: bool) -> None:
    for fatal in itertools.count(1):
        (tmp_path / str(fatal)).mkdir()
        world = new_world(tmp_path / str(fatal))
        pushed = fill(world, 3)
        dataset(world).set_retention("keep last 1")
        if not dies(world, fatal, after=after):
            break
        # Each version is whole, or was let go and says so: the first may go, the others may not.
        assert is_sound(world, "main")
        assert is_sound(world, "v1")
        try:
            assert is_sound(world, pushed[0].commit.hex())
        except NotFoundError as error:
            assert "not kept any more" in error.what
        gc(world.store(), grace=-60, lease_seconds=-60)
        assert set(there(world)) == {each.top_hash.hex() for each in pushed[1:]}
        world.close()
    # What is tried and a lease, each made and removed; a word of it, the manifest, its nodes, its data.
    assert fatal - 1 >= 4 + 2 + 4
