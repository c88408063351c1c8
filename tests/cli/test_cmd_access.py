"""Buckets that refuse: what each command says of credentials, permissions and servers that are gone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

pytestmark = pytest.mark.s3

COMMANDS = {
    "push": ["push", "{data}", "{bucket}/things"],
    "create": ["create", "{bucket}/things"],
    "ls": ["ls", "{bucket}/things"],
    "ls of a bucket": ["ls", "{bucket}"],
    "info": ["info", "{bucket}/things"],
    "cat": ["cat", "{bucket}/things/a"],
}


@pytest.fixture(params=COMMANDS)
def arguments(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> list[str]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(b"1")
    filled = {"{data}": str(tmp_path / "data"), "{bucket}": bucket}
    found = COMMANDS[request.param]
    for old, new in filled.items():
        found = [each.replace(old, new) for each in found]
    return found


def failed(run: Run, arguments: list[str]) -> tuple[int, dict[str, Any], str]:
    text = run(*arguments)
    result = run(*arguments, "--json")
    assert text.stdout == result.stdout == ""
    assert text.exit_code == result.exit_code
    error = json.loads(result.stderr)["error"]
    assert error["fix"]
    return result.exit_code, error, text.stderr


def test_without_permission(
    run: Run, arguments: list[str], aws_environment: dict[str, str], gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    code, error, text = failed(run, arguments)
    assert (code, error["kind"]) == (6, "access")
    assert "bucket-" in text


def test_with_a_wrong_secret(
    run: Run, arguments: list[str], aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, error, _ = failed(run, arguments)
    assert (code, error["kind"]) == (6, "access")
    assert "AWS_SECRET_ACCESS_KEY" in error["fix"]


def test_with_an_unknown_key(
    run: Run, arguments: list[str], aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKNOBODY")
    code, error, _ = failed(run, arguments)
    assert (code, error["kind"]) == (6, "access")


def test_without_credentials(
    run: Run, arguments: list[str], aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    code, error, _ = failed(run, arguments)
    assert (code, error["kind"]) == (6, "access")
    assert "aws configure" in error["fix"]


def test_a_bucket_that_is_not_there(
    run: Run, arguments: list[str], bucket: str, aws_environment: dict[str, str]
) -> None:
    code, error, text = failed(run, [each.replace(bucket, "no-such-bucket") for each in arguments])
    assert (code, error["kind"]) == (3, "not_found")
    assert "no-such-bucket" in text


def test_a_server_that_is_gone(run: Run, arguments: list[str], bucket: str, free_port: int) -> None:
    endpoint = f"http://127.0.0.1:{free_port}"
    added = run("remote", "add", "lab", f"s3://{bucket}", "--endpoint-url", endpoint, "--deadline", "2")
    assert added.exit_code == 0
    before = time.monotonic()
    code, error, text = failed(run, [each.replace(bucket, "lab") for each in arguments])
    assert (code, error["kind"]) == (7, "unreachable")
    assert endpoint in text
    assert time.monotonic() - before < 20


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield a port on which nobody listens, kept from others meanwhile."""
    from servers.ports import reserve_port

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKANYBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    with reserve_port() as held:
        yield held.getsockname()[1]
