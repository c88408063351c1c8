"""Commands on buckets that keep versions: what is pinned is read as it was, whatever became of it since."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from servers.faultproxy import Answer, FaultProxy, Rewrite
from servers.rgw import RadosGateway

import penstock
from penstock.errors import NotFoundError

pytestmark = pytest.mark.s3
Run = Callable[..., Result]
REGISTRY = Path(__file__).parents[2] / "repo/quilt/registry.json"
QUILT_FILES = {f"v1/img{number}.png": bytes([number]) * (100 + number) for number in range(5)} | {
    "v1/README.md": b"# Demo\n",
    "v1/empty.bin": b"",
    "v1/large.bin": bytes(range(256)) * (9 * 4096),
    "v3/img9.png": b"nine",
    "v3/README.md": b"# Demo 3\n",
}


@pytest.fixture
def client(home: Path, aws_environment: dict[str, str]) -> Any:
    """Return a client of S3; commands reach the same server."""
    return boto3.client("s3")


@pytest.fixture
def versioned(client: Any, bucket: str) -> str:
    """Return a bucket that keeps versions, with three objects."""
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for name in ("kept", "overwritten", "deleted"):
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=f"{name}, first".encode())
    return bucket


@pytest.fixture
def data(gateway: RadosGateway, versioned: str) -> str:
    """Return a dataset in a bucket of its own: one of Ceph 16 that keeps versions is none to push to."""
    gateway.make_bucket(f"{versioned}-to")
    return f"{versioned}-to/data"


def change(client: Any, bucket: str) -> None:
    """Overwrite one of the objects, and put a delete marker on another."""
    client.put_object(Bucket=bucket, Key="in/overwritten", Body=b"overwritten, again")
    client.delete_object(Bucket=bucket, Key="in/deleted")


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("how", [(), ("--identity",)])
def test_versions_that_were_pinned_are_read_whatever_became_of_the_objects(
    run: Run, client: Any, versioned: str, data: str, how: tuple[str, ...]
) -> None:
    source = f"s3://{versioned}/in"
    done(run("push", "--in-place", "--require-versioned", *how, source, data))
    change(client, versioned)
    for name in ("kept", "overwritten", "deleted"):
        assert run("cat", f"{data}/{name}").stdout_bytes == f"{name}, first".encode()
    done(run("verify", data))
    assert "read" in done(run("verify", "--deep", data)).output
    assert "no change" not in done(run("push", "--in-place", "--require-versioned", *how, source, data)).output
    assert run("cat", f"{data}/overwritten").stdout_bytes == b"overwritten, again"
    assert run("cat", f"{data}/deleted").exit_code == 3
    first = next(iter(penstock.Dataset(data).log(limit=2))).parents[0]
    assert run("cat", f"{data}:{first}/deleted").stdout_bytes == b"deleted, first"
    for each in client.list_object_versions(Bucket=versioned, Prefix="in/deleted").get("Versions", ()):
        client.delete_object(Bucket=versioned, Key=each["Key"], VersionId=each["VersionId"])
    done(run("cache", "clear"))
    gone = run("cat", f"{data}:{first}/deleted")
    assert gone.exit_code == 5
    assert "cannot be read" in gone.output
    assert run("verify", f"{data}:{first}").exit_code == 5


@pytest.mark.parametrize("identity", [True, False])
def test_a_builder_pins_the_version_that_an_address_names(
    client: Any, versioned: str, data: str, identity: bool
) -> None:
    versions = {
        each["Key"].removeprefix("in/"): each["VersionId"]
        for each in client.list_object_versions(Bucket=versioned, Prefix="in/")["Versions"]
    }
    change(client, versioned)
    builder = penstock.PackageBuilder(data)
    for name, version in versions.items():
        builder.set(name, f"s3://{versioned}/in/{name}?versionId={version}", identity=identity)
    builder.set("newest", f"s3://{versioned}/in/overwritten", identity=identity)
    (marker,) = client.list_object_versions(Bucket=versioned, Prefix="in/deleted")["DeleteMarkers"]
    for wrong in ("nothing", marker["VersionId"]):
        with pytest.raises(NotFoundError):
            builder.set("wrong", f"s3://{versioned}/in/deleted?versionId={wrong}", identity=identity)
    with pytest.raises(NotFoundError):
        builder.set("wrong", f"s3://{versioned}/in/deleted", identity=identity)
    package = builder.push(allow_missing_readme=True)
    assert {entry.key: entry.read() for entry in package} == {
        "kept": b"kept, first",
        "overwritten": b"overwritten, first",
        "deleted": b"deleted, first",
        "newest": b"overwritten, again",
    }
    assert package["deleted"].physical_keys[0].uri.endswith(f"?versionId={versions['deleted']}")
    assert package.verify(deep=True).sound


@pytest.mark.parametrize("how", [(), ("--identity",), ("--identity", "--require-versioned")])
def test_what_is_overwritten_between_the_listing_and_the_reading_is_never_mixed_up(
    run: Run,
    client: Any,
    versioned: str,
    data: str,
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    how: tuple[str, ...],
) -> None:
    """The first answer of the server is its listing: what comes after that meets another object."""
    listed: list[str] = []

    def overwrite(method: str, path: str) -> bool:
        if "list-type" in path and "prefix=in%2F" in path:
            listed.append(path)
        elif listed and "/in/" in path and len(listed) < 100:
            listed.extend([path] * 100)
            change(client, versioned)
        return False

    fault_proxy.fail(fault=None, match=overwrite)  # type: ignore[arg-type]  # it never happens
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    pushed = run("push", "--in-place", *how, f"s3://{versioned}/in", data)
    monkeypatch.setenv("AWS_ENDPOINT_URL", client.meta.endpoint_url)
    if how == ("--identity",):  # one listing is all that is asked; it is pinned to what was there then
        assert pushed.exit_code == 0, pushed.output
        assert len(listed) == 1
        change(client, versioned)
        assert run("cat", f"{data}/kept").stdout_bytes == b"kept, first"
        for name in ("overwritten", "deleted"):
            assert run("cat", f"{data}/{name}").exit_code == 5
        return
    assert len(listed) > 100
    assert pushed.exit_code == 4
    assert "changed while it was being read" in pushed.output
    assert run("cat", f"{data}/kept").exit_code == 3  # nothing was published
    done(run("push", "--in-place", *how, f"s3://{versioned}/in", data))
    assert run("cat", f"{data}/overwritten").stdout_bytes == b"overwritten, again"


def put_registry(client: Any, registry: str, bucket: str, *, by_version: bool) -> None:
    """Write into a bucket what quilt3 left of a package, and its objects into another one."""
    for file, body in QUILT_FILES.items():
        client.put_object(Bucket=bucket, Key=f"files/{file}", Body=body)
    listed = client.list_object_versions(Bucket=bucket, Prefix="files/")["Versions"]
    versions = {each["Key"]: f"?versionId={each['VersionId']}" if by_version else "" for each in listed}
    for key, body in json.loads(REGISTRY.read_text())["objects"].items():
        if "team/" in key and "team/full/" not in key:
            continue
        for file in QUILT_FILES:
            there = f's3://{bucket}/files/{file}{versions[f"files/{file}"]}"'
            body = body.replace(f'file:///srv/files/{file}"', there)  # one after the other
        client.put_object(Bucket=registry, Key=key, Body=body.encode())


@pytest.fixture
def registry(client: Any, gateway: RadosGateway, versioned: str) -> str:
    """Return a bucket as quilt3 left it, whose keys name versions of objects that have changed since."""
    name = f"{versioned}-quilt"
    gateway.make_bucket(name)
    put_registry(client, name, versioned, by_version=True)
    client.put_object(Bucket=versioned, Key="files/v3/img9.png", Body=b"NINE")
    client.delete_object(Bucket=versioned, Key="files/v1/large.bin")
    return name


@pytest.mark.parametrize("how", [(), ("--identity",)])
def test_a_package_of_quilt_whose_keys_name_versions_comes_over_as_it_was(
    run: Run, registry: str, data: str, tmp_path: Path, how: tuple[str, ...]
) -> None:
    imported = done(run("--json", "import-quilt", "--require-versioned", *how, f"s3://{registry}", "team/full", data))
    report = json.loads(imported.stdout)
    assert (report["added"], report["unversioned"]) == (4, 0)
    assert report["bytes_read"] == (0 if how else sum(map(len, QUILT_FILES.values())))
    assert run("cat", f"{data}/train/img9.png").stdout_bytes == b"nine"
    assert run("cat", f"{data}/large.bin").stdout_bytes == QUILT_FILES["v1/large.bin"]
    again = json.loads(done(run("--json", "import-quilt", *how, f"s3://{registry}", "team/full", data)).stdout)
    assert (again["added"], again["present"]) == (0, 4)

    rows_file = tmp_path / "rows.jsonl"
    assert "rows in" in done(run("export", data, "--jsonl", str(rows_file))).output
    rows = {row["path"]: row for row in map(json.loads, rows_file.read_text().splitlines())}
    large = rows["large.bin"]
    assert large["size"] == len(QUILT_FILES["v1/large.bin"])
    assert "?versionId=" in json.dumps(large)
    assert ("identity:" in json.dumps(large)) == bool(how)
    assert json.loads(done(run("--json", "export", data, "--jsonl", str(rows_file))).stdout)["rows"] == len(rows)
    assert done(run("export", data, "--jsonl", "-")).stdout == rows_file.read_text()
    assert run("export", f"{data}:nothing", "--jsonl", str(tmp_path / "none")).exit_code == 3
    assert not (tmp_path / "none").exists()


def test_a_version_that_quilt_names_and_that_is_gone_is_told(
    run: Run, client: Any, registry: str, versioned: str, data: str
) -> None:
    for each in client.list_object_versions(Bucket=versioned, Prefix="files/v1/img2.png")["Versions"]:
        client.delete_object(Bucket=versioned, Key=each["Key"], VersionId=each["VersionId"])
    read = run("import-quilt", f"s3://{registry}", "team/full", data)
    assert read.exit_code == 3
    assert "img2.png" in read.output
    done(run("import-quilt", "--identity", f"s3://{registry}", "team/full", f"{data}2"))
    assert run("cat", f"{data}2/train/img2.png").exit_code == 5
    assert run("verify", f"{data}2").exit_code == 5


def test_objects_of_quilt_that_have_only_weak_etags_are_not_pinned_by_them(
    run: Run,
    client: Any,
    gateway: RadosGateway,
    bucket: str,
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def weaken(answer: Answer) -> None:
        if "etag" in answer.fields:
            answer.fields["etag"] = "W/" + answer.fields["etag"]

    for name in ("quilt", "to"):
        gateway.make_bucket(f"{bucket}-{name}")
    put_registry(client, f"{bucket}-quilt", bucket, by_version=False)
    fault_proxy.fail(fault=Rewrite(weaken), match=lambda method, path: "/files/" in path, times=1_000_000)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    refused = run("import-quilt", "--identity", f"s3://{bucket}-quilt", "team/full", f"{bucket}-to/pinned")
    assert refused.exit_code == 2
    assert "cannot be pinned by its identity" in refused.output
    done(run("import-quilt", f"s3://{bucket}-quilt", "team/full", f"{bucket}-to/read"))
    assert run("cat", f"{bucket}-to/read/train/img9.png").stdout_bytes == b"nine"
