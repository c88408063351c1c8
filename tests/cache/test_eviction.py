"""The eviction policy in a simulation: no disk, no clock but the number of segments written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from penstock.cache.eviction import Candidate, choose_victim

Policy = Callable[[Sequence[Candidate], int, Random], Candidate]
SEGMENTS = 40


def least_recently_used(candidates: Sequence[Candidate], clock: int, random: Random) -> Candidate:
    return min(candidates, key=lambda candidate: max(candidate.number, candidate.hit or 0))


class Simulation:
    """A cache of SEGMENTS segments, each of `width` blocks, read block by block."""

    def __init__(self, policy: Policy, width: int) -> None:
        self.policy = policy
        self.width = width
        self.random = Random(7)
        self.clock = 0
        self.where: dict[int, int] = {}
        self.blocks: dict[int, list[int]] = {}
        self.hit: dict[int, int] = {}

    def read_pass(self, blocks: Sequence[int]) -> float:
        """Return the share of the reads that hit."""
        return sum(self.read(block) for block in blocks) / len(blocks)

    def read(self, block: int) -> bool:
        number = self.where.get(block)
        if number is not None:
            self.hit[number] = self.clock
            return True
        if len(self.blocks.get(self.clock, range(self.width))) == self.width:
            if len(self.blocks) == SEGMENTS:
                candidates = [Candidate(number, self.hit.get(number)) for number in self.blocks]
                for gone in self.blocks.pop(self.policy(candidates, self.clock, self.random).number):
                    del self.where[gone]
            self.clock += 1
            self.blocks[self.clock] = []
        self.blocks[self.clock].append(block)
        self.where[block] = self.clock
        return False


def steady_hit_rate(policy: Policy, ratio: float, *, shuffled: bool, passes: int = 12) -> float:
    simulation = Simulation(policy, width=16 if shuffled else 4)
    order = list(range(int(SEGMENTS / ratio) * simulation.width))
    rates = []
    for _ in range(passes):
        if shuffled:
            simulation.random.shuffle(order)
        rates.append(simulation.read_pass(order))
    return sum(rates[-4:]) / 4


@pytest.mark.parametrize("ratio", [0.34, 0.5, 0.8])
def test_cyclic_passes_over_more_than_the_cache_hit_in_proportion(ratio: float) -> None:
    assert steady_hit_rate(least_recently_used, ratio, shuffled=False) == 0
    assert steady_hit_rate(choose_victim, ratio, shuffled=False) >= 0.8 * ratio


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.5, 0.8])
def test_shuffled_passes_over_more_than_the_cache_hit_in_proportion(ratio: float) -> None:
    ours = steady_hit_rate(choose_victim, ratio, shuffled=True)
    assert ours >= 0.8 * ratio
    assert ours > steady_hit_rate(least_recently_used, ratio, shuffled=True)


def test_a_small_cyclic_cache_still_beats_lru() -> None:
    assert steady_hit_rate(choose_victim, 0.1, shuffled=False) > 0.1 * 0.1


@pytest.mark.parametrize("shuffled", [True, False])
def test_another_dataset_finds_its_way_in(shuffled: bool) -> None:
    simulation = Simulation(choose_victim, width=8)
    first = list(range(36 * 8))
    second = list(range(10_000, 10_000 + 36 * 8))
    for _ in range(4):
        simulation.read_pass(first)
    rates = []
    for _ in range(20):
        if shuffled:
            simulation.random.shuffle(second)
        rates.append(simulation.read_pass(second))
    assert rates[-1] >= 0.8


def test_reads_of_one_pass_do_not_prove_a_segment() -> None:
    candidates = [Candidate(number, number) for number in range(1, 33)]
    victims = {choose_victim(candidates, 32, Random(seed)).number for seed in range(200)}
    assert 32 in victims
    assert len(victims) > 10, "none of them is kept"


def test_the_only_candidate_goes() -> None:
    assert choose_victim([Candidate(3, 9)], 9, Random(1)).number == 3
