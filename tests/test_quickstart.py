"""The quickstart, run as it is typed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.fuse
def test_it_ends_well_and_says_what_it_saw(tmp_path: Path) -> None:
    source = tmp_path / "some data"
    for folder in range(20):
        (source / f"part {folder}").mkdir(parents=True)
        for file in range(10):
            data = random.Random(file).randbytes(3000 + 9000 * file)
            (source / f"part {folder}" / f"{file}").write_bytes(data + bytes([folder]))
    done = subprocess.run(
        [ROOT / "scripts/quickstart", source],
        env={
            **os.environ,
            "PENSTOCK_DEMO": str(tmp_path / "demo"),
            "PENSTOCK_VENV": str(Path(sys.executable).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 files" in done.stdout
    assert "It works." in done.stdout
    assert not (tmp_path / "demo" / "mnt").is_mount()
    hashes = [line.split()[-1] for line in done.stdout.splitlines() if "top hash" in line]
    assert len(set(hashes)) == 1
    sums = [
        line.split()[0] for line in done.stdout.splitlines() if len(line.split()[:1]) and len(line.split()[0]) == 64
    ]
    assert len(sums) == 3  # of the file in the mount, of the file in the source, and of the directory
    assert sums[0] == sums[1]
    assert sums[2] == hashes[0]
