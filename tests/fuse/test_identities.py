"""Mounts of versions whose files nobody has read: what is read of them, and what becomes of those that change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from views.bucket import LocalBucket

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT
from penstock.repo.push.push import push_in_place
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.write.publish import Authorship

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]

LARGE = os.urandom((3 << 20) + 9)
OBJECTS = {"small": b"small", "other": b"other", "large": LARGE, "late": LARGE[::-1]}


@pytest.fixture
def pinned(demo: LocalBucket, bucket: str, aws_environment: dict[str, str], tmp_path: Path) -> LocalBucket:
    """Return the bucket with four objects of S3 in ``demo/data``, pinned by identity."""
    for name, body in OBJECTS.items():
        boto3.client("s3").put_object(Bucket=bucket, Key=f"in/{name}", Body=body)
    source, who = f"s3://{bucket}/in", Authorship("tester", "pinned", "push")
    push_in_place(source, parse_handle("demo/data"), demo.settings, who, SILENT, identity=True)
    return demo


def test_a_mount_reads_them_and_fails_on_those_that_changed(pinned: LocalBucket, bucket: str, mounts: Mount) -> None:
    place = Path(mounts().mountpoint)
    assert (place / "small").read_bytes() == b"small"
    assert (place / "large").read_bytes() == LARGE
    assert os.getxattr(place / "small", "user.penstock.hash").startswith(b"identity:")
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="in/other", Body=b"OTHER")
    client.put_object(Bucket=bucket, Key="in/late", Body=LARGE)
    for name in ("other", "late"):
        with pytest.raises(OSError) as caught:  # the number is what is looked at
            (place / name).read_bytes()
        assert caught.value.errno == errno.EIO
    assert os.getxattr(place / "large", "user.penstock.cached") == b"4/4"


def test_the_next_mount_finds_what_an_earlier_one_has_read(pinned: LocalBucket, bucket: str, mounts: Mount) -> None:
    first = mounts().mountpoint
    assert Path(first, "large").read_bytes() == LARGE
    assert Path(first, "small").read_bytes() == b"small"
    assert unmount(first)
    client = boto3.client("s3")
    for name in ("large", "small"):  # nothing of them can be fetched any more
        client.delete_object(Bucket=bucket, Key=f"in/{name}")
    place = Path(mounts().mountpoint)
    assert (place / "small").read_bytes() == b"small"
    assert (place / "large").read_bytes() == LARGE
    assert (place / "other").read_bytes() == b"other"


def test_an_edit_makes_the_whole_file_the_data_sets_own(pinned: LocalBucket, mounts: Mount) -> None:
    place = Path(mounts(options=MountOptions(writable=True)).mountpoint)
    with (place / "large").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"edited")
    with (place / "small").open("ab") as file:
        file.write(b"er")
    os.rename(place / "other", place / "renamed")
    report = open_working_copy(str(place), pinned.settings).commit(CommitOptions("me", "an edit"), SILENT)
    assert report.commit is not None
    with closing(open_snapshot("demo/data", pinned.settings, cached=False)) as snapshot:
        entries = {name: snapshot.find(name) for name in ("large", "small", "renamed", "late")}
        assert {name: entry.is_identity for name, entry in entries.items()} == {
            "large": False,
            "small": False,
            "renamed": True,
            "late": True,
        }
        edited = LARGE[: 1 << 20] + b"edited" + LARGE[(1 << 20) + 6 :]
        assert b"".join(snapshot.read(entries["large"])) == edited
        assert b"".join(snapshot.read(entries["small"])) == b"smaller"
        assert b"".join(snapshot.read(entries["renamed"])) == b"other"
        assert all(isinstance(each.object, bytes) for each in entries["large"].extents)
