"""Buckets that do not hold to create-if-absent: nothing is written to them, unless somebody accepts what that means."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import Result
from servers.faultproxy import FaultProxy, Status
from servers.rgw import RadosGateway

Run = Callable[..., Result]
RunProcess = Callable[..., "CompletedProcess[str]"]

VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
NOT_IMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
PROBES = ".penstock/probe/"


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("one")
    return tmp_path / "data"


def keep_versions(gateway: RadosGateway, bucket: str) -> None:
    assert gateway.request("PUT", f"/{bucket}?versioning", VERSIONED).status == 200


def keys(gateway: RadosGateway, bucket: str) -> bytes:
    return gateway.request("GET", f"/{bucket}?list-type=2").body


def probes(proxy: FaultProxy) -> int:
    return proxy.count("PUT", lambda _, path: PROBES in path)


@pytest.mark.s3
@pytest.mark.regress
def test_nothing_is_written_to_a_bucket_that_does_not_refuse_the_second(
    run: Run, gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], data: Path
) -> None:
    """Also when it did refuse a moment ago: a bucket of Ceph 16 ceases to when it begins to keep versions."""
    handle = f"{bucket}/things"
    assert run("push", str(data), handle, "--tag", "v1").exit_code == 0
    assert run("branch", handle, "side").exit_code == 0
    (data / "a").write_text("two")
    assert run("push", str(data), handle).exit_code == 0
    assert gateway.request("PUT", f"/{bucket}/raw/x", b"x").status == 200
    keep_versions(gateway, bucket)
    before = keys(gateway, bucket)
    (data / "a").write_text("three")
    for arguments in (
        ("push", str(data), handle),
        ("push", "--in-place", f"s3://{bucket}/raw", handle),
        ("tag", handle, "v1"),
        ("tag", handle, "v2"),
        ("branch", handle, "more"),
        ("branch", handle, "-d", "side"),
        ("reset", handle, "v1"),
        ("revert", handle, "main"),
        ("merge", f"{handle}:main", "--into", "side"),
        ("create", f"{bucket}/more"),
    ):
        told = run(*arguments, "--json")
        assert told.exit_code == 2, (arguments, told.output)
        error = json.loads(told.stderr)["error"]
        assert "theirs" in error["why"]
        assert f"penstock doctor --write {bucket}" in error["fix"]
        assert "--unsafe" in error["fix"]
    assert keys(gateway, bucket) == before


@pytest.mark.s3
@pytest.mark.regress
def test_of_those_who_push_at_once_with_the_risk_accepted_each_is_told_the_truth(
    run: Run,
    run_process: RunProcess,
    gateway: RadosGateway,
    bucket: str,
    aws_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    keep_versions(gateway, bucket)
    assert run("remote", "add", "risky", f"s3://{bucket}", "--unsafe").exit_code == 0
    for number in range(3):
        (tmp_path / f"data{number}").mkdir()
        (tmp_path / f"data{number}" / "a").write_text(f"of {number}")
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(lambda at: run_process("push", str(tmp_path / f"data{at}"), "risky/things"), range(3)))
    done = [each for each in told if each.returncode == 0]
    assert all(each.returncode in (0, 4, 7) for each in told), told
    assert all("may lose versions" in each.stderr for each in done)
    unknown = sum(each.returncode == 7 for each in told)  # a store so slow that nobody can tell
    history = run("log", "--oneline", f"{bucket}/things").stdout.splitlines()
    assert max(1, len(done) - unknown) <= len(history) <= len(done) + unknown


@pytest.mark.s3
def test_a_tag_that_is_there_stays_where_the_risk_was_accepted(
    run: Run, gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], data: Path
) -> None:
    assert run("remote", "add", "risky", f"s3://{bucket}", "--unsafe").exit_code == 0
    told = run("push", str(data), "risky/things", "--tag", "v1", "--json")
    assert json.loads(told.stdout)["risk"] is None  # it holds, so far
    (data / "a").write_text("two")
    assert run("push", str(data), "risky/things").exit_code == 0
    keep_versions(gateway, bucket)
    assert "may lose versions" in json.loads(run("push", str(data), "risky/things", "--json").stdout)["risk"]
    assert run("tag", "risky/things", "v1").exit_code == 4
    told = run("tag", "risky/things", "v2")
    assert (told.exit_code, "may lose versions" in told.stderr) == (0, True)
    assert run("cat", "risky/things:v1/a").stdout == "one"
    assert run("cat", "risky/things:v2/a").stdout == "two"


@pytest.fixture
def lab(run: Run, bucket: str, aws_environment: dict[str, str], fault_proxy: FaultProxy) -> FaultProxy:
    """Call the bucket lab, by way of the proxy."""
    how = ("--endpoint-url", fault_proxy.endpoint, "--addressing-style", "path")
    assert run("remote", "add", "lab", f"s3://{bucket}", *how).exit_code == 0
    return fault_proxy


@pytest.mark.s3
@pytest.mark.regress
def test_a_server_that_answers_200_to_the_second(
    run: Run, gateway: RadosGateway, bucket: str, lab: FaultProxy, data: Path
) -> None:
    """Any second create, of whatever: what s3rver does, as far as answers go."""
    seen: set[str] = set()

    def is_second(method: str, path: str) -> bool:
        known = path in seen
        seen.add(path)
        return method == "PUT" and known

    lab.fail(fault=Status(200, b"", (("ETag", '"0"'),)), match=is_second, times=100)
    told = run("push", str(data), "lab/things")
    assert told.exit_code == 2, told.output
    assert "unsafe = true" in told.stderr
    assert b".penstock/data" not in keys(gateway, bucket)


@pytest.mark.s3
@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_takes_no_condition_is_found_before_anything_is_sent(
    run: Run, gateway: RadosGateway, bucket: str, lab: FaultProxy, data: Path, status: int
) -> None:
    lab.fail(fault=Status(status, NOT_IMPLEMENTED), match=lambda method, path: method == "PUT" and PROBES in path)
    told = run("push", str(data), "lab/things")
    assert told.exit_code == 2
    assert f"takes no If-None-Match: {lab.endpoint} answered {status}" in told.stderr
    assert b".penstock/data" not in keys(gateway, bucket)


@pytest.mark.s3
def test_what_held_is_remembered_for_this_endpoint_and_for_a_day(
    run: Run, bucket: str, lab: FaultProxy, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("ls", "lab").exit_code == 0
    assert probes(lab) == 0  # who reads asks nothing
    assert run("push", str(data), f"{bucket}/things").exit_code == 0  # not by way of the proxy: another endpoint
    assert run("tag", "lab/things", "v1").exit_code == 0
    assert probes(lab) == 2
    asked = len(lab.requests)
    assert run("tag", "lab/things", "v2").exit_code == 0
    assert probes(lab) == 2
    again = len(lab.requests) - asked
    now = time.time() + 90_000
    monkeypatch.setattr(time, "time", lambda: now)
    asked = len(lab.requests)
    assert run("tag", "lab/things", "v3").exit_code == 0
    assert probes(lab) == 4
    assert len(lab.requests) - asked == again + 5  # create twice, read (as the second is compared, too), delete


def test_unsafe_is_for_directories_too(run: Run, config: Path, tmp_path: Path) -> None:
    assert run("remote", "add", "--unsafe", "demo", str(tmp_path / "store")).exit_code == 0
    assert "unsafe = true" in config.read_text()
    assert "unsafe" in run("remote", "list").stdout
