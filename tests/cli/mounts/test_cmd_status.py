"""``penstock status`` of a real mount: text, JSON, metrics, access log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families
from views.living import kill

from penstock.mountpoint.known_mounts import list_mounts

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]


@pytest.fixture
def mounted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mount a small dataset."""
    source, there = tmp_path / "things", tmp_path / "mnt"
    source.mkdir()
    there.mkdir()
    (source / "a").write_bytes(b"text\n")
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(source), "demo/things").exit_code == 0
    try:
        mounted = run("mount", "demo/things", str(there))
        assert mounted.exit_code == 0, mounted.stderr
        yield str(there)
    finally:
        assert run("umount", "--force", str(there)).exit_code == 0


def test_text_and_json(run: Run, mounted: str) -> None:
    assert Path(mounted, "a").read_text() == "text\n"
    found = json.loads(run("status", mounted, "--json").stdout)
    for key in ("top_hash", "hits", "misses", "bytes_fetched", "gets", "in_flight", "budget", "restarts", "worker_pid"):
        assert key in found
    assert found["bytes_read"] == 5
    text = run("status", mounted).stdout
    assert found["top_hash"] in text
    assert found["commit"] in text
    assert f"{found['worker_pid']} serves" in text
    assert "of 64 MB, ok" in text


def test_metrics(run: Run, mounted: str) -> None:
    result = run("status", mounted, "--metrics")
    names = {family.name for family in text_string_to_metric_families(result.stdout)}
    assert "penstock_fetched_bytes" in names
    wrong = run("status", mounted, "--metrics", "--json")
    assert wrong.exit_code == 2


def test_the_access_log(run: Run, mounted: str) -> None:
    told = run("status", mounted, "--access-log", "on").stdout
    assert told.startswith("accesses are written to ")
    path = Path(told.split(" to ", 1)[1].strip())
    assert Path(mounted, "a").read_text() == "text\n"
    assert "access.log" in run("status", mounted).stdout
    off = run("status", mounted, "--access-log", "off", "--json")
    assert json.loads(off.stdout) == {"access_log": None}
    assert [json.loads(line)["op"] for line in path.read_text().splitlines()] == ["open", "read"]


@pytest.mark.parametrize("options", [(), ("-w",)])
def test_a_dead_mount_says_that_it_is_why_and_where_its_log_is(
    run: Run, mounted: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    there = tmp_path / "dead"
    there.mkdir()
    made = run("mount", *options, "demo/things", str(there), "--json")
    assert made.exit_code == 0, made.stderr
    if options:
        (there / "a").write_bytes(b"changed\n")
    (info,) = (each for each in list_mounts() if each.mountpoint == str(there))
    kill(info)
    told = run("status", str(there))
    assert told.exit_code == 1
    assert f"the mount at {there} is dead" in told.stderr
    assert "was killed" in told.stderr
    assert info.log is not None
    assert info.log in told.stderr
    assert f"penstock umount {there}" in told.stderr
    if options:
        assert "state:       dead" in told.stdout
        assert "M a" in told.stdout
        answered = run("status", str(there), "--json")
        assert json.loads(answered.stdout)["state"] == "dead"
        assert info.log in json.loads(answered.stderr)["error"]["fix"]
    (line,) = (each for each in run("mounts").stdout.splitlines() if str(there) in each)
    assert line.endswith("dead")
    assert run("umount", str(there)).exit_code == 0
    assert run("mount", *options, "demo/things", str(there)).exit_code == 0
    assert (there / "a").read_bytes() == (b"changed\n" if options else b"text\n")
    assert run("umount", str(there)).exit_code == 0


def test_where_nothing_is_mounted(run: Run, tmp_path: Path) -> None:
    result = run("status", str(tmp_path))
    assert result.exit_code == 3
    assert "nothing is mounted" in result.stderr
