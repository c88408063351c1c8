"""What is mounted by way of the face is served, changed, committed, and ended by way of it; and without a mount too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import penstock
from penstock.errors import ConflictError, NotFoundError

pytestmark = pytest.mark.fuse


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Iterator[Path]:
    """Return an empty directory; what is mounted there in the end is unmounted."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    yield directory
    with suppress(NotFoundError):
        penstock.unmount(directory, force=True)


def test_a_mount_is_made_listed_asked_and_ended(place: Path) -> None:
    info = penstock.mount("demo/photos:v1", place)
    assert (place / "labels.csv").read_bytes() == b"cat,1"
    assert info in penstock.mounts()
    assert "penstock_" in penstock.api.mounts.mount_metrics(place)
    with pytest.raises(ConflictError):
        penstock.mount("demo/photos", place)
    report = penstock.unmount(place)
    assert (report.mountpoint, report.ended, report.changes) == (str(place), True, None)
    assert info.mountpoint not in [each.mountpoint for each in penstock.mounts()]
    with pytest.raises(NotFoundError):
        penstock.unmount(place)
