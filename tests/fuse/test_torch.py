"""PyTorch over a mount: torchvision's ImageFolder and torch's DataLoader as they are, through the example."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from views.bucket import LocalBucket

from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus

# Importing PyTorch takes seconds, in each process.
pytestmark = [pytest.mark.fuse, pytest.mark.slow, pytest.mark.timeout(300)]
Mount = Callable[..., MountInfo]
ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("cat", "dog", "eel")
IMAGES = 120


@pytest.fixture
def photos(demo: LocalBucket, tmp_path: Path) -> Path:
    """Push folders of images, one a class; return where they come from."""
    chance = random.Random(6)
    folder = tmp_path / "photos"
    for number in range(IMAGES):
        place = folder / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        side = chance.randrange(8, 60)
        Image.frombytes("RGB", (side, side), chance.randbytes(3 * side * side)).save(place / f"{number:03}.png")
    demo.push(folder)
    return folder


def content(folder: Path) -> str:
    """Return what the example says of all images of a folder."""
    found = 0
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            planes = np.asarray(image.convert("RGB")).transpose(2, 0, 1).tobytes()
        found += int.from_bytes(hashlib.blake2b(planes, digest_size=16).digest(), "big")
    return f"{found % (1 << 128):032x}"


def epochs(folder: object, *arguments: str, timeout: float = 240) -> list[dict[str, Any]]:
    """Run the example; return what it says of each epoch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "torchvision_ops"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / "train_imagefolder.py"), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_forked_workers_and_a_sampler_that_announces_its_order(photos: Path, mounts: Mount) -> None:
    info = mounts()
    found = epochs(info.mountpoint, "--workers", "2", "--start", "fork", "--announce")
    assert [epoch["images"] for epoch in found] == [IMAGES, IMAGES]
    assert [epoch["hash"] for epoch in found] == [content(photos)] * 2
    assert ask(info.mountpoint, StatusRequest(), MountStatus, timeout=20).misses <= IMAGES / 10


def test_spawned_workers(photos: Path, mounts: Mount) -> None:
    found = epochs(mounts().mountpoint, "--workers", "2", "--start", "spawn")
    assert [epoch["images"] for epoch in found] == [IMAGES, IMAGES]
    assert [epoch["hash"] for epoch in found] == [content(photos)] * 2
