"""Packages with entries that are pinned by what their store says of them: made, read, compared, copied, downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest
from servers.rgw import RadosGateway

import penstock
from penstock.api.training.datasets import FileSequence
from penstock.errors import IntegrityError, UsageError

pytestmark = pytest.mark.s3
REGISTRY = Path(__file__).parent.parent / "repo/quilt/registry.json"
LARGE = os.urandom((2 << 20) + 7)


@pytest.fixture
def source(gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a bucket with three objects below `in/`; `<name>-to` is an empty one."""
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    gateway.make_bucket(f"{bucket}-to")
    for key, body in (("in/a/1.jpg", b"one"), ("in/a/2.jpg", b"two"), ("in/large.bin", LARGE)):
        assert gateway.request("PUT", f"/{bucket}/{key}", body=body).status == 200
    return bucket


@pytest.fixture
def package(source: str) -> penstock.Package:
    builder = penstock.PackageBuilder(f"{source}-to/dataset").add(f"s3://{source}/in/", "data", identity=True)
    builder.set("single.jpg", f"s3://{source}/in/a/1.jpg", meta={"n": 1}, identity=True)
    return builder.push(allow_missing_readme=True)


def test_what_a_builder_pinned_is_read_before_and_after_it_is_pushed(source: str) -> None:
    builder = penstock.PackageBuilder(f"{source}-to/dataset").add(f"s3://{source}/in/", "data", identity=True)
    assert builder.as_package(allow_local_manifest=True)["data/large.bin"].read() == LARGE
    package = builder.push(allow_missing_readme=True)
    assert builder.sent is not None
    assert builder.sent.bytes == 0
    assert package.read("data/large.bin") == LARGE
    assert package.read("data/a/1.jpg") == b"one"
    assert package["data/large.bin"].hash.startswith("identity:")
    assert package["data/a/1.jpg"].physical_keys[0].uri == f"s3://{source}/in/a/1.jpg"
    hashed = penstock.PackageBuilder(f"{source}-to/hashed").add(f"s3://{source}/in/", "data")
    assert hashed.build_manifest().top_hash != package.top_hash


def test_it_is_downloaded_verified_and_told_from_what_changed(
    source: str, package: penstock.Package, gateway: RadosGateway, tmp_path: Path
) -> None:
    package.download(tmp_path / "copy")
    assert (tmp_path / "copy" / "data" / "large.bin").read_bytes() == LARGE
    assert (tmp_path / "copy" / "single.jpg").read_bytes() == b"one"
    assert package.verify(deep=True).sound
    assert gateway.request("PUT", f"/{source}/in/a/2.jpg", body=b"TWO").status == 200
    assert gateway.request("PUT", f"/{source}/in/large.bin", body=LARGE[::-1]).status == 200
    with pytest.raises(IntegrityError, match=r"2\.jpg"):
        package.read("data/a/2.jpg")
    report = package.verify()
    assert not report.sound
    assert not package.verify(deep=True).sound
    url = f"penstock://{source}-to/dataset"
    files = fsspec.filesystem("penstock", skip_instance_cache=True)
    assert files.cat_file(f"{url}/data/a/1.jpg") == b"one"
    with pytest.raises(IntegrityError, match=r"2\.jpg"):
        files.cat_file(f"{url}/data/a/2.jpg")
    with pytest.raises(IntegrityError, match="ETag is"):
        package.download(tmp_path / "again")
    assert not (tmp_path / "again" / "data" / "a" / "2.jpg").exists()
    assert (tmp_path / "again" / "data" / "a" / "1.jpg").read_bytes() == b"one"
    samples = FileSequence(f"{source}-to/dataset")
    assert len(samples) == 4
    with pytest.raises(IntegrityError, match=r"2\.jpg|large"):
        [samples[at] for at in range(4)]
    assert package.verify_directory(tmp_path / "copy")  # what was read is known, whatever became of the objects
    again = package.to_builder().add(f"s3://{source}/in/", "data", identity=True, conflicts="theirs")
    assert sorted(each.path for each in again.changes().changes()) == ["data/a/2.jpg", "data/large.bin"]


def test_entries_go_to_other_packages_as_they_are(source: str, package: penstock.Package) -> None:
    other = penstock.PackageBuilder(f"{source}-to/other").add(package).push(allow_missing_readme=True)
    assert other.top_hash == package.top_hash
    there = penstock.PackageBuilder(f"{source}/elsewhere").add(package)
    there.push_data(prefix="copies")
    moved = there.push_manifest(allow_missing_readme=True)
    assert moved.top_hash == package.top_hash
    assert moved["single.jpg"].physical_keys[0].uri == f"s3://{source}/in/a/1.jpg"
    assert moved.read("data/large.bin") == LARGE
    direct = penstock.PackageBuilder(f"{source}-to/direct").add(f"s3://{source}/in/", "x", identity=True)
    direct.push_data(prefix="copies")
    assert direct.sent is not None
    # Nothing could be held against a hash: they stay where they lie.
    assert (direct.sent.copied, direct.sent.left) == (0, 3)


def test_only_objects_have_an_identity(source: str, package: penstock.Package, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    builder = penstock.PackageBuilder(f"{source}-to/dataset")
    for origin in (str(tmp_path / "file"), tmp_path / "file", package, package["single.jpg"]):
        with pytest.raises(UsageError, match="by identity"):
            builder.add(origin, "key", identity=True)
    with pytest.raises(UsageError, match="by identity"):
        builder.set("key", str(tmp_path / "file"), identity=True)
    assert builder.counts().added == 0


def test_a_package_of_quilt_comes_over_without_its_objects_being_read(
    source: str, gateway: RadosGateway, world: Path
) -> None:
    for key, body in json.loads(REGISTRY.read_text())["objects"].items():
        place = world / "registry" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(body.replace("file:///srv/files/", f"s3://{source}/files/"))
        for line in body.splitlines() if "/packages/" in key else ():
            for uri in (row := json.loads(line)).get("physical_keys", ()):
                name = uri.removeprefix("file:///srv/files/")
                path, body = f"/{source}/files/{name}", name[-1:].encode() * row["size"]
                if uri.startswith("file:///srv/files/"):
                    assert gateway.request("PUT", path, body=body).status == 200
    dataset = penstock.Dataset("demo/pinned")
    done = dataset.import_quilt(world / "registry", "team/full", identity=True)
    assert (done.added, done.entries, done.bytes_read) == (4, 32, 0)
    package = penstock.open("demo/pinned")
    entry = package["train/img9.png"]
    assert entry.hash.startswith("identity:")
    assert entry.metadata["quilt"]["hash"]  # which nobody has held anything against
    assert entry.read() == b"g" * entry.size
    with pytest.raises(IntegrityError, match="quilt recorded"):
        penstock.Dataset("demo/read").import_quilt(world / "registry", "team/full")
