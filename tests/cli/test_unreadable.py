"""One object that cannot be read is named, and everything else goes on: registering, verifying, warming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Status

COUNT = 20
ARCHIVED = "n07"
_REFUSAL = Status(
    403,
    b"<?xml version='1.0'?><Error><Code>InvalidObjectState</Code>"
    b"<Message>The operation is not valid for the object's storage class</Message></Error>",
)


class Bucket:
    """A bucket with twenty objects below `in/`, reached by way of a proxy."""

    def __init__(self, name: str, run: Any, proxy: FaultProxy) -> None:
        self.name = name
        self.source = f"s3://{name}/in"
        self.handle = f"{name}/data"
        self._run = run
        self._proxy = proxy
        self._client = boto3.client("s3")
        for number in range(COUNT):
            self.put(f"in/n{number:02}", b"%d" % number * 1000)

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=body)

    def archive(self, method: str = "GET") -> None:
        """Refuse an object as an archive does: what is known of it can be asked for, and its bytes cannot."""
        self._proxy.fail(
            fault=_REFUSAL, match=lambda asked, path: asked == method and f"/in/{ARCHIVED}" in path, times=10_000
        )

    def run(self, *words: str) -> Any:
        return self._run(*words)


@pytest.fixture
def bucket_of(
    aws_environment: dict[str, str],
    bucket: str,
    fault_proxy: FaultProxy,
    run_process: Any,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bucket:
    # The variables were set before the command line's own fixture cleared them.
    for name, value in aws_environment.items():
        monkeypatch.setenv(name, value)
    found = Bucket(bucket, run_process, fault_proxy)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    return found


@pytest.mark.s3
@pytest.mark.regress
def test_an_archived_object_keeps_a_version_from_being_made_only_until_it_may_be_left_out(bucket_of: Bucket) -> None:
    bucket_of.archive()
    bucket_of.put("in/n09/below", b"an object beside a folder of its name")
    bucket_of.put("in/ends/", b"bytes that no file can have")
    bucket_of.put("in/marker/", b"")
    refused = bucket_of.run("push", "--in-place", bucket_of.source, bucket_of.handle)
    assert refused.returncode == 1
    assert refused.stderr.count("\n    ") == 3
    for words in (f"{ARCHIVED}: the object is archived", "restore-object", "n09: ", "ends/: ", "--skip-unreadable"):
        assert words in refused.stderr
    assert "marker" not in refused.stderr
    assert bucket_of.run("ls", bucket_of.handle).returncode == 3  # nothing was published

    done = bucket_of.run("push", "--in-place", "--skip-unreadable", bucket_of.source, bucket_of.handle, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert {each["key"] for each in report["unreadable"]} == {ARCHIVED, "n09", "ends/"}
    assert report["files"] == COUNT - 2 + 1
    listed = bucket_of.run("ls", "-r", bucket_of.handle).stdout.split()
    assert {"n09/", "n09/below", "ends/", "marker/", "n08"} < set(listed)
    assert ARCHIVED not in listed


@pytest.mark.s3
@pytest.mark.regress
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_verifying_names_an_archived_object_and_reads_the_others(bucket_of: Bucket, method: str) -> None:
    assert bucket_of.run("push", "--in-place", bucket_of.source, bucket_of.handle).returncode == 0
    bucket_of.archive(method)
    done = bucket_of.run("verify", "--deep", bucket_of.handle, "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    (damage,) = report["damages"]
    assert (damage["kind"], damage["paths"], damage["affected"]) == ("refused", [ARCHIVED], 1)
    if method == "GET":
        assert "restore-object" in damage["fix"]
    assert report["bytes_read"] == sum(len(b"%d" % number) * 1000 for number in range(COUNT)) - 1000
    told = bucket_of.run("verify", "--deep", bucket_of.handle)
    assert "1 of the objects could not be read" in told.stdout


@pytest.mark.s3
@pytest.mark.regress
def test_warming_names_an_archived_object_and_fetches_the_others(bucket_of: Bucket) -> None:
    assert bucket_of.run("push", "--in-place", bucket_of.source, bucket_of.handle).returncode == 0
    bucket_of.archive()
    done = bucket_of.run("warm", bucket_of.handle, "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["bytes_warmed"] == report["bytes"] - 1000
    (told,) = report["refused"]
    assert ARCHIVED in told
    assert "restore-object" in told
    assert not report["complete"]


@pytest.mark.s3
@pytest.mark.regress
def test_warming_ends_with_its_summary_whatever_ends_it(bucket_of: Bucket, fault_proxy: FaultProxy) -> None:
    assert bucket_of.run("push", "--in-place", bucket_of.source, bucket_of.handle).returncode == 0
    fault_proxy.fail(fault=Status(400), match=lambda method, path: "/in/" in path, times=10_000)
    done = bucket_of.run("warm", bucket_of.handle)
    assert done.returncode not in (0, 70)
    assert "are in the cache" in done.stdout
    assert "penstock: " in done.stderr
