"""Writable mounts of buckets that take no commits: it is said when they are mounted, not after a day of work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from servers.rgw import RadosGateway
from views.bucket import LocalBucket, push

from penstock.errors import AccessError, UsageError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT
from penstock.repo.write.publish import Authorship

pytestmark = pytest.mark.fuse

Mount = Callable[..., MountInfo]
WRITABLE = MountOptions(writable=True)
AUTHOR = Authorship("tester", "", "commit")
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.regress
def test_a_directory_that_cannot_be_written(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    probes = Path(pushed.settings.remotes["demo"].url.removeprefix("file://")) / ".penstock" / "probe"
    if probes.exists():
        shutil.rmtree(probes)
    probes.write_text("nobody can make a folder here")
    assert penstock("remote", "add", "demo", str(probes.parents[1])).returncode == 0
    place = tmp_path / "at"
    place.mkdir()
    try:
        told = penstock("mount", "-w", "demo/data", str(place))
        assert told.returncode == 0, told.stderr
        assert "cannot be committed" in told.stderr
        assert str(probes) in told.stderr
        (place / "new").write_text("changes are taken all the same")
        told = penstock("status", str(place))
        assert "cannot be committed" in told.stderr
        assert str(probes) in json.loads(penstock("status", str(place), "--json").stdout)["refused"]
    finally:
        penstock("umount", str(place))


def test_a_directory_that_can_be_written(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts(options=WRITABLE)
    assert info.refused is None
    assert ask(info.mountpoint, StatusRequest(), MountStatus).refused is None
    reader = mounts(at="reader")
    assert reader.refused is None


def test_a_read_only_mount_writes_no_probe(pushed: LocalBucket, mounts: Mount) -> None:
    probes = Path(pushed.settings.remotes["demo"].url.removeprefix("file://")) / ".penstock" / "probe"
    if probes.exists():
        shutil.rmtree(probes)
    probes.write_text("in the way")
    info = mounts()
    assert info.refused is None
    assert probes.read_text() == "in the way"


@pytest.mark.s3
def test_leave_for_another_dataset_only(
    bucket: str,
    gateway: RadosGateway,
    aws_environment: dict[str, str],
    demo: LocalBucket,
    source: Path,
    mounts: Mount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects can be written, but not the records of this dataset's branches; what is there is left as it is."""
    settings = replace(demo.settings, remotes={})
    for name in ("data", "mine"):
        push(source, f"s3://{bucket}/{name}", settings)
    whole, heads = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/.penstock/datasets/data/*"
    other = {"AWS": ["arn:aws:iam:::user/other"]}
    statements = [
        {"Effect": "Allow", "Principal": other, "Action": "s3:*", "Resource": [whole, f"{whole}/*"]},
        {"Effect": "Deny", "Principal": other, "Action": "s3:PutObject", "Resource": heads},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    assert gateway.request("PUT", f"/{bucket}?policy", policy).status in (200, 204)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    refused = mounts(f"s3://{bucket}/data", options=WRITABLE, settings=settings)
    assert refused.refused is not None
    assert "/.penstock/datasets/data/heads/main/" in refused.refused
    Path(refused.mountpoint, "new").write_text("new")
    with pytest.raises(AccessError):
        open_working_copy(refused.mountpoint, settings).commit(CommitOptions("me"), SILENT)
    granted = mounts(f"s3://{bucket}/mine", at="mine", options=WRITABLE, settings=settings)
    assert granted.refused is None
    Path(granted.mountpoint, "new").write_text("new")
    assert open_working_copy(granted.mountpoint, settings).commit(CommitOptions("me"), SILENT).changed


@pytest.mark.s3
def test_a_bucket_that_may_lose_versions(
    bucket: str,
    gateway: RadosGateway,
    aws_environment: dict[str, str],
    demo: LocalBucket,
    source: Path,
    mounts: Mount,
) -> None:
    """Said at the mount, refused by a commit before anything is sent, and nothing of the changes is lost."""
    settings = replace(demo.settings, remotes={})
    handle = f"s3://{bucket}/data"
    push(source, handle, settings)
    assert gateway.request("PUT", f"/{bucket}?versioning", VERSIONED).status == 200
    info = mounts(handle, options=WRITABLE, settings=settings)
    assert info.refused is not None
    assert "could lose versions" in info.refused
    place = Path(info.mountpoint)
    (place / "new").write_bytes(os.urandom(100_000))
    before = gateway.request("GET", f"/{bucket}?list-type=2&prefix=.penstock/d").body
    with pytest.raises(UsageError, match="could lose versions"):
        open_working_copy(str(place), settings).commit(CommitOptions("me"), SILENT)
    assert gateway.request("GET", f"/{bucket}?list-type=2&prefix=.penstock/d").body == before
    assert (place / "new").stat().st_size == 100_000
    assert [each.refused for each in list_mounts() if each.mountpoint == str(place)] == [info.refused]
