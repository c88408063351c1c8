"""Read images of a mounted dataset with PyTorch: `ImageFolder` and `DataLoader` as they are, workers and all.

    penstock mount demo/photos /mnt/photos
    python examples/train_imagefolder.py /mnt/photos --workers 4

The folder has one folder a class. Nothing here knows of Penstock but the class `Announcing`, which can be left out: it
says before each epoch in which order files will be opened, so that they are there before they are. Needs torch and
torchvision. Prints a line of JSON an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor, resize

import penstock


class Announcing(Sampler[int]):
    """The order of another sampler, announced to the mount at the beginning of each epoch."""

    def __init__(self, order: Sampler[int], paths: list[str]) -> None:
        self._order = order
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[int]:
        order = list(self._order)
        penstock.announce(self._paths[index] for index in order)
        return iter(order)


def prepare(image: object) -> tuple[torch.Tensor, bytes]:
    """Return pixels, 64 by 64, and a hash of all that the file had."""
    whole = pil_to_tensor(image)
    return resize(whole, [64, 64]), hashlib.blake2b(whole.numpy().tobytes(), digest_size=16).digest()


def collate(samples: list[tuple[tuple[torch.Tensor, bytes], int]]) -> tuple[torch.Tensor, torch.Tensor, list[bytes]]:
    """Make a batch: pixels, classes, hashes."""
    pixels = torch.stack([pixels for (pixels, _), _ in samples])
    return pixels, torch.tensor([label for _, label in samples]), [digest for (_, digest), _ in samples]


def main() -> None:
    """Read some epochs."""
    parser = argparse.ArgumentParser(description="Read images of a folder with PyTorch.")
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start", choices=("fork", "spawn", "forkserver"), default="fork", help="how workers start")
    parser.add_argument("--announce", action="store_true", help="say in which order files will be opened")
    options = parser.parse_args()

    images = ImageFolder(options.folder, transform=prepare)
    order: Sampler[int] = torch.utils.data.RandomSampler(images)
    if options.announce:
        order = Announcing(order, [path for path, _ in images.samples])
    loader = DataLoader(
        images,
        batch_size=32,
        sampler=order,
        num_workers=options.workers,
        collate_fn=collate,
        multiprocessing_context=options.start if options.workers else None,
        persistent_workers=options.workers > 0,
        timeout=120 if options.workers else 0,
    )
    for epoch in range(options.epochs):
        begun = time.perf_counter()
        count, mean = 0, 0.0
        everything = 0
        for pixels, labels, digests in loader:
            count += len(labels)
            mean += pixels.float().mean(dim=(1, 2, 3)).sum().item()
            for digest in digests:  # added up, so that the order of an epoch does not matter
                everything = (everything + int.from_bytes(digest, "big")) % (1 << 128)
        took = time.perf_counter() - begun
        told = {"epoch": epoch, "images": count, "mean": round(mean / max(count, 1), 3), "hash": f"{everything:032x}"}
        print(json.dumps({**told, "seconds": round(took, 3)}), flush=True)


if __name__ == "__main__":
    main()
