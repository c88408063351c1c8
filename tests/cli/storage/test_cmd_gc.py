"""``penstock gc``: what it says, what it takes, what it exits with."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from servers.rgw import RadosGateway

from penstock.manifest.hashing import content_hash
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.store import open_store
from penstock.store.local import LocalStore

Run = Callable[..., Result]
RunProcess = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bucket(run: Run, tmp_path: Path) -> Path:
    """Push two versions to ``demo/things``, of which one is garbage, two days ago."""
    folder = tmp_path / "things"
    folder.mkdir()
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    for number, branch in enumerate(("main", "side")):
        (folder / "file").write_bytes(bytes([number]) * 100_000)
        assert run("push", str(folder), f"demo/things:{branch}").exit_code == 0
    assert run("branch", "demo/things", "side", "-d").exit_code == 0
    age(tmp_path / "store")
    return tmp_path / "store"


def age(bucket: Path) -> None:
    for path in bucket.rglob("*"):
        if path.is_file():
            modified = path.stat().st_mtime - 2 * 86400
            os.utime(path, (modified, modified))


def files(bucket: Path) -> set[str]:
    return {str(path.relative_to(bucket)) for path in (bucket / ".penstock").rglob("*") if path.is_file()}


def note_earlier(bucket: Path, seconds: float) -> None:
    """Let what is noted have been found so much earlier."""
    with LocalStore(bucket) as store:
        for info in list(store.list(".penstock/garbage/")):
            version, kind, since, names = msgspec.msgpack.decode(store.get(info.key))
            body = msgspec.msgpack.encode([version, kind, since - seconds, names])
            store.delete([info.key])
            store.put(f".penstock/garbage/{content_hash(body).hex()}", body)


def without_notes(bucket: Path) -> set[str]:
    return {name for name in files(bucket) if "/garbage/" not in name}


@pytest.mark.regress
def test_the_first_run_deletes_nothing_and_a_later_one_does(run: Run, bucket: Path) -> None:
    before = files(bucket)
    told = run("gc", "demo")
    assert (told.exit_code, files(bucket)) == (0, before)
    assert "garbage   4 objects" in told.stdout
    assert "1 versions among them" in told.stdout
    assert "add --delete" in told.stderr
    first = run("gc", "demo", "--delete")
    assert first.exit_code == 0
    assert without_notes(bucket) == before
    assert "deleted   0 objects" in first.stdout
    assert "4 objects are noted: a later run deletes them, in 1.0 d at the earliest" in first.stderr
    # Within the grace period it is told how long it takes, and nothing goes.
    note_earlier(bucket, 3 * 3600)
    early = run("gc", "demo", "--delete")
    assert without_notes(bucket) == before
    assert "in 21.0 h at the earliest" in early.stderr or "in 20.9 h at the earliest" in early.stderr
    note_earlier(bucket, 22 * 3600)
    done = json.loads(run("gc", "demo/things", "--delete", "--json").stdout)
    assert (done["complete"], done["deleted"]["objects"], done["dry_run"]) == (True, 4, False)
    assert done["deleted"] == done["garbage"] == done["due"]
    assert len(before - files(bucket)) == 4
    assert run("verify", "demo/things", "--deep").exit_code == 0
    again = json.loads(run("gc", "demo", "--json").stdout)
    assert (again["garbage"]["objects"], again["complete"], again["versions"]) == (0, False, 1)
    # Only which refs there were is remembered.
    assert len(files(bucket) - without_notes(bucket)) == 1


@pytest.mark.regress
def test_without_a_grace_period_it_asks_before_anything_goes(run: Run, run_process: RunProcess, bucket: Path) -> None:
    before = files(bucket)
    refused = run("gc", "demo", "--delete", "--grace", "0s")
    assert (refused.exit_code, files(bucket)) == (2, before)
    assert "no terminal to ask at" in refused.stderr

    def at_a_terminal(answer: bytes) -> subprocess.CompletedProcess[str]:
        primary, secondary = pty.openpty()
        try:
            os.write(primary, answer)
            return run_process("gc", "demo", "--delete", "--grace", "0s", stdin=secondary)
        finally:
            os.close(primary)
            os.close(secondary)

    declined = at_a_terminal(b"n\n")
    assert (declined.returncode, files(bucket)) == (1, before)
    assert "Delete 4 objects" in declined.stderr
    agreed = at_a_terminal(b"y\n")
    assert (agreed.returncode, len(before - files(bucket))) == (0, 4)
    assert run("gc", "demo", "--delete", "--grace", "0s", "--yes").exit_code == 0
    assert run("verify", "demo/things", "--deep").exit_code == 0


def test_what_was_noted_can_be_forgotten(run: Run, bucket: Path) -> None:
    before = files(bucket)
    run("gc", "demo", "--delete")
    note_earlier(bucket, 25 * 3600)
    forgotten = run("gc", "demo", "--forget")
    assert "notes dropped" in forgotten.stdout
    assert files(bucket) == before
    again = json.loads(run("gc", "demo", "--delete", "--json").stdout)
    assert (again["deleted"]["objects"], again["due"]["objects"]) == (0, 0)
    assert json.loads(run("gc", "demo", "--forget", "--json").stdout)["forgotten"] > 0
    assert run("gc", "demo", "--forget", "--delete").exit_code == 2


@pytest.mark.regress
def test_a_bucket_without_a_ref_is_left_alone_unless_told_otherwise(run: Run, bucket: Path) -> None:
    shutil.rmtree(bucket / ".penstock" / "datasets")
    before = files(bucket)
    refused = run("gc", "demo", "--delete", "--grace", "0s", "--yes")
    assert (refused.exit_code, files(bucket)) == (4, before)
    assert "--without-refs" in refused.stderr
    assert run("gc", "demo").exit_code == 4
    meant = run("gc", "demo", "--delete", "--grace", "0s", "--yes", "--without-refs")
    assert (meant.exit_code, files(bucket)) == (0, set())


@pytest.mark.parametrize(("grace", "garbage"), [("7d", 0), ("49h", 0), ("47h", 4), ("60m", 4), ("0", 4)])
def test_the_grace_period(run: Run, bucket: Path, grace: str, garbage: int) -> None:
    assert json.loads(run("gc", "demo", "--grace", grace, "--json").stdout)["garbage"]["objects"] == garbage


@pytest.mark.s3
@pytest.mark.regress
def test_a_bucket_that_keeps_versions(
    run: Run, tmp_path: Path, gateway: RadosGateway, aws_environment: dict[str, str]
) -> None:
    """It is told that what was deleted stays, how much that is, and what removes it; a lock is named."""
    name = "cli-locked"
    assert gateway.request("PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"}).status == 200
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "file").write_bytes(b"1" * 100_000)
    assert run("push", str(folder), f"{tmp_path.as_uri()}/store/things").exit_code == 0
    garbage = f".penstock/data/ab/{'ab' * 32}"
    with LocalStore(tmp_path / "store") as source, open_store(f"s3://{name}") as store:
        for info in source.list():
            store.put(info.key, source.get(info.key))
        for number in range(2):
            store.put(f"{garbage[:-1]}{number}", b"x" * 5000)
    until = b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>"
    assert gateway.request("PUT", f"/{name}/{garbage[:-1]}0?retention", until).status == 200
    arguments = ("gc", name, "--delete", "--grace", "0s", "--yes")
    until_old(name)
    done = run(*arguments)
    assert done.exit_code == 0
    assert "deleted   2 objects, 10 kB" in done.stdout
    assert "noncurrent, 10 kB" in done.stdout
    assert "until --versions or a lifecycle rule removes it" in done.stderr
    old = run(*arguments, "--versions")
    assert old.exit_code == 1
    assert "1 refused, 5 kB" in old.stdout
    assert f"refused: {garbage[:-1]}0" in old.stderr
    left = json.loads(run("gc", name, "--json").stdout)
    assert left["keeps_versions"]
    assert 5000 <= left["noncurrent"]["bytes"] < 6000
    assert run("verify", f"{name}/things", "--deep").exit_code == 0


def until_old(bucket: str) -> None:
    """Wait until the store's clock shows another second."""
    with open_store(f"s3://{bucket}") as store:

        def clock() -> float:
            store.put("clock", b"")
            info = store.head("clock")
            assert info is not None
            return info.modified

        begun = clock()
        while clock() < begun + 1:
            time.sleep(0.05)
        store.delete(["clock"])


def test_it_ends_when_somebody_goes_on_writing(run: Run, bucket: Path) -> None:
    with LocalStore(bucket) as store, Lease(store, "things", LeaseKind.PUSH):
        result = run("gc", "demo", "--delete", "--grace", "0s", "--yes", "--wait", "0.1s")
        assert result.exit_code == 1
        assert "ended early, a push to 'things' is at work" in result.stderr
        assert "deleted   0 objects" in result.stdout
        arguments = ("gc", "demo", "--delete", "--grace", "0s", "--yes", "--wait", "0", "--json")
        assert json.loads(run(*arguments).stdout)["stopped"]
    assert run("gc", "demo", "--delete").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["demo/things:main"], 2, "shared by all versions"),
        (["demo", "--grace", "soon"], 2, "'soon' is no duration"),
        (["demo", "--grace", "-1h"], 2, "no duration"),
        (["nosuch:x"], 2, "colon"),
    ],
)
def test_bad_input(run: Run, bucket: Path, arguments: list[str], code: int, words: str) -> None:
    before = files(bucket)
    result = run("gc", *arguments, "--delete")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert files(bucket) == before


def test_damage_is_told_and_nothing_deleted(run: Run, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (bucket / ".penstock" / "nodes").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    age(bucket)
    # What the cache of this machine has of the nodes would be enough to go on.
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(bucket.parent / "cold"))
    before = files(bucket)
    result = run("gc", "demo", "--delete", "--grace", "0", "--yes")
    assert result.exit_code == 5
    assert ".penstock/nodes/" in result.stderr
    assert before <= files(bucket)
