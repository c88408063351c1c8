"""Objects of S3 in a version: left where they lie, pinned, copied by the server; and told when they changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers.rgw import RadosGateway

import penstock
from penstock.errors import AccessError, ConflictError, IntegrityError, MergeConflictError, NotFoundError, UsageError

pytestmark = pytest.mark.s3


@pytest.fixture
def source(gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a bucket with three objects below `in/`; `<name>-to` is an empty one."""
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    gateway.make_bucket(f"{bucket}-to")
    for key, body in (("in/a/1.jpg", b"one"), ("in/a/2.jpg", b"two"), ("in/large.bin", os.urandom(5 << 20))):
        assert gateway.request("PUT", f"/{bucket}/{key}", body=body).status == 200
    return bucket


def test_objects_stay_where_they_lie_and_are_copied_by_the_server_below_a_prefix(source: str, tmp_path: Path) -> None:
    builder = penstock.PackageBuilder(f"{source}-to/dataset").add(f"s3://{source}/in/", "data")
    builder.set("single.jpg", f"s3://{source}/in/a/1.jpg", meta={"n": 1})
    top_hash = builder.build_manifest().top_hash
    package = builder.push(allow_missing_readme=True)
    assert builder.sent is not None
    assert builder.sent.bytes == 0
    assert package["data/a/1.jpg"].physical_keys[0].uri == f"s3://{source}/in/a/1.jpg"
    assert (package.read("single.jpg"), package.get_metadata("single.jpg")) == (b"one", {"n": 1})
    copied = package.to_builder().add(f"s3://{source}/in/a/2.jpg", "b.jpg").push(prefix="v1", allow_missing_readme=True)
    assert copied["b.jpg"].physical_keys[0].uri == f"s3://{source}-to/v1/b.jpg"
    assert copied.read("b.jpg") == b"two"
    other = penstock.PackageBuilder(f"{source}-to/other").add(f"s3://{source}/in/", "data")
    other.set("single.jpg", f"s3://{source}/in/a/1.jpg", meta={"n": 1}).push_data(prefix="v2")
    assert other.sent is not None
    assert (other.sent.bytes, other.sent.copied) == (0, 4)
    moved = other.push_manifest(allow_missing_readme=True)
    assert moved.top_hash == top_hash
    assert moved.verify(deep=True).sound
    assert other.build_manifest().top_hash == top_hash


def test_an_object_that_is_gone_or_another_by_now_is_never_read_as_what_it_was(
    source: str, gateway: RadosGateway
) -> None:
    builder = penstock.PackageBuilder(f"{source}-to/dataset").add(f"s3://{source}/in/a/", "a")
    package = builder.push(allow_missing_readme=True)
    assert gateway.request("PUT", f"/{source}/in/a/1.jpg", body=b"ONE").status == 200
    with pytest.raises(IntegrityError, match=r"1\.jpg"):
        package.read("a/1.jpg")
    again = penstock.PackageBuilder(f"{source}-to/again").add(f"s3://{source}/in/a/", "a")
    assert gateway.request("PUT", f"/{source}/in/a/2.jpg", body=b"TWO").status == 200
    with pytest.raises(ConflictError, match=r"2\.jpg changed since it was added"):
        again.push_data(prefix="v1")
    assert gateway.request("DELETE", f"/{source}/in/a/2.jpg").status == 204
    with pytest.raises((NotFoundError, IntegrityError, ConflictError)):
        again.push_data(prefix="v1")
    # What is there now is another content: added over what was there, it is a conflict.
    with pytest.raises(MergeConflictError):
        package.to_builder().add(f"s3://{source}/in/a/", "a")


def test_addresses_that_lead_nowhere_are_told(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = penstock.PackageBuilder(f"{source}-to/dataset")
    for address in (f"s3://{source}/in/nothing.jpg", f"s3://{source}/nothing/", f"s3://{source}-not-there/a"):
        with pytest.raises((NotFoundError, AccessError)):
            builder.add(address, "x")
    with pytest.raises(UsageError, match="no address of an object"):
        builder.set("x", f"s3://{source}/in/a/1.jpg?other=1")
    assert len(builder) == 0
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessError):
        penstock.PackageBuilder(f"{source}-to/dataset").add(f"s3://{source}/in/", "x")


def test_a_package_of_another_bucket_is_copied_by_the_server(source: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/large.bin").write_bytes(os.urandom(3 << 20))
    (tmp_path / "files/small").write_bytes(b"small")
    package = penstock.PackageBuilder(f"{source}/dataset").add(tmp_path / "files", "").push(allow_missing_readme=True)
    builder = penstock.PackageBuilder(f"{source}-to/dataset").add(package)
    copied = builder.push(allow_missing_readme=True)
    assert builder.sent is not None
    assert (builder.sent.bytes, builder.sent.objects) == (0, 0)
    assert copied.top_hash == package.top_hash
    assert copied["small"].physical_keys[0].uri.startswith(f"s3://{source}-to/.penstock/copies/")
    assert copied.verify(deep=True).sound


def test_a_version_in_a_bucket_elsewhere_never_points_to_files_of_this_machine(source: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"here")
    builder = penstock.PackageBuilder(f"{source}-to/local").set("a", tmp_path / "a")
    with pytest.raises(UsageError, match="cannot point to files of this machine"):
        builder.push_manifest(allow_local_files=True, allow_missing_readme=True)
    with pytest.raises(NotFoundError):
        penstock.Package(f"{source}-to/local").info()
    assert builder.push(allow_missing_readme=True).read("a") == b"here"
