"""An epoch of images as a training job reads them: folders are classes, PyTorch's DataLoader with worker processes.

    python training.py ROOT

prints the images of a second epoch and its seconds as JSON: the first has made everything warm. Does what torchvision's
ImageFolder does, with Pillow. Needs torch, numpy and pillow, which Penstock does not install.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

__all__ = ["chosen"]

_SIDE = 64
_BATCH = 32
_LARGEST = 100_000
"""Bytes: larger ones take a second to decode, and then it is Pillow that is measured."""


def chosen(root: Path, count: int) -> list[Path]:
    """Return so many images below a folder: a random choice, in a fixed order."""
    paths = sorted(path for path in root.rglob("*.png") if path.stat().st_size <= _LARGEST)
    return random.Random(0).sample(paths, min(count, len(paths)))


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """Images below a folder, as `chosen` has them, each with its folder's number."""

    def __init__(self, root: Path, count: int) -> None:
        folders = sorted({path.parent for path in root.rglob("*.png")})
        number = {folder: at for at, folder in enumerate(folders)}
        self._items = [(path, number[path.parent]) for path in chosen(root, count)]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        path, label = self._items[at]
        with open(path, "rb") as stream, Image.open(stream) as image:
            pixels = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE)))
        return torch.from_numpy(pixels.copy()), label


def _main() -> None:
    parser = argparse.ArgumentParser(description="Read images with a DataLoader and time it.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    images = _Images(options.root, options.count)
    took, seen = 0.0, 0
    for epoch in range(2):
        torch.manual_seed(epoch)
        begin = time.perf_counter()
        seen = sum(len(labels) for _, labels in DataLoader(images, _BATCH, shuffle=True, num_workers=options.workers))
        took = time.perf_counter() - begin
    print(json.dumps({"images": seen, "seconds": took}))


if __name__ == "__main__":
    _main()
