"""A cache against a dict, with reopening, clearing, losing files and reboots in between: never a wrong byte."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.cache import LARGEST_BLOCK, SMALLEST_BOUND, BlockCache

SIZES = st.sampled_from([1, 100, 5000, 70_000, 1 << 20, (1 << 20) + 13, LARGEST_BLOCK])


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="penstock-model-"))
        self.model: dict[bytes, bytes] = {}
        self.views: list[tuple[memoryview, bytes]] = []
        self.boot = 0
        self.damaged = False
        self.cache = self.opened()

    def opened(self) -> BlockCache:
        return BlockCache(self.directory, SMALLEST_BOUND, boot=f"boot {self.boot}")

    def teardown(self) -> None:
        self.cache.close()
        shutil.rmtree(self.directory)

    @rule(seed=st.integers(0, 40), size=SIZES)
    def put(self, seed: int, size: int) -> None:
        data = random.Random(seed).randbytes(size)
        key = blake3(data).digest()
        self.model[key] = data
        assert self.cache.put(key, data), self.cache.info()
        view = self.cache.get(key)
        if view is None:
            # What the index held was damaged; by now that is known.
            assert self.damaged
            assert self.cache.put(key, data), self.cache.info()
            view = self.cache.get(key)
        assert view == data

    @rule(seed=st.integers(0, 1000))
    def put_many(self, seed: int) -> None:
        rng = random.Random(seed)
        blocks = [rng.randbytes(rng.choice([10, 1000, 300_000])) for _ in range(rng.randrange(1, 30))]
        items = [(blake3(data).digest(), data) for data in blocks]
        self.model.update(items)
        assert all(self.cache.put_many(items))

    @rule(number=st.integers(0, 10**6))
    def get(self, number: int) -> None:
        if self.model:
            key = sorted(self.model)[number % len(self.model)]
            view = self.cache.get(key)
            if view is not None:
                assert view == self.model[key]
                self.views.append((view, key))
                del self.views[:-5]

    @rule(reboot=st.booleans())
    def reopen(self, reboot: bool) -> None:
        held = set(self.model) - set(self.cache.missing(list(self.model)))
        self.cache.close()
        self.boot += reboot
        self.cache = self.opened()
        assert set(self.model) - set(self.cache.missing(list(self.model))) == held

    @rule()
    def lose_the_index(self) -> None:
        held = set(self.model) - set(self.cache.missing(list(self.model)))
        self.cache.close()
        shutil.rmtree(self.directory / "index-2")
        self.cache = self.opened()
        # A damaged chain of records leads nowhere without the index.
        assert self.damaged or set(self.model) - set(self.cache.missing(list(self.model))) >= held

    @rule(number=st.integers(0, 10**6), length=st.integers(1, 9000))
    def damage_a_segment(self, number: int, length: int) -> None:
        self.cache.close()
        self.views.clear()
        self.damaged = True
        if segments := sorted((self.directory / "segments").iterdir()):
            path = segments[number % len(segments)]
            with path.open("r+b") as file:
                file.seek(number % path.stat().st_size)
                file.write(random.Random(number).randbytes(length)[: path.stat().st_size - file.tell()])
        self.cache = self.opened()

    @rule()
    def verify(self) -> None:
        report = self.cache.verify()
        assert report.blocks == self.cache.info().blocks

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.damaged = False
        assert self.cache.info().blocks == 0

    @invariant()
    def views_stay_right(self) -> None:
        for view, key in self.views:
            assert view == self.model[key]

    @invariant()
    def the_bound_holds(self) -> None:
        total = 0
        for root, _, names in os.walk(self.directory):
            total += sum(os.stat(os.path.join(root, name)).st_blocks * 512 for name in [*names, "."])
        assert total <= SMALLEST_BOUND
        assert self.cache.info().mode == "ok"


TestCacheAgainstAModel = CacheMachine.TestCase
TestCacheAgainstAModel.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
