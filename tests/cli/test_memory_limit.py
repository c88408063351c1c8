"""Commands in a control group that may hold less than they have to do with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
V1 = "/sys/fs/cgroup/memory"


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a control group of 192 MiB below our own, where that can be done."""
    ours = next((line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), None)
    if ours is None:
        pytest.skip("no memory controller of version 1: a group with processes in it cannot have groups below it")
    folder = Path(f"{V1}{ours.split(':', 2)[2]}", f"penstock-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(192 * MIB))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.regress
def test_a_push_of_more_than_its_group_may_hold_comes_to_its_end(tmp_path: Path, group: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in range(2):
        (source / f"large-{name}").write_bytes(os.urandom(96 * MIB))
    for name in range(50):
        (source / f"{name}").write_bytes(os.urandom(MIB))
    environment = {**os.environ, "PENSTOCK_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "penstock", "push", str(source), f"file://{tmp_path}/bucket/data", "-m", "x"]
    pushed = subprocess.run(
        ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert pushed.returncode == 0, pushed.stderr
    assert "52 files, 254 MB" in pushed.stdout
