"""What `penstock.torch` is made of, without PyTorch: orders, shares, states, and what is fetched ahead."""

from __future__ import annotations

import pickle
import random
import shutil
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

import penstock
from penstock.api.training.cache_lead import CacheLead
from penstock.api.training.datasets import EpochSampler, FileSequence, FileStream
from penstock.api.training.epoch_order import EpochOrder, Shuffle
from penstock.api.training.file_numbers import FileNumbers
from penstock.api.training.sample import Sample
from penstock.errors import IntegrityError, NotFoundError, UsageError

FILES = {f"{kind}/{at:03}.bin": random.Random(f"{kind}{at}").randbytes(900 + at) for kind in "ab" for at in range(70)}
FILES |= {"labels.csv": b"a,b", "z/deep/er/last.txt": b"last"}
KEYS = sorted(FILES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a version of 142 files, in directories and beside a symlink; made once for all tests."""
    here = tmp_path_factory.mktemp("training")
    for name, data in FILES.items():
        (here / "many" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "many" / name).write_bytes(data)
    (here / "many" / "a" / "link").symlink_to("000.bin")
    (here / "many" / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PENSTOCK_CACHE_DIR"):
            patch.setenv(name, str(here))
        patch.setenv("PENSTOCK_CONFIG", str(here / "config"))
        penstock.Dataset(f"file://{here}/store/many").push(here / "many", author="Ada")
    return here / "store"


@pytest.fixture
def package(store: Path) -> penstock.Package:
    """Return that version, `demo/many`, with an empty cache."""
    penstock.add_remote("demo", str(store))
    return penstock.open("demo/many")


def key(sample: Sample) -> str:
    return sample.key


def both(sample: Sample) -> tuple[str, object]:
    return sample.key, sample.data


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 255, 256, 257, 5000])
def test_a_shuffle_has_every_number_once(size: int) -> None:
    shuffle = Shuffle(size, 7, 0)
    assert sorted(shuffle[place] for place in range(size)) == list(range(size))
    for outside in (-1, size):
        with pytest.raises(IndexError):
            shuffle[outside]


def test_shuffles_of_other_seeds_and_epochs_are_other_shuffles_and_of_the_same_the_same() -> None:
    def made(seed: int, epoch: int) -> list[int]:
        return [Shuffle(1000, seed, epoch)[place] for place in range(1000)]

    orders = [made(0, 0), made(0, 1), made(1, 0), list(range(1000))]
    for at, one in enumerate(orders):
        for other in orders[:at]:
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 20
    assert made(3, 4) == made(3, 4)
    # The order is part of what a training run can be repeated by: it never changes.
    assert [Shuffle(10, 0, 0)[place] for place in range(10)] == [2, 8, 0, 7, 1, 5, 9, 4, 3, 6]


def test_every_place_of_a_small_shuffle_is_taken_by_every_number_about_as_often() -> None:
    seen = Counter((place, Shuffle(5, 0, epoch)[place]) for epoch in range(500) for place in range(5))
    assert len(seen) == 25
    assert min(seen.values()) > 60
    assert max(seen.values()) < 140


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("files", "ranks"), [(100, 4), (101, 4), (3, 4), (1, 1), (7, 2)])
def test_ranks_share_all_files_evenly(files: int, ranks: int, shuffle: bool) -> None:
    shares = [list(EpochOrder(files, shuffle, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {-(-files // ranks)}
    assert {number for share in shares for number in share} == set(range(files))
    dropping = [list(EpochOrder(files, shuffle, rank=rank, ranks=ranks, drop_last=True)) for rank in range(ranks)]
    assert {len(share) for share in dropping} == {files // ranks}
    given = [number for share in dropping for number in share]
    assert len(given) == len(set(given)) == files // ranks * ranks


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("begin", [0, 5, 24, 31])
def test_workers_that_take_turns_by_batches_give_the_order_of_the_rank(workers: int, begin: int) -> None:
    order = EpochOrder(31, rank=0, ranks=1)
    own = [order.places(begin, begin, batch=4, worker=worker, workers=workers) for worker in range(workers)]
    given: list[int] = []
    while batches := [batch for places in own if (batch := list(islice(places, 4)))]:
        given += [place for batch in batches for place in batch]
    assert given == list(range(begin, 31))
    later = [order.places(begin, begin + 3, batch=4, worker=worker, workers=workers) for worker in range(workers)]
    assert sorted(place for places in later for place in places) == list(range(begin + 3, 31))


def test_an_order_of_no_such_rank_is_refused() -> None:
    for rank, ranks in ((2, 2), (-1, 1), (0, 0)):
        with pytest.raises(UsageError, match="rank"):
            EpochOrder(10, rank=rank, ranks=ranks)


def test_numbers_of_files_take_room_by_runs() -> None:
    numbers = FileNumbers([range(2, 500_002), range(500_003, 1_000_003)])
    assert len(numbers) == 1_000_000
    assert (numbers[0], numbers[499_999], numbers[500_000], numbers[999_999]) == (2, 500_001, 500_003, 1_000_002)
    assert len(pickle.dumps(numbers)) < 1000
    assert numbers.digest() != FileNumbers([range(2, 1_000_002)]).digest()
    with pytest.raises(IndexError):
        numbers[1_000_000]


def test_a_dataset_has_all_files_in_tree_order_and_nothing_else(package: penstock.Package) -> None:
    dataset = FileSequence("demo/many", transform=both)
    assert len(dataset) == len(KEYS)
    assert [dataset[number] for number in range(len(dataset))] == [(key, FILES[key]) for key in KEYS]
    assert dataset[-1] == (KEYS[-1], FILES[KEYS[-1]])
    for outside in (len(KEYS), -len(KEYS) - 1):
        with pytest.raises(IndexError):
            dataset[outside]
        with pytest.raises(IndexError):
            dataset.__getitems__([0, outside])


def test_a_batch_is_what_each_file_is_in_the_order_asked_for(package: penstock.Package) -> None:
    dataset = FileSequence(package, decode=len, transform=both)
    wanted = [141, 3, 3, 70, 0]
    assert dataset.__getitems__(wanted) == [(KEYS[number], len(FILES[KEYS[number]])) for number in wanted]


def test_a_batch_that_is_not_cached_is_fetched_by_fewer_requests_than_it_has_files(package: penstock.Package) -> None:
    dataset = FileSequence(package, transform=key)
    len(dataset)
    before = package._snapshot.counters()
    dataset.__getitems__(range(64))
    after = package._snapshot.counters()
    assert after["gets"] - before["gets"] <= 4


def test_a_directory_of_a_version_is_a_dataset_of_its_own(package: penstock.Package) -> None:
    assert FileSequence("demo/many:main/b", transform=key).__getitems__([0, 69]) == ["000.bin", "069.bin"]
    assert len(FileSequence("demo/many:main/z")) == 1


def test_a_filter_leaves_what_it_is_true_for(package: penstock.Package) -> None:
    dataset = FileSequence(
        package, filter=lambda entry: entry.key.startswith("b/") and entry.size % 2 == 0, transform=key
    )
    assert [dataset[number] for number in range(len(dataset))] == [
        key for key in KEYS if key.startswith("b/") and len(FILES[key]) % 2 == 0
    ]
    said = FileSequence(package, filter='path like "b/*" and size > 950', transform=key)
    assert pickle.loads(pickle.dumps(said)).__getitems__([0, -1]) == ["b/051.bin", "b/069.bin"]
    with pytest.raises(UsageError, match="size >"):
        len(FileSequence(package, filter="size >"))
    with pytest.raises(NotFoundError, match="filter"):
        len(FileSequence(package, filter=lambda entry: False))


def test_a_dataset_stays_at_its_version_and_does_not_look_again_when_it_was_pickled(world: Path) -> None:
    dataset = FileSequence("demo/photos", transform=key)
    sent = pickle.dumps(dataset)
    penstock.Dataset("demo/photos").reset("v1")
    again = pickle.loads(sent)
    assert again.files._numbers is not None
    assert again.__getitems__([0, 1, 2]) == ["2024/cat.jpg", "2024/dog.jpg", "labels.csv"]


def test_an_error_says_which_file_was_decoded(package: penstock.Package) -> None:
    dataset = FileSequence(package, decode=int)
    with pytest.raises(ValueError, match="invalid literal") as caught:
        dataset[140]
    assert KEYS[140] in str(caught.value.__notes__)


def sampler(package: penstock.Package, **options: int) -> EpochSampler:
    return EpochSampler(FileSequence(package, transform=key), **options)  # type: ignore[arg-type]


def test_a_sampler_gives_another_order_each_epoch_and_goes_on_within_one(package: penstock.Package) -> None:
    order = sampler(package)
    first = list(order)
    assert sorted(first) == list(range(len(KEYS)))
    order.set_epoch(1)
    second = list(order)
    assert sorted(second) == sorted(first)
    assert second != first
    order.set_epoch(1)
    going = iter(order)
    taken = [next(going) for _ in range(50)]
    state = pickle.loads(pickle.dumps(order.state_dict()))
    again = sampler(package)
    again.load_state_dict(state)
    again.set_epoch(1)
    assert taken + list(again) == second
    again.set_epoch(2)
    assert len(list(again)) == len(KEYS)


def test_a_state_counts_what_the_trainer_has_taken_where_it_says_so(package: penstock.Package) -> None:
    order = sampler(package)
    whole = list(order)
    again = sampler(package)
    again.load_state_dict(order.state_dict(taken=32))
    assert list(again) == whole[32:]
    again.load_state_dict(order.state_dict())
    assert list(again) == []
    with pytest.raises(UsageError, match="143"):
        order.state_dict(taken=143)


@pytest.mark.parametrize(("name", "value"), [("seed", 5), ("ranks", 2), ("files", "x"), ("shuffle", 0)])
def test_a_state_of_another_order_is_refused(package: penstock.Package, name: str, value: object) -> None:
    order = sampler(package)
    state = {**order.state_dict(taken=9), name: value}
    with pytest.raises(UsageError, match=name):
        order.load_state_dict(state)  # type: ignore[arg-type]
    assert order.state_dict()["taken"] == 0


@pytest.mark.parametrize("broken", [{"taken": -1}, {"taken": 10**9}, {"epoch": "x"}, {"taken": None}, {"turns": 1}])
def test_a_malformed_state_is_refused(package: penstock.Package, broken: dict[str, object]) -> None:
    order = sampler(package)
    with pytest.raises(UsageError, match="malformed"):
        order.load_state_dict({**order.state_dict(), **broken})  # type: ignore[dict-item]


def test_a_state_of_other_files_is_refused(package: penstock.Package) -> None:
    state = sampler(package).state_dict()
    with pytest.raises(UsageError, match="files"):
        EpochSampler(FileSequence(package, filter=lambda entry: entry.key != "labels.csv")).load_state_dict(state)


class Worker(FileStream):
    """As one of some workers sees it."""

    def _worker(self) -> tuple[int, int]:
        return self.mine

    def as_worker(self, worker: int, workers: int) -> Worker:
        self.mine = worker, workers
        return self


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_an_iterable_dataset_gives_the_order_of_the_sampler_by_any_number_of_workers(
    package: penstock.Package, workers: int
) -> None:
    dataset = FileSequence(package, transform=both)
    expected = [dataset[number] for number in EpochSampler(dataset, seed=3, rank=1, ranks=2)]
    own = [
        iter(Worker("demo/many", transform=both, seed=3, rank=1, ranks=2, batch_size=8).as_worker(worker, workers))
        for worker in range(workers)
    ]
    given: list[object] = []
    while batches := [batch for each in own if (batch := list(islice(each, 8)))]:
        given += [sample for batch in batches for sample in batch]
    assert given == expected


def test_an_iterable_dataset_goes_on_where_it_was_with_other_workers(package: penstock.Package) -> None:
    whole = list(FileStream("demo/many", transform=key, seed=1))
    stream = FileStream("demo/many", transform=key, seed=1)
    going = iter(stream)
    taken = [next(going) for _ in range(30)]
    state = stream.state_dict()
    going.close()
    assert taken == whole[:30]
    rest: list[str] = []
    states = []
    for worker in range(3):
        again = Worker("demo/many", transform=key, seed=1, batch_size=4).as_worker(worker, 3)
        again.load_state_dict(state)
        going = iter(again)
        rest += islice(going, 10)
        states.append(again.state_dict())
        going.close()
    for worker in range(3):  # each one goes on from what it has given itself
        again = Worker("demo/many", transform=key, seed=1, batch_size=4).as_worker(worker, 3)
        again.load_state_dict(states[worker])
        rest += again
    assert sorted(rest) == sorted(whole[30:])


class Recorded:
    """A snapshot whose fetches are counted."""

    def __init__(self, package: penstock.Package) -> None:
        snapshot = package._snapshot
        self.block_hash, self.missing_blocks = snapshot.block_hash, snapshot.missing_blocks
        self.fetched = 0
        self._fetch = snapshot.fetch_region
        self.moved = threading.Condition()

    def fetch_region(self, region):
        blocks = self._fetch(region)
        with self.moved:
            self.fetched += sum(map(len, blocks))
            self.moved.notify_all()
        return blocks

    def wait_for(self, size: int) -> None:
        with self.moved:
            assert self.moved.wait_for(lambda: self.fetched >= size, 30), self.fetched


def test_what_comes_next_is_fetched_as_far_as_the_budget_goes_and_no_further(package: penstock.Package) -> None:
    package.clear_cache()
    files = [package[name]._entry for name in KEYS]
    watched = Recorded(package)
    budget = 20_000
    lead = CacheLead(watched, files, budget)  # type: ignore[arg-type]
    passed = 0
    for entry in files:
        watched.wait_for(passed + entry.size)
        assert watched.fetched <= passed + budget
        lead.passed()
        passed += entry.size
    lead.close()
    assert watched.fetched == passed
    assert not package._snapshot.missing_blocks([entry.hash for entry in files])


def test_a_sampler_has_files_fetched_before_they_are_read(package: penstock.Package) -> None:
    package.clear_cache()
    dataset = FileSequence(package, transform=key)
    numbers = EpochSampler(dataset)
    going = iter(numbers)
    next(going)
    snapshot = package._snapshot
    hashes = [package[name]._entry.hash for name in KEYS]
    for _ in range(600):
        if len(snapshot.missing_blocks(hashes)) <= 1:
            break
        threading.Event().wait(0.05)
    assert len(snapshot.missing_blocks(hashes)) <= 1  # the first was being read already
    going.close()  # type: ignore[attr-defined]


def test_what_a_damaged_pack_still_has_is_fetched_ahead_and_the_file_is_an_error_when_it_is_read(
    package: penstock.Package, store: Path, tmp_path: Path
) -> None:
    place = package["a/003.bin"].physical_keys[0]
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    pack = copy / place.uri.removeprefix(f"file://{store}/")
    data = bytearray(pack.read_bytes())
    data[place.offset] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    dataset = FileSequence(f"file://{copy}/many", transform=key)
    numbers = [number for number in EpochSampler(dataset) if KEYS[number] != "a/003.bin"]
    assert sorted(map(dataset.__getitem__, numbers)) == [key for key in KEYS if key != "a/003.bin"]
    with pytest.raises(IntegrityError, match=r"003\.bin"):
        dataset[KEYS.index("a/003.bin")]
