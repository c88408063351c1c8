"""Jobs of a mount, and what of them blocks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio
from views.bucket import LocalBucket

from penstock.repo.read.snapshot import open_snapshot
from penstock.vfs.serve import version_lease
from penstock.vfs.serve.jobs import Job, blocking
from penstock.vfs.serve.version_lease import VersionLease
from penstock.vfs.source.workers import Workers


@pytest.mark.trio
async def test_a_call_that_has_ended_leaves_its_job_as_it_was() -> None:
    job = Job("commit", 1, looks=False)
    assert await blocking(Workers(), job, lambda: 7) == 7
    assert not job.cancelled
    with pytest.raises(ZeroDivisionError):
        await blocking(Workers(), job, lambda: 1 // 0)
    assert not job.cancelled


@pytest.mark.trio
async def test_a_call_that_is_cancelled_is_told_and_waited_for() -> None:
    job = Job("commit", 1, looks=False)
    begun, heard = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def call() -> None:
        token.run_sync_soon(begun.set)
        for _ in range(2000):
            if job.cancelled:
                heard.set()
                return
            threading.Event().wait(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocking, Workers(), job, call)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert heard.is_set()


@pytest.mark.trio
async def test_a_lease_that_cannot_be_written_does_not_end_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = LocalBucket(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    bucket.push(source)
    monkeypatch.setattr(version_lease, "_LOOK", 0.05)
    snapshot = open_snapshot("demo/data", bucket.settings)
    held = VersionLease(snapshot, Workers(), lambda: False)
    leases = bucket.directory / ".penstock" / "leases"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(held.begin)
        with trio.fail_after(20):
            while not any(path.is_file() for path in leases.rglob("*")):
                await trio.sleep(0.01)
            leases.rename(tmp_path / "elsewhere")
            leases.write_text("in the way")
            held.move(b"\1" * 32)
            while "newest version" not in caplog.text:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await held.end()
    snapshot.close()


@pytest.mark.trio
async def test_a_lease_that_could_not_be_taken_is_tried_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    bucket = LocalBucket(tmp_path)
    bucket.push(source)
    monkeypatch.setattr(version_lease, "_AGAIN", 0.05)
    snapshot = open_snapshot("demo/data", bucket.settings)
    leases = bucket.directory / ".penstock" / "leases"
    leases.write_text("in the way")
    held = VersionLease(snapshot, Workers(), lambda: False)
    caplog.set_level("INFO")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(held.begin)
        with trio.fail_after(20):
            while caplog.text.count("no lease in") < 2:
                await trio.sleep(0.01)
            leases.unlink()
            while not any(path.is_file() for path in leases.rglob("*")):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await held.end()
    snapshot.close()
