"""Versions as PyTorch datasets: read through the block cache, without a mount. Needs ``pip install 'penstock[torch]'``.

    from penstock.torch import Dataset, Sampler

    photos = Dataset("bucket/photos:v1/train", decode=pixels, transform=labelled)
    sampler = Sampler(photos, seed=0)
    loader = DataLoader(photos, batch_size=32, sampler=sampler, num_workers=4)
    for epoch in range(10):
        sampler.set_epoch(epoch)
        for batch in loader: ...

Nothing else of Penstock imports torch. What is not PyTorch's is in `penstock.api.training.datasets`, where all of it is
described.
"""

# pyright: reportAttributeAccessIssue=false
# Where PyTorch is not installed, pyright takes this file for what `import torch` means.

from __future__ import annotations

import os
from collections.abc import MutableSequence
from typing import Any, cast

from penstock.api.training import datasets
from penstock.api.training.sample import Sample

try:
    import torch  # pyright: ignore[reportMissingImports]  # an extra
    from torch import distributed  # pyright: ignore[reportMissingImports]
    from torch.utils import data  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise ModuleNotFoundError(
        "penstock.torch needs PyTorch, which is not installed: pip install 'penstock[torch]'", name="torch"
    ) from missing

__all__ = ["Dataset", "IterableDataset", "Sample", "Sampler"]


def _told_ranks() -> tuple[int, int] | tuple[None, None]:
    """Return which rank this process is, of how many, as PyTorch or what has started it says."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, ranks = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    return (int(rank), int(ranks)) if rank.isdecimal() and ranks.isdecimal() else (None, None)


class _Distributed:
    """Has the ranks that nobody has given from PyTorch."""

    def _ranks(self, rank: int | None, ranks: int | None) -> tuple[int, int]:
        if rank is None and ranks is None:
            rank, ranks = _told_ranks()
        told: tuple[int, int] = super()._ranks(rank, ranks)  # type: ignore[misc]  # of what it is mixed with
        return told


class Dataset(datasets.FileSequence, data.Dataset[Any]):  # type: ignore[misc]  # noqa: D101  # an extra has no types here
    __doc__ = datasets.FileSequence.__doc__


class Sampler(_Distributed, datasets.EpochSampler, data.Sampler[int]):  # type: ignore[misc]  # noqa: D101  # an extra has no types here
    __doc__ = datasets.EpochSampler.__doc__


class IterableDataset(_Distributed, datasets.FileStream, data.IterableDataset[Any]):  # type: ignore[misc]  # noqa: D101  # an extra has no types here
    __doc__ = datasets.FileStream.__doc__

    def _new_mark(self) -> MutableSequence[int]:
        # Workers that persist are told of the next epoch by nothing but memory that they share.
        return cast("MutableSequence[int]", torch.zeros(3, dtype=torch.int64).share_memory_())

    def _worker(self) -> tuple[int, int]:
        info = data.get_worker_info()
        return (info.id, info.num_workers) if info is not None else (0, 1)
