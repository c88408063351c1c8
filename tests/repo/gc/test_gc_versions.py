"""Buckets that keep versions, and objects under a lock, on the real S3 server: what gc says of them and deletes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from servers.rgw import RadosGateway

import penstock.repo.bucket.leases as module
from penstock.progress import SILENT
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store import Store, open_store

World = Any  # see conftest
pytestmark = pytest.mark.s3

ME = Authorship("tester", "", "test")
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
HOUR = 3600.0


def gc(store: Store, *, grace: float = -60, delete: bool = True, **options: Any) -> GcReport:
    load = Nodes(store, None, RequestCounts()).load
    return collect(store, load, SILENT, grace=grace, delete=delete, **options)


def is_sound(world: World) -> bool:
    return verify(parse_handle(world.handle("main")), world.settings, SILENT, deep=True).is_sound


def fill(world: World) -> None:
    """Make a branch and a version that nothing leads to. The bucket keeps no versions yet: `create` needs that."""
    world.push(world.plant({b"a": b"1" * 1000}, "one"))
    world.push(world.plant({b"b": b"2" * 300_000}, "two"), "side")
    world.delete_branch("side", ME)


def keep_versions(gateway: RadosGateway, bucket: str) -> None:
    answer = gateway.request("PUT", f"/{bucket}?versioning", VERSIONING)
    assert answer.status == 200, answer.body


def noncurrent(store: Store, prefix: str = ".penstock/") -> list[Any]:
    return [each for each in store.versions(prefix) if each.is_marker or not each.is_latest]


@pytest.fixture
def versioned(s3_world: World, gateway: RadosGateway, bucket: str) -> Iterator[World]:
    fill(s3_world)
    keep_versions(gateway, bucket)
    return s3_world


@pytest.mark.regress(reason="gc knew nothing of versions")
def test_what_is_deleted_stays_as_a_version_until_those_are_asked_for(versioned: World) -> None:
    world = versioned
    store = world.store()
    report = gc(store)
    assert report.deleted.objects == 4
    assert report.keeps_versions
    assert report.noncurrent is not None
    assert report.noncurrent.bytes >= report.deleted.bytes > 300_000
    gone = [each for each in noncurrent(store, ".penstock/data/") if not each.is_marker]
    assert [each.size for each in gone] == [300_000]
    # Only told: nothing of it goes.
    told = gc(store, delete=False, old_versions=True)
    assert told.old.bytes > 300_000
    assert told.old_deleted.objects == 0
    assert gone == [each for each in noncurrent(store, ".penstock/data/") if not each.is_marker]
    # Within the grace period they stay.
    early = gc(store, grace=HOUR, old_versions=True)
    assert (early.old_deleted.objects, early.deleted.objects) == (0, 0)
    done = gc(store, old_versions=True)
    assert done.old_deleted.bytes > 300_000
    assert done.refused.objects == 0
    assert noncurrent(store, ".penstock/data/") == noncurrent(store, ".penstock/nodes/") == []
    assert noncurrent(store, ".penstock/datasets/") == []
    # What is left of it are the lease and the probes of that very run.
    assert {each.key.split("/")[1] for each in noncurrent(store)} <= {"leases", "probe"}
    assert is_sound(world)


def test_what_is_needed_keeps_the_version_that_may_rescue_it(versioned: World) -> None:
    world = versioned
    store = world.store()
    (needed,) = (key for key in world.keys(".penstock/data/") if store.head(key).size == 1000)
    (head,) = world.keys(".penstock/datasets/things/heads/main/")
    record = store.get(head)
    # Deleted by somebody; overwritten by somebody; a record of a ref overwritten with the same.
    store.delete([needed])
    store.put(head, record)
    gc(store, old_versions=True)
    (rescue,) = (each for each in noncurrent(store, needed) if not each.is_marker)
    assert store.get(needed, version_id=rescue.version_id) == b"1" * 1000
    assert len(noncurrent(store, head)) == 1
    store.put(needed, b"damaged")
    store.put("elsewhere", b"1")
    store.put("elsewhere", b"2")
    gc(store, old_versions=True)
    bodies = [store.get(needed, version_id=each.version_id) for each in store.versions(needed) if not each.is_marker]
    assert bodies == [b"damaged", b"1" * 1000]
    assert len(list(store.versions("elsewhere"))) == 2
    # Whole again, the same bytes of before are superseded; those that differ stay.
    store.put(needed, b"1" * 1000)
    gc(store, old_versions=True)
    assert [each.size for each in noncurrent(store, needed) if not each.is_marker] == [7]
    assert is_sound(world)


def test_no_deleted_object_is_shown_again(versioned: World) -> None:
    """A marker goes last: killed before it, the next run removes it; and whatever was deleted stays so."""
    world = versioned
    store = world.store()
    gc(store)
    keys = set(world.keys())

    class Dies(BaseException):
        """No error that anything would catch."""

    calls = 0
    real = type(store).delete_versions

    def dying(self: Store, versions: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Dies
        return real(self, versions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(store), "delete_versions", dying)
        with pytest.raises(Dies):
            gc(store, old_versions=True, lease_seconds=-60)
    assert set(world.keys()) - {key for key in world.keys(".penstock/") if "/leases/" in key} == keys
    assert {each.is_marker for each in noncurrent(store, ".penstock/data/")} == {True}
    gc(store, old_versions=True)
    assert noncurrent(store, ".penstock/data/") == []
    assert set(world.keys()) - {key for key in world.keys(".penstock/") if "/leases/" in key} == keys
    assert is_sound(world)


@pytest.mark.regress(reason="gc knew nothing of versions")
def test_versions_under_a_lock_are_named_and_counted(s3_world: World, gateway: RadosGateway) -> None:
    world = s3_world
    fill(world)
    locked = f"locked-{world.bucket.removeprefix('s3://')}"
    answer = gateway.request("PUT", f"/{locked}", headers={"x-amz-bucket-object-lock-enabled": "true"})
    assert answer.status == 200, answer.body
    with open_store(f"s3://{locked}") as store:
        for key in world.keys(".penstock/"):
            store.put(key, world.store().get(key))
        (held,) = (info.key for info in store.list(".penstock/data/") if info.size == 300_000)
        until = b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>"
        answer = gateway.request("PUT", f"/{locked}/{held}?retention", until)
        assert answer.status == 200, answer.body
        report = gc(store, old_versions=True)
        assert report.deleted.objects == 4
        assert (report.refused.objects, report.refused.bytes) == (1, 300_000)
        assert report.refusals == [f"{held}: AccessDenied"]
        assert report.old_deleted.objects >= 6
        assert store.head(held) is None  # its marker stays: else the object would be shown again
        assert [each.is_marker for each in store.versions(held)] == [True, False]


@pytest.mark.regress(reason="a lease was renewed by a clock that no test could move")
def test_a_mount_adds_few_versions_of_its_lease(
    s3_world: World, gateway: RadosGateway, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of a mount, looked at every minute."""
    keep_versions(gateway, bucket)
    store = s3_world.store()
    begun = module.now()
    passed = 0.0
    monkeypatch.setattr(module, "now", lambda: begun + passed)
    with Lease(store, "things", LeaseKind.MOUNT, [b"\1" * 32]) as lease:
        for minute in range(24 * 60):
            passed = minute * 60.0
            assert lease.keep_up()
            if minute % 360 == 0:
                assert len(list(store.versions(lease.key))) <= 2
        assert store.head(lease.key) is not None
    versions = list(store.versions(lease.key))
    assert (len(versions), versions[0].is_marker) == (3, True)


def test_doctor_names_the_rule_that_ends_it(s3_world: World, gateway: RadosGateway, bucket: str) -> None:
    from penstock.repo.doctor.version_checks import check_versions, lifecycle_rule

    store = s3_world.store()
    assert check_versions(store).state == "ok"
    assert "none are kept" in check_versions(store).found
    keep_versions(gateway, bucket)
    check = check_versions(store)
    assert check.state == "warning"
    rule = json.loads(check.fix.partition(": ")[2])
    assert rule == lifecycle_rule(store.url)
    with open_store(f"{s3_world.bucket}/deep/down") as below:
        assert lifecycle_rule(below.url)["Rules"][0]["Filter"] == {"Prefix": "deep/down/.penstock/"}
    import boto3

    client = boto3.client("s3")
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rule)
    assert "until a lifecycle rule" in check_versions(store).found
    # A rule that does not reach all of it is none.
    rule["Rules"][0]["Filter"] = {"Prefix": ".penstock/data/"}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rule)
    assert check_versions(store).state == "warning"
