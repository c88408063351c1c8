"""The policies of docs/STORES.md, word for word, on the real S3 server: each is enough for what it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from servers.rgw import RadosGateway

from penstock.store import open_store

Run = Callable[..., Result]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "STORES.md").read_text(encoding="utf-8")
POLICIES = {
    name: json.loads(body)
    for name, body in re.findall(r"<!-- policy: (\w+) -->\n```json\n(.*?)```", DOCUMENT, re.DOTALL)
}
pytestmark = pytest.mark.s3


def checked(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")


@pytest.fixture
def as_other(
    gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Return a function that makes this process another user's, who may do what a policy allows and nothing else."""

    def become(name: str) -> None:
        policy = json.loads(json.dumps(POLICIES[name]).replace("BUCKET", bucket))
        for statement in policy["Statement"]:
            statement["Principal"] = {"AWS": ["arn:aws:iam:::user/other"]}
        assert gateway.request("PUT", f"/{bucket}?policy", json.dumps(policy).encode()).status in (200, 204)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)

    return become


@pytest.fixture
def pushed(run: Run, bucket: str, aws_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Push three versions, the first one tagged; return what is known of the last."""
    (tmp_path / "data").mkdir()
    found = {}
    for number in range(3):
        (tmp_path / "data" / "a").write_text(f"version {number}")
        more = ("--tag", "v1") if number == 0 else ()
        told = run("push", str(tmp_path / "data"), f"{bucket}/things", "--json", *more)
        assert told.exit_code == 0, told.output
        found = json.loads(told.stdout)
    return found


def cat(run: Run, handle: str) -> str:
    told = run("cat", handle)
    assert told.exit_code == 0, told.output
    return told.stdout


@pytest.mark.regress(reason="its policies are in a document that is new")
def test_who_may_only_get_objects_reads_all_that_is_named_in_full(
    run: Run, bucket: str, pushed: dict[str, str], as_other: Callable[[str], None]
) -> None:
    as_other("get")
    assert cat(run, f"{bucket}/things:v1/a") == "version 0"
    assert cat(run, f"{bucket}/things:{pushed['top_hash']}/a") == "version 2"
    assert cat(run, f"{bucket}/things:{pushed['commit']}/a") == "version 2"
    assert cat(run, f"{bucket}/things/a") == "version 2"  # branch main, at its third record
    assert cat(run, f"{bucket}/things:main/a") == "version 2"


def test_who_may_only_get_objects_is_told_what_needs_a_listing(
    run: Run, bucket: str, pushed: dict[str, str], as_other: Callable[[str], None]
) -> None:
    as_other("get")
    for ref in (pushed["commit"][:12], "nosuch", "0" * 64):
        told = run("cat", f"{bucket}/things:{ref}/a", "--json")
        error = json.loads(told.stderr)["error"]
        assert (told.exit_code, "s3:ListBucket" in error["fix"]) == (6, True), error
        assert "STORES.md" in error["fix"]
        assert ("beginning of a hash" in error["why"]) == (ref == pushed["commit"][:12])
    facts = json.loads(run("info", f"{bucket}/things:v1", "--json").stdout)
    assert (facts["branches"], facts["tags"], facts["entries"]) == (None, None, 1)


@pytest.mark.regress(reason="its policies are in a document that is new")
def test_doctor_says_which_permission_is_missing_for_what(
    run: Run, bucket: str, pushed: dict[str, str], as_other: Callable[[str], None]
) -> None:
    as_other("get")
    told = checked(run("doctor", "--write", f"{bucket}/things:v1", "--json"))
    checks = {check["name"]: check for check in told}
    assert checks["reachable"]["state"] == checks["reading"]["state"] == "ok"
    assert "s3:ListBucket" in checks["listing"]["fix"]
    assert "beginning of a hash" in checks["listing"]["costs"]
    assert "s3:PutObject" in checks["writing"]["fix"]
    as_other("read")
    told = checked(run("doctor", "--write", f"{bucket}/things", "--json"))
    checks = {check["name"]: check for check in told}
    assert checks["listing"]["state"] == checks["reading"]["state"] == "ok"
    assert "s3:PutObject" in checks["writing"]["fix"]


def test_the_policy_to_read_is_enough(
    run: Run, bucket: str, pushed: dict[str, str], as_other: Callable[[str], None], tmp_path: Path
) -> None:
    as_other("read")
    for arguments in (
        ("ls", bucket),
        ("ls", "-r", f"{bucket}/things:{pushed['commit'][:12]}"),
        ("log", f"{bucket}/things"),
        ("tag", f"{bucket}/things"),
        ("info", f"{bucket}/things"),
        ("verify", "--deep", f"{bucket}/things"),
        ("warm", f"{bucket}/things"),
    ):
        assert run(*arguments).exit_code == 0, arguments
    assert run("ls", f"{bucket}/things:nosuch").exit_code == 3  # and not 403
    assert run("push", str(tmp_path / "data"), f"{bucket}/things").exit_code == 6


def test_the_policy_to_write_is_enough(
    run: Run,
    bucket: str,
    pushed: dict[str, str],
    as_other: Callable[[str], None],
    tmp_path: Path,
    gateway: RadosGateway,
) -> None:
    as_other("write")
    (tmp_path / "data" / "a").write_text("by another")
    for arguments in (
        ("push", str(tmp_path / "data"), f"{bucket}/things", "--tag", "v2"),
        ("branch", f"{bucket}/things", "side", "v1"),
        ("reset", f"{bucket}/things:side", "v2"),
        ("revert", f"{bucket}/things", "main"),
        ("merge", f"{bucket}/things:side", "--into", "main"),
        ("create", f"{bucket}/more"),
    ):
        told = run(*arguments)
        assert told.exit_code == 0, told.output
    told = checked(run("doctor", "--write", f"{bucket}/things", "--json"))
    states = {check["name"]: check["state"] for check in told}
    assert states["writing"] == states["conditional writes"] == states["committing"] == states["deleting"] == "ok"
    listed = gateway.request("GET", f"/{bucket}?list-type=2").body
    assert b".penstock/leases/" not in listed
    assert b".penstock/probe/" not in listed


def test_the_policy_to_collect_garbage_is_enough(
    run: Run, bucket: str, pushed: dict[str, str], as_other: Callable[[str], None]
) -> None:
    assert run("reset", f"{bucket}/things", "v1").exit_code == 0
    as_other("gc")
    assert run("gc", bucket).exit_code == 0
    with open_store(f"s3://{bucket}") as store:
        names = [f".penstock/data/{number}" for number in range(2)]
        for name in names:
            store.put(name, b"")
        store.delete(names)  # as gc does it, many with one request
        assert all(store.head(name) is None for name in names)
