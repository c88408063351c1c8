"""The order of an epoch: which file comes when, on which rank, in which worker. Pure.

A shuffle is a permutation that is computed place by place from seed and epoch: nothing is held, whatever the number of
files, it is the same on every machine, and to go on in the middle of an epoch is to begin at a place.

Of the order of all files rank `r` of `w` takes every `w`-th place from `r` on; ranks get equally many, as training
together needs. Of a rank's order its workers take turns, a batch each, as `torch.utils.data.DataLoader` asks them:
its batches are the rank's order, however many workers there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from penstock.errors import UsageError

__all__ = ["EpochOrder", "Shuffle"]

_ROUNDS = 6
_LEAST_BITS = 4
_MASK = (1 << 64) - 1


class Shuffle:
    """A permutation of `size` numbers: a Feistel network over the next power of four, walked until it is inside."""

    __slots__ = ("_bits", "_keys", "_mask", "_size")

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self._size = size
        self._bits = max(_LEAST_BITS, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._bits) - 1
        digest = blake2b(f"{seed} {epoch}".encode(), digest_size=8 * _ROUNDS).digest()
        self._keys = tuple(int.from_bytes(digest[at : at + 8]) for at in range(0, len(digest), 8))

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self._size:
            raise IndexError(place)
        bits, mask = self._bits, self._mask
        while True:
            left, right = place >> bits, place & mask
            for key in self._keys:
                mixed = (right ^ key) * 0x9E3779B97F4A7C15 & _MASK
                mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93 & _MASK
                left, right = right, left ^ (mixed >> 32 & mask)
            place = left << bits | right
            if place < self._size:
                return place


@dataclass(frozen=True)
class EpochOrder:
    """The order of one rank in one epoch: a sequence of numbers of files, of `files` that there are.

    Where the ranks cannot share evenly, the first files come a second time at the end, or, with `drop_last`, the last
    ones are left out.
    """

    files: int
    shuffle: bool = True
    seed: int = 0
    epoch: int = 0
    rank: int = 0
    ranks: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise UsageError(f"rank {self.rank} of {self.ranks}", fix="Ranks are numbered from 0.")

    def __len__(self) -> int:
        return self.files // self.ranks if self.drop_last else -(-self.files // self.ranks)

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < len(self):
            raise IndexError(place)
        number = (place * self.ranks + self.rank) % self.files
        return self._shuffled[number] if self.shuffle else number

    def places(
        self, begin: int = 0, taken: int = 0, *, batch: int = 1, worker: int = 0, workers: int = 1
    ) -> Iterator[int]:
        """Yield the places that one of some workers takes, where batches have so many files.

        The first worker has the batch that is at `begin`; what comes before `taken` is left out.
        """
        for start in range(begin + worker * batch, len(self), workers * batch):
            yield from range(max(start, taken), min(start + batch, len(self)))

    @cached_property
    def _shuffled(self) -> Shuffle:
        return Shuffle(self.files, self.seed, self.epoch)
