"""Objects pinned by identity, behind a server that answers something else: refused, and never read for another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result
from servers.faultproxy import Answer, FaultProxy, Rewrite

from penstock.cli.main import root

pytestmark = pytest.mark.s3
ALWAYS = 1_000_000
BODY = os.urandom(70_000)


@pytest.fixture
def behind(
    aws_environment: dict[str, str], bucket: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> FaultProxy:
    """Register an object by its identity, and lead the commands through the proxy."""
    put(bucket, BODY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    pushed = penstock("push", "--in-place", "--identity", f"s3://{bucket}/in", f"{bucket}/data")
    assert pushed.exit_code == 0, pushed.output
    return fault_proxy


def put(bucket: str, body: bytes) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="in/x", Body=body)


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(root, arguments)


def is_object(method: str, path: str) -> bool:
    return method == "GET" and "/in/x" in path


def weak(answer: Answer) -> None:
    if "etag" in answer.fields:
        answer.fields["etag"] = "W/" + answer.fields["etag"]
    answer.body = re.sub(rb"<ETag>", b"<ETag>W/", answer.body)


def header(name: str, value: str | None) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        if value is None:
            answer.fields.pop(name, None)
        elif answer.status == 206:
            answer.fields[name] = value

    return change


def cut(answer: Answer) -> None:
    answer.body = answer.body[:100]
    answer.fields["content-length"] = "100"
    answer.fields["content-range"] = "bytes 0-99/100"


def partly(answer: Answer) -> None:
    """Say of the object's middle that it is what was asked for."""
    answer.fields["content-range"] = f"bytes 5-{len(answer.body) + 4}/{len(BODY)}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (weak, "weak ETag"),
        (header("etag", '"0123"'), "ETag is 0123"),
        (header("etag", None), "no ETag"),
        (header("content-range", f"bytes 0-{len(BODY) - 1}/{len(BODY) + 1}"), f"has {len(BODY) + 1} bytes"),
        (cut, "has 100 bytes"),
        (header("content-range", None), "proxy"),
        (header("content-range", "bytes 0-1/nonsense"), "proxy"),
        (partly, "proxy"),
    ],
)
def test_an_answer_of_another_object_is_refused(
    behind: FaultProxy, bucket: str, change: Callable[[Answer], None], said: str
) -> None:
    behind.fail(fault=Rewrite(change), match=is_object, times=ALWAYS)
    read = penstock("cat", f"{bucket}/data/x")
    assert read.exit_code in (5, 7)
    assert said in read.output
    assert penstock("verify", "--deep", f"{bucket}/data").exit_code in (5, 7)
    behind.heal()
    assert penstock("cat", f"{bucket}/data/x").stdout_bytes == BODY


def test_what_has_only_a_weak_etag_is_not_registered_by_its_identity(behind: FaultProxy, bucket: str) -> None:
    behind.fail(fault=Rewrite(weak), times=ALWAYS)
    pushed = penstock("push", "--in-place", "--identity", f"s3://{bucket}/in", f"{bucket}/other")
    assert pushed.exit_code != 0
    assert "ETag is weak" in pushed.output
    again = penstock("push", "--in-place", "--identity", f"s3://{bucket}/in", f"{bucket}/data")
    assert "ETag is weak" in again.output  # nor does it count as the object that it was
    assert penstock("push", "--in-place", f"s3://{bucket}/in", f"{bucket}/read").exit_code == 0
    assert "weak" in penstock("verify", f"{bucket}/data").output


def test_a_weak_etag_does_no_harm_where_there_is_a_version(
    aws_environment: dict[str, str],
    bucket: str,
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    data = f"file://{tmp_path}/store/data"
    boto3.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put(bucket, BODY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    fault_proxy.fail(fault=Rewrite(weak), times=ALWAYS)
    pushed = penstock("push", "--in-place", "--identity", f"s3://{bucket}/in", data)
    assert pushed.exit_code == 0, pushed.output
    read = penstock("cat", f"{data}:main/x")
    assert read.stdout_bytes == BODY, read.output
    assert penstock("verify", "--deep", data).exit_code == 0


def test_other_bytes_under_the_same_etag_are_refused_once_the_first_ones_are_known(
    behind: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    def lie(answer: Answer) -> None:
        answer.body = answer.body[::-1]

    copy = str(tmp_path / "copy")
    assert penstock("download", f"{bucket}/data", copy).exit_code == 0
    behind.fail(fault=Rewrite(lie), match=is_object, times=ALWAYS)
    for command in (("cat", f"{bucket}/data/x"), ("download", f"{bucket}/data", str(tmp_path / "other"))):
        read = penstock(*command)
        assert read.exit_code == 5
        assert "sends other bytes" in read.output
    assert penstock("verify", f"{bucket}/data", copy).exit_code == 0
    assert penstock("cache", "clear").exit_code == 0
    assert penstock("cat", f"{bucket}/data/x").stdout_bytes == BODY[::-1]  # its word is all there is
