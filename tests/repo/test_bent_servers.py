"""Whole commands against servers that leave out or bend what they answer: data is checked by hash, or refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result
from servers.faultproxy import Answer, Endless, FaultProxy, Rewrite

from penstock.cli.main import root
from penstock.store import open_store

pytestmark = pytest.mark.s3
ALWAYS = 1_000_000


@pytest.fixture
def put(aws_environment: dict[str, str], bucket: str) -> Callable[[str, bytes], None]:
    client = boto3.client("s3")

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=body)

    return put


@pytest.fixture
def behind(put: object, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """Lead the commands through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    return fault_proxy


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(root, arguments)


def no_etags(answer: Answer) -> None:
    answer.fields.pop("etag", None)
    answer.body = re.sub(rb"<ETag>[^<]*</ETag>", b"", answer.body)


def weak_etags(answer: Answer) -> None:
    """As a proxy does: to headers, and not to what lists say."""
    if "etag" in answer.fields:
        answer.fields["etag"] = "W/" + answer.fields["etag"]


def bend(proxy: FaultProxy, change: Callable[[Answer], None]) -> None:
    proxy.fail(fault=Rewrite(change), times=ALWAYS)


def is_object(method: str, path: str) -> bool:
    return method == "GET" and "/in/" in path and "list-type" not in path


@pytest.mark.regress
def test_without_etags_all_works_and_in_place_says_that_it_cannot_pin(
    behind: FaultProxy, put: Callable[[str, bytes], None], bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"content")
    put("in/x", b"in place")
    bend(behind, no_etags)
    assert penstock("push", str(tmp_path / "d"), f"{bucket}/copied").exit_code == 0
    assert penstock("cat", f"{bucket}/copied/x").output == "content"
    pushed = penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed")
    assert pushed.exit_code == 0, pushed.output
    assert "1 files could not be pinned" in pushed.output
    assert penstock("cat", f"{bucket}/placed/x").output == "in place"
    put("in/x", b"in other")  # of the same size: without a pin it has to be read to be known
    assert penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed").exit_code == 0
    assert penstock("cat", f"{bucket}/placed/x").output == "in other"
    assert penstock("verify", f"{bucket}/placed", "--deep").exit_code == 0


@pytest.mark.regress
def test_weak_etags_pin_as_strong_ones_do(behind: FaultProxy, put: Callable[[str, bytes], None], bucket: str) -> None:
    put("in/x", b"in place")
    bend(behind, weak_etags)
    assert penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed").exit_code == 0
    assert penstock("cat", f"{bucket}/placed/x").output == "in place"
    behind.heal()  # the proxy is gone: the same tags are strong again
    assert penstock("cache", "clear").exit_code == 0
    assert penstock("cat", f"{bucket}/placed/x").output == "in place"
    assert "no change" in penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed").output
    put("in/x", b"in other")
    assert penstock("verify", f"{bucket}/placed").exit_code == 5


@pytest.mark.regress
def test_wrong_bytes_are_never_registered(behind: FaultProxy, put: Callable[[str, bytes], None], bucket: str) -> None:
    body = os.urandom(9 << 20)
    put("in/x", body)

    def change(answer: Answer) -> None:
        if answer.status == 206:
            answer.body = body[: len(answer.body)]
            answer.fields["content-range"] = f"bytes 0-{len(answer.body) - 1}/{len(body)}"

    behind.fail(fault=Rewrite(change), match=is_object, times=ALWAYS)
    pushed = penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed")
    assert pushed.exit_code == 7
    assert "proxy" in pushed.output
    behind.heal()
    assert penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/placed").exit_code == 0


@pytest.mark.regress
def test_records_without_an_end_are_refused(behind: FaultProxy, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"content")
    assert penstock("push", str(tmp_path / "d"), f"{bucket}/d", "--tag", "v1").exit_code == 0
    with open_store(f"s3://{bucket}") as store:
        [tag] = [info.key for info in store.list(".penstock/") if info.key.endswith("/v1")]
        store.put(tag, bytes(40 << 20))
    large = penstock("ls", f"{bucket}/d:v1")
    assert large.exit_code == 5
    assert "more than 1048576 bytes" in large.output
    behind.fail(fault=Endless(), match=lambda method, path: method == "GET" and path.endswith("/v1"), times=ALWAYS)
    command = f"ulimit -v 1500000; exec {sys.executable} -m penstock ls {bucket}/d:v1"
    done = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 5
    assert "more than 1048576 bytes" in done.stderr


@pytest.mark.regress
def test_gc_deletes_nothing_when_nobody_says_how_old_it_is(behind: FaultProxy, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"content")
    assert penstock("push", str(tmp_path / "d"), f"{bucket}/d").exit_code == 0
    with open_store(f"s3://{bucket}") as store:
        garbage = f".penstock/data/{'ab' * 32}"
        store.put(garbage, b"")
        before = [info.key for info in store.list()]

        def change(answer: Answer) -> None:
            answer.fields.pop("last-modified", None)
            answer.body = re.sub(rb"<LastModified>[^<]*</LastModified>", b"", answer.body)

        bend(behind, change)
        collected = penstock("gc", bucket, "--delete", "--grace", "0s", "--yes")
        assert collected.exit_code == 6
        assert "how old" in collected.output
        assert [info.key for info in store.list()] == before
