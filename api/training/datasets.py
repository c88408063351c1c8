"""The datasets of `penstock.torch`, but for what PyTorch itself has to say: where ranks and workers are numbered.

    FileSequence  `Dataset`: files by number, for a sampler
    EpochSampler  `Sampler`: numbers in the order of an epoch, announced to the block cache
    FileStream    `IterableDataset`: files in the order of an epoch, which its workers share

**Invariant:** the same version, filter, seed, epoch and number of ranks give each rank the same order, on any machine,
with any number of workers; a state names what it is of, and no other order goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, MutableSequence, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from penstock.api.packages.package import Package
from penstock.errors import UsageError
from penstock.repo.fetch.memory import shares

from .cache_lead import CacheLead, lead_of
from .epoch_order import EpochOrder
from .sample import Filter, Sample
from .version_files import VersionFiles

__all__ = ["EpochSampler", "FileSequence", "FileStream"]

State = dict[str, int | str]


class _Epochs:
    """Where an order is gone through: its epoch, and the place in it to begin at; told, and set."""

    _order: EpochOrder
    _mark: MutableSequence[int]
    """The epoch, the place that workers take turns from, and the one to begin at. Workers share it."""
    _reached: int
    """The place behind the one that was given out last, in this process."""

    def _begin(self, files: VersionFiles, order: EpochOrder) -> None:
        self._order = order
        self._mark = self._new_mark()
        self._reached = 0
        files.note((order.shuffle, order.seed, order.rank, order.ranks, order.drop_last), self._mark)

    def _new_mark(self) -> MutableSequence[int]:
        return [0, 0, 0]

    def _worker(self) -> tuple[int, int]:
        """Return which worker this process is, and how many there are."""
        return 0, 1

    def _ranks(self, rank: int | None, ranks: int | None) -> tuple[int, int]:
        """Return which rank this is, of how many: as given, else alone."""
        if (rank is None) != (ranks is None):
            raise UsageError("rank and ranks belong together", fix="Give both, or none.")
        return (0, 1) if rank is None or ranks is None else (rank, ranks)

    def _files_digest(self) -> str:
        raise NotImplementedError

    def __len__(self) -> int:
        """Return how many files an epoch of this rank has."""
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: each has an order of its own. Where it was resumed, it goes on there."""
        if int(self._mark[0]) != epoch:
            self._go_to(epoch, 0, 0)

    def state_dict(self, taken: int | None = None) -> State:
        """Return where this rank is in the epoch, for `load_state_dict`: plain values, for a checkpoint.

        `taken` is how many files of the epoch this rank has trained on. By default it is what was given out in this
        process, which is more than that when workers read ahead, and nothing of what was given out in theirs.
        """
        place = self._reached if taken is None else taken
        if not 0 <= place <= len(self):
            raise UsageError(f"{place} files of an epoch were taken", why=f"it has {len(self)}")
        turns = int(self._mark[1]) if taken is None and self._worker()[1] > 1 else place
        return {**self._identity(), "epoch": int(self._mark[0]), "turns": turns, "taken": place}

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Go on where a state was taken. UsageError: it is of other files, or of another order of them."""
        mine = self._identity()
        told = {name: state.get(name) for name in mine}
        if told != mine:
            differing = ", ".join(name for name in mine if told[name] != mine[name])
            raise UsageError(
                "the state is of another order",
                why=f"it was taken with another: {differing}",
                fix="Open the version, with the filter, seed and number of ranks, that it was taken with.",
            )
        epoch, turns, taken = (state.get(name) for name in ("epoch", "turns", "taken"))
        if not (isinstance(epoch, int) and isinstance(turns, int) and isinstance(taken, int)):
            raise UsageError("the state is malformed", why="epoch, turns and taken are not all of them numbers")
        if not 0 <= turns <= taken <= len(self):
            raise UsageError("the state is malformed", why=f"turns {turns}, taken {taken}, of {len(self)}")
        self._go_to(epoch, turns, taken)

    def _identity(self) -> State:
        order = asdict(self._order)
        kept = {name: order[name] for name in ("shuffle", "seed", "ranks", "drop_last")}
        return {"files": self._files_digest(), **{name: int(value) for name, value in kept.items()}}

    def _go_to(self, epoch: int, turns: int, taken: int) -> None:
        self._mark[0], self._mark[1], self._mark[2] = epoch, turns, taken
        self._reached = taken

    def _this_epoch(self) -> tuple[EpochOrder, int, int]:
        """Return the order as it is in this epoch, the place that workers take turns from, and the one to begin at."""
        epoch, turns, taken = map(int, self._mark)
        self._reached = taken
        return replace(self._order, epoch=epoch), turns, taken


class FileSequence:
    """Files of a version by number, in tree order: a map-style dataset for `torch.utils.data.DataLoader`.

    `package` is a handle ``bucket/dataset[:ref][/directory]`` or a `Package`. `filter` leaves the files that it is true
    for: an expression such as ``path like "train/*" and label == "cat"``, or a function of an `Entry`. `decode` makes
    of a file's bytes what a sample has as `data`; by default they stay bytes. `transform` makes of a
    `Sample(data, metadata, key)` what the dataset gives. For workers that are spawned, functions are ones that can be
    pickled.

    To find out which files there are, the nodes of the tree are read, once, when that is first asked; what is kept of
    it is small. A batch is fetched by few requests at once, by way of the block cache; `Sampler` has it fetched before
    it is needed.

    NotFoundError: there is no such version, or no file in it that the filter leaves.

    >>> from penstock.torch import Dataset
    >>> photos = Dataset("demo/photos", filter='path like "*.jpg"', decode=bytes.decode)
    >>> len(photos), photos[1].key, photos[1].data
    (2, '2024/dog.jpg', 'dog')
    """

    def __init__(
        self,
        package: str | Package,
        *,
        filter: Filter | None = None,  # noqa: A002  # what it is
        decode: Callable[[bytes], Any] | None = None,
        transform: Callable[[Sample], Any] | None = None,
    ) -> None:
        self.files = VersionFiles(package, filter, decode, transform)

    @property
    def package(self) -> Package:
        """The version."""
        return self.files.package

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self.files.numbers)

    def __getitem__(self, number: int) -> Any:
        """Return a file, decoded and transformed."""
        return self.files.sample(self._checked(number))

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return some files, fetched together: what a DataLoader asks for a batch."""
        return list(self.files.samples(map(self._checked, numbers), None))

    def _checked(self, number: int) -> int:
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"file {number} of {count}")
        return number % count

    def __getstate__(self) -> dict[str, Any]:
        self.files.numbers  # noqa: B018  # looked for once, here, and not in every process that it is sent to
        return self.__dict__


class EpochSampler(_Epochs):
    """The numbers of a `Dataset` in the order of an epoch: the ``sampler=`` of a `torch.utils.data.DataLoader`.

    `shuffle`: in an order that `seed` and the epoch make, else in tree order. `rank` of `ranks` takes its share; as
    PyTorch has them by default, which is all where nothing is distributed. Where ranks cannot share evenly, the first
    files are given twice, or with `drop_last` the last ones to nobody.

    What comes next is fetched into the block cache ahead of its reader, at most `ahead` bytes; 0 fetches nothing.

    >>> from penstock.torch import Dataset, Sampler
    >>> sampler = Sampler(Dataset("demo/photos"), seed=1)
    >>> sorted(sampler)
    [0, 1, 2]
    >>> sampler.set_epoch(1)
    >>> sampler.state_dict(taken=2)["taken"]
    2
    """

    def __init__(
        self,
        dataset: FileSequence,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        ranks: int | None = None,
        drop_last: bool = False,
        ahead: int | None = None,
    ) -> None:
        self._files = dataset.files
        self._ahead = shares().reading if ahead is None else ahead
        self._begin(dataset.files, EpochOrder(len(dataset), shuffle, seed, 0, *self._ranks(rank, ranks), drop_last))

    def _files_digest(self) -> str:
        return self._files.digest()

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of this epoch."""
        # A generator: nothing is begun before workers are forked, which is when the first number is asked for.
        order, _, begin = self._this_epoch()
        snapshot = self._files.package._snapshot  # noqa: SLF001  # of the same face
        budget = lead_of(snapshot, self._ahead)
        if not budget:
            for place in range(begin, len(order)):
                self._reached = place + 1
                yield order[place]
            return
        coming = (found.entry for found in self._files.locate(order[place] for place in range(begin, len(order))))
        with closing(CacheLead(snapshot, coming, budget)) as lead:
            for place in range(begin, len(order)):
                self._reached = place + 1
                lead.passed()
                yield order[place]


class FileStream(_Epochs):
    """Files of a version in the order of an epoch: an iterable dataset, which needs no sampler.

    `package`, `filter`, `decode` and `transform` as of `Dataset`; `shuffle`, `seed`, `rank`, `ranks`, `drop_last` as of
    `Sampler`. `batch_size` is the DataLoader's: its workers take turns by so many files, so that what it yields is this
    order with any number of workers, and one can go on from a count of what was trained on.

    Each worker fetches what it gives out ahead, all of them together `ahead` bytes at the most.

    >>> from penstock.torch import IterableDataset
    >>> [sample.key for sample in IterableDataset("demo/photos", shuffle=False)]
    ['2024/cat.jpg', '2024/dog.jpg', 'labels.csv']
    """

    def __init__(
        self,
        package: str | Package,
        *,
        filter: Filter | None = None,  # noqa: A002  # what it is
        decode: Callable[[bytes], Any] | None = None,
        transform: Callable[[Sample], Any] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        ranks: int | None = None,
        drop_last: bool = False,
        batch_size: int = 1,
        ahead: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"a batch of {batch_size} files", fix="Give the DataLoader's batch_size.")
        self.files = VersionFiles(package, filter, decode, transform)
        self._batch = batch_size
        self._ahead = shares().reading if ahead is None else ahead
        # Which files there are is found out here, once, and not in every worker that is forked.
        self._begin(
            self.files, EpochOrder(len(self.files.numbers), shuffle, seed, 0, *self._ranks(rank, ranks), drop_last)
        )

    @property
    def package(self) -> Package:
        """The version."""
        return self.files.package

    def _files_digest(self) -> str:
        return self.files.digest()

    def __iter__(self) -> Generator[Any, None, None]:
        """Yield this worker's files of this epoch, decoded and transformed."""
        worker, workers = self._worker()
        order, turns, taken = self._this_epoch()

        def places() -> Iterator[int]:
            return order.places(turns, taken, batch=self._batch, worker=worker, workers=workers)

        numbers = (order[place] for place in places())
        with closing(self.files.samples(numbers, max(1, self._ahead // workers))) as samples:
            for place, sample in zip(places(), samples, strict=True):
                self._reached = place + 1
                yield sample
