"""Local copies of versions whose files are pinned by identity: fetched once, compared where their bytes are known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result

import penstock

pytestmark = pytest.mark.s3
Run = Callable[..., Result]
OBJECTS = {"small": b"small", "dir/other": b"other", "large": os.urandom((2 << 20) + 3), "empty": b""}


@pytest.fixture
def data(home: Path, aws_environment: dict[str, str], bucket: str, run: Run) -> str:
    """Return a dataset whose files are pinned by identity."""
    for name, body in OBJECTS.items():
        boto3.client("s3").put_object(Bucket=bucket, Key=f"in/{name}", Body=body)
    result = run("push", "--in-place", "--identity", f"s3://{bucket}/in", f"{bucket}/data")
    assert result.exit_code == 0, result.output
    return f"{bucket}/data"


def report(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def other_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be somebody on this machine who has read nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))


def test_info_tells_how_many_objects_are_lost_once_they_are_overwritten(run: Run, data: str, bucket: str) -> None:
    assert (
        report(run("--json", "info", data))["environment"]["unversioned"] == "3"
    )  # an empty object has no bytes to lose
    shown = run("info", data)
    assert "unversioned 3" in shown.stdout
    builder = penstock.PackageBuilder(f"{bucket}/built").add(f"s3://{bucket}/in/dir/", "in", identity=True)
    built = builder.push(allow_missing_readme=True)
    assert built.info().environment["unversioned"] == "1"
    assert "unpinned" not in built.info().environment


def test_what_was_downloaded_is_not_fetched_again(
    run: Run, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = str(tmp_path / "copy")
    first = report(run("--json", "download", data, copy))
    assert (first["fetched"], first["bytes_written"]) == (4, sum(map(len, OBJECTS.values())))
    for command in (("download", data, copy), ("sync", data, copy), ("sync", data, copy, "--dry-run")):
        again = report(run("--json", *command))
        assert (again["fetched"], again["replaced"]) == (0, 0)
        assert again["bytes_fetched"] < 2 << 20
    with Path(copy, "large").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"edited")
    Path(copy, "small").write_bytes(b"SMALL")
    assert report(run("--json", "sync", data, copy))["replaced"] == 2
    assert {name: Path(copy, name).read_bytes() for name in OBJECTS} == OBJECTS
    other_user(monkeypatch, tmp_path)
    assert report(run("--json", "sync", data, copy))["replaced"] == 3  # fetched, to know; the empty one is known
    assert report(run("--json", "sync", data, copy))["replaced"] == 0


def test_a_directory_is_held_against_bytes_that_are_known_and_else_it_is_said_that_it_cannot_be(
    run: Run, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    for name, body in OBJECTS.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(body)
    unknown = run("verify", data, str(copy))
    assert unknown.exit_code == 1
    assert unknown.output.count("cannot be compared by contents") == 3
    assert "3 uncompared" in unknown.output
    compared = run("diff", data, str(copy))
    assert compared.exit_code == 1
    assert sorted(line for line in compared.stdout.splitlines() if line[:2] == "? ") == [
        "? dir/other",
        "? large",
        "? small",
    ]
    assert "3 that cannot be compared" in run("diff", data, str(copy), "--stat").output
    assert json.loads(run("--json", "diff", data, str(copy), "--stat").stdout)["uncompared"] == 3
    for name in OBJECTS:
        assert run("cat", f"{data}/{name}").exit_code == 0  # somebody reads them
    assert run("verify", data, str(copy)).exit_code == 0
    assert run("diff", data, str(copy)).exit_code == 0
    (copy / "small").write_bytes(b"SMALL")
    (copy / "large").write_bytes(OBJECTS["large"][:-1] + b"x")
    (copy / "dir" / "other").write_bytes(b"longer than it was")
    assert run("verify", data, str(copy)).output.count("is not what the version has") == 3
    assert sorted(run("diff", data, str(copy)).stdout.splitlines()) == ["M dir/other", "M large", "M small"]
    other_user(monkeypatch, tmp_path)
    assert "1 modified, 2 uncompared" in run("verify", data, str(copy)).output
