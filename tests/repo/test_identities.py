"""Objects of S3 pinned by what their store says of them, and never read for it: read back, guarded, kept apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from servers.faultproxy import FaultProxy

from penstock.api.packages.package import Package
from penstock.api.storage.block_cache import clear_cache
from penstock.api.storage.bucket import Bucket
from penstock.errors import ConflictError, IntegrityError, UsageError
from penstock.manifest.entry import External, TreeEntry, display_path
from penstock.manifest.hashing import content_hash
from penstock.progress import ProgressMeter
from penstock.repo.push.push import PushOutcome, push_in_place
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship
from penstock.store.base import ByteRange
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

LARGE = os.urandom((2 << 20) + 5)


def register(source: str, handle: str, *, identity: bool = True, versioned: bool = False) -> tuple[PushOutcome, int]:
    """Register; return how many bytes were read for it, too."""
    meter = ProgressMeter()
    report = push_in_place(
        source,
        parse_handle(handle),
        Settings.load(),
        Authorship("tester", "in place", "push"),
        meter,
        identity=identity,
        require_versioned=versioned,
    )
    return report, meter.states()[0].done


def files_of(snapshot: Snapshot) -> dict[str, TreeEntry]:
    return {display_path(names): entry for names, entry in snapshot.tree.walk() if entry.is_file}


def content(snapshot: Snapshot, entry: TreeEntry) -> bytes:
    return b"".join(snapshot.read(entry))


def put(bucket: str, key: str, body: bytes) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=body)


@pytest.fixture
def objects(aws_environment: dict[str, str], bucket: str) -> dict[str, bytes]:
    """Some objects: small, large and empty ones."""
    found = {"a/small": b"small", "empty": b"", "large": LARGE, "z": b"last"}
    for name, body in found.items():
        put(bucket, f"in/{name}", body)
    return found


@pytest.fixture
def snapshot(objects: dict[str, bytes], bucket: str) -> Iterator[Snapshot]:
    register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    found = open_snapshot(f"s3://{bucket}/data:main", Settings.load())
    yield found
    found.close()


@pytest.mark.s3
def test_objects_are_entries_without_being_read(objects: dict[str, bytes], bucket: str) -> None:
    report, read = register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    assert (report.files, report.bytes, report.bytes_uploaded, read) == (4, len(LARGE) + 9, 0, 0)
    again, read = register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    assert (again.commit, again.top_hash, read) == (None, report.top_hash, 0)


@pytest.mark.s3
def test_they_read_back_and_lie_in_the_cache_by_the_hash_of_their_content(
    snapshot: Snapshot, objects: dict[str, bytes]
) -> None:
    files = files_of(snapshot)
    assert {path: entry.is_identity for path, entry in files.items()} == {
        "a/small": True,
        "empty": False,
        "large": True,
        "z": True,
    }
    assert snapshot.is_cached(files["large"]) == (0, 3)
    for path, entry in files.items():
        assert content(snapshot, entry) == objects[path]
        assert entry.hash != content_hash(objects[path]) or path == "empty"
    gets = snapshot.counters()["gets"]
    for path, entry in files.items():
        assert content(snapshot, entry) == objects[path]
    assert snapshot.counters()["gets"] == gets
    assert snapshot.is_cached(files["large"]) == (3, 3)
    assert snapshot.has_block(content_hash(b"small"))
    assert not snapshot.has_block(files["a/small"].hash)


@pytest.mark.s3
def test_an_object_that_was_overwritten_is_an_error_and_no_wrong_bytes(snapshot: Snapshot, bucket: str) -> None:
    files = files_of(snapshot)
    put(bucket, "in/large", LARGE[::-1])
    put(bucket, "in/z", b"LAST")
    boto3.client("s3").delete_object(Bucket=bucket, Key="in/a/small")
    for path in ("large", "z", "a/small"):
        with pytest.raises(IntegrityError):
            content(snapshot, files[path])


@pytest.mark.s3
def test_a_versioned_object_is_read_as_it_was_when_its_version_was_asked_for(
    aws_environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    boto3.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put(bucket, "in/z", b"last")
    plain, _ = register(f"s3://{bucket}/in", f"file://{tmp_path}/store/plain")
    asked, _ = register(f"s3://{bucket}/in", f"file://{tmp_path}/store/asked", versioned=True)
    assert plain.top_hash == asked.top_hash
    assert (plain.unversioned, asked.unversioned) == (1, 0)
    put(bucket, "in/z", b"LAST")
    found = open_snapshot(f"file://{tmp_path}/store/asked:main", Settings.load())
    assert content(found, files_of(found)["z"]) == b"last"
    found.close()


@pytest.mark.s3
def test_reading_them_after_all_gives_entries_with_hashes_that_stay(objects: dict[str, bytes], bucket: str) -> None:
    pinned, _ = register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    hashed, read = register(f"s3://{bucket}/in", f"s3://{bucket}/data", identity=False)
    assert read == len(LARGE) + 9
    assert hashed.top_hash != pinned.top_hash
    again, read = register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    assert (again.commit, again.top_hash, read) == (None, hashed.top_hash, 0)


def test_a_directory_is_not_pinned_by_identity(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(UsageError, match="by identity"):
        register(str(tmp_path / "source"), f"file://{tmp_path}/store/data")


@pytest.mark.s3
def test_another_place_with_the_same_etag_is_another_block(snapshot: Snapshot) -> None:
    entry = files_of(snapshot)["a/small"]
    found = entry.extents[0].object
    assert isinstance(found, External)
    other = External("s3://elsewhere/x", found.version_id, found.etag, found.size)
    moved = TreeEntry(entry.name, entry.kind, entry.size, entry.hash, extents=(type(entry.extents[0])(other, 0, 5),))
    assert snapshot.block_hash(moved, 0) != snapshot.block_hash(entry, 0)


@pytest.mark.s3
def test_without_a_hash_the_store_has_to_say_what_it_sends(objects: dict[str, bytes], bucket: str) -> None:
    store = open_store(f"s3://{bucket}", StoreOptions())
    with pytest.raises(ConflictError):
        store.get("in/z", ByteRange(0, 4), etag="0" * 32)
    store.close()


@pytest.mark.s3
def test_what_an_earlier_session_read_is_found_in_the_cache(
    objects: dict[str, bytes], bucket: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(f"s3://{bucket}/in", f"s3://{bucket}/data")

    def read() -> int:
        with closing(open_snapshot(f"s3://{bucket}/data:main", Settings.load())) as found:
            files, before = files_of(found), found.counters()["bytes_fetched"]
            assert {path: content(found, entry) for path, entry in files.items()} == objects
            return found.counters()["bytes_fetched"] - before

    everything = sum(map(len, objects.values()))
    assert (read(), read()) == (everything, 0)
    with monkeypatch.context() as elsewhere:  # another server may have something else at the same address
        elsewhere.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
        assert read() == everything
    assert read() == 0
    clear_cache()
    assert read() == everything


@pytest.mark.s3
def test_what_was_learnt_is_within_the_bound_and_lost_without_harm(
    snapshot: Snapshot, objects: dict[str, bytes], bucket: str
) -> None:
    files = files_of(snapshot)
    assert snapshot.known_hash(files["z"], 0) is None
    assert content(snapshot, files["z"]) == b"last"
    assert snapshot.known_hash(files["z"], 0) == content_hash(b"last")
    snapshot.close()
    settings = Settings.load()
    with closing(open_snapshot(f"s3://{bucket}/data:main", settings)) as again:
        assert again.known_hash(files["z"], 0) == content_hash(b"last")
    for root, _, names in os.walk(settings.cache_directory / "locations"):
        for name in names:
            Path(root, name).write_bytes(b"damage")
    with closing(open_snapshot(f"s3://{bucket}/data:main", settings)) as again:
        assert again.known_hash(files["z"], 0) is None
        assert content(again, files["z"]) == b"last"


@pytest.mark.s3
def test_gc_leaves_objects_that_versions_point_to_and_those_that_none_does_any_more(
    objects: dict[str, bytes], bucket: str
) -> None:
    """They lie in the very bucket that is cleaned."""
    register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    register(f"s3://{bucket}/in/a", f"s3://{bucket}/dropped")
    put(bucket, "in/later", b"later")
    register(f"s3://{bucket}/in", f"s3://{bucket}/data")
    bodies = {f"in/{name}": body for name, body in objects.items()} | {"in/later": b"later"}
    client = boto3.client("s3")
    for each in client.list_objects_v2(Bucket=bucket, Prefix=".penstock/datasets/dropped/")["Contents"]:
        client.delete_object(Bucket=bucket, Key=each["Key"])  # its versions are garbage, then
    for _ in range(1000):  # times of objects are whole seconds, and what is young stays
        if Bucket(bucket).gc(delete=True, grace=0).deleted.objects:
            break
    else:
        pytest.fail("nothing was deleted")
    listed = client.list_objects_v2(Bucket=bucket, Prefix="in/")["Contents"]
    assert {each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed} == bodies
    with closing(open_snapshot(f"s3://{bucket}/data:main", Settings.load(), cached=False)) as found:
        assert {f"in/{path}": content(found, entry) for path, entry in files_of(found).items()} == bodies
    assert Package(f"{bucket}/data").verify(deep=True).sound
