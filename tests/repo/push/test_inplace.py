"""Objects registered where they lie: local files, S3 objects, versions of S3 objects; read back, and guarded."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from penstock.errors import IntegrityError, NotFoundError, UnreadableError, UsageError
from penstock.manifest.entry import External, TreeEntry, display_path
from penstock.progress import SILENT, ProgressMeter
from penstock.repo.fetch.externals import Externals
from penstock.repo.push.push import PushOutcome, hash_directory, push_in_place
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import Trust
from penstock.repo.write.publish import Authorship
from penstock.store.base import ByteRange
from penstock.store.options import StoreOptions


def register(source: str | Path, handle: str) -> tuple[PushOutcome, int]:
    """Register, and say how many bytes were read for it."""
    meter = ProgressMeter()
    authorship = Authorship("tester", "in place", "push")
    report = push_in_place(str(source), parse_handle(handle), Settings.load(), authorship, meter)
    return report, meter.states()[0].done


def files_of(snapshot: Snapshot) -> dict[str, TreeEntry]:
    return {display_path(names): entry for names, entry in snapshot.tree.walk() if entry.is_file}


def content(snapshot: Snapshot, entry: TreeEntry) -> bytes:
    return b"".join(snapshot.read(entry))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "a b%").mkdir(parents=True)
    (top / "a b%" / "é.txt").write_bytes(b"small")
    (top / "a-b").write_bytes(b"")
    (top / "large").write_bytes(os.urandom(9 << 20))
    (top / "run").write_bytes(b"#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "link").symlink_to("large")
    return top


def test_a_directory_in_place(source: Path, tmp_path: Path) -> None:
    bucket = tmp_path / "store"
    report, _ = register(source, f"file://{bucket}/data")
    assert (report.files, report.bytes_uploaded, report.objects_uploaded) == (4, 0, 0)
    assert report.bytes == (9 << 20) + 5 + 10
    assert report.top_hash == hash_directory(str(source), SILENT)[0]
    snapshot = open_snapshot(f"file://{bucket}/data:main", Settings.load())
    for path, entry in files_of(snapshot).items():
        assert content(snapshot, entry) == (source / path).read_bytes()
    assert snapshot.physical(files_of(snapshot)["a b%/é.txt"]) == [(f"file://{source}/a%20b%25/%C3%A9.txt", 0, 5)]
    snapshot.close()


def test_a_file_that_changed_is_an_error_not_wrong_bytes(source: Path, tmp_path: Path) -> None:
    register(source, f"file://{tmp_path}/store/data")
    (source / "large").write_bytes(os.urandom(9 << 20))
    (source / "a b%" / "é.txt").unlink()
    snapshot = open_snapshot(f"file://{tmp_path}/store/data:main", Settings.load())
    for path in ("large", "a b%/é.txt"):
        with pytest.raises(IntegrityError):
            content(snapshot, files_of(snapshot)[path])
    snapshot.close()


def test_a_name_without_an_address_is_refused(source: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_bytes(b"x")
    with pytest.raises(UsageError, match="in place"):
        register(source, f"file://{tmp_path}/store/data")
    assert not (tmp_path / "store" / ".penstock" / "datasets").exists()


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        register(tmp_path / "nothing", f"file://{tmp_path}/store/data")


@pytest.fixture
def put(aws_environment: dict[str, str], bucket: str) -> Callable[[str, bytes], None]:
    client = boto3.client("s3")

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=body)

    return put


@pytest.mark.s3
def test_a_prefix_in_place(put: Callable[[str, bytes], None], bucket: str) -> None:
    objects = {f"in/{name}": os.urandom(size) for name, size in {"a/b": 10, "a-b": 0, "a.b/c/d é+%": 3 << 20}.items()}
    for key, body in objects.items():
        put(key, body)
    put("in/a//b", b"an empty name is no path")
    put("other", b"not below the prefix")
    report, read = register(f"s3://{bucket}/in", f"{bucket}/data")
    assert (report.files, report.bytes_uploaded, read) == (3, 0, (3 << 20) + 10)
    assert [skipped.path for skipped in report.skipped] == [b"a//"]
    snapshot = open_snapshot(f"{bucket}/data", Settings.load())
    assert {f"in/{path}": content(snapshot, entry) for path, entry in files_of(snapshot).items()} == objects
    snapshot.close()
    again, read_again = register(f"s3://{bucket}/in", f"{bucket}/data")
    assert (again.commit, again.top_hash, read_again) == (None, report.top_hash, 0)


@pytest.mark.s3
def test_an_object_that_changed_is_an_error(put: Callable[[str, bytes], None], bucket: str) -> None:
    put("in/x", b"before")
    register(f"s3://{bucket}/in", f"{bucket}/data")
    put("in/x", b"behind")
    snapshot = open_snapshot(f"{bucket}/data", Settings.load())
    with pytest.raises(IntegrityError, match="cannot be read"):
        content(snapshot, files_of(snapshot)["x"])
    snapshot.close()
    report, read = register(f"s3://{bucket}/in", f"{bucket}/data")
    assert report.commit is not None
    assert read == 6


@pytest.mark.s3
def test_a_version_of_an_object_stays_readable(put: Callable[[str, bytes], None], bucket: str, tmp_path: Path) -> None:
    data = f"file://{tmp_path}/store/data"  # a bucket of Ceph 16 that keeps versions is none to push to
    boto3.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put("in/x", b"before")
    register(f"s3://{bucket}/in", data)
    put("in/x", b"behind")
    snapshot = open_snapshot(data, Settings.load())
    entry = files_of(snapshot)["x"]
    assert content(snapshot, entry) == b"before"
    assert "?versionId=" in snapshot.physical(entry)[0][0]
    snapshot.close()


@pytest.mark.s3
def test_objects_without_versions_are_counted_and_refused_when_asked(
    put: Callable[[str, bytes], None], bucket: str, tmp_path: Path
) -> None:
    data = f"file://{tmp_path}/store/data"
    who = Authorship("tester", "", "push")

    def strictly() -> PushOutcome:
        source, handle = f"s3://{bucket}/in", parse_handle(data)
        return push_in_place(source, handle, Settings.load(), who, SILENT, require_versioned=True)

    put("in/x", b"x")
    put("in/empty", b"")
    assert [register(f"s3://{bucket}/in", data)[0].unversioned for _ in range(2)] == [1, 1]
    with pytest.raises(UnreadableError) as raised:
        strictly()
    assert any(each.startswith("x: its bucket keeps no versions") for each in raised.value.candidates)
    boto3.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with pytest.raises(UnreadableError):  # what was there before has no version of its own
        strictly()
    put("in/x", b"y")
    put("in/empty", b"")
    assert strictly().unversioned == 0


@pytest.mark.s3
def test_a_bucket_that_is_not_reached_asks_for_a_remote(bucket: str, aws_environment: dict[str, str]) -> None:
    def read(own: str, remotes: dict[str, StoreOptions], key: str = "nowhere-at-all/k") -> str:
        with closing(Externals(own, StoreOptions(), remotes, Trust())) as externals:
            with pytest.raises(NotFoundError) as raised:
                externals.get(External(f"s3://{key}"), ByteRange(0, 1))
            return raised.value.fix

    told = "penstock remote add nowhere-at-all s3://nowhere-at-all --endpoint-url URL --profile NAME"
    assert told in read(f"s3://{bucket}", {})
    assert told not in read(f"s3://{bucket}", {"s3://nowhere-at-all": StoreOptions()})
    assert "remote add nowhere" not in read("s3://nowhere-at-all", {})
    assert "remote add" not in read("file:///srv", {}, f"{bucket}/no-such-object")


@pytest.mark.s3
def test_an_object_and_a_folder_of_one_name(put: Callable[[str, bytes], None], bucket: str) -> None:
    put("in/x", b"object")
    put("in/x/y", b"below")
    with pytest.raises(UnreadableError, match="1 object"):
        register(f"s3://{bucket}/in", f"{bucket}/data")
