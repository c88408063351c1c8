"""Whose turn it is to wait for the next request: one task's at a time, and nobody's is lost."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from penstock.vfs.fuse.request_wait import Turn

PATIENCE = 30


def quietly() -> None:
    """Take no note of who comes."""


async def enter(turn: Turn, name: str, entered: list[str], scope: trio.CancelScope | None = None) -> None:
    """Take the turn, and note down that it was taken, unless that is cancelled."""
    with scope or trio.CancelScope():
        async with turn:
            await trio.lowlevel.checkpoint()
            entered.append(name)


@pytest.mark.trio
async def test_one_at_a_time_has_the_turn() -> None:
    turn = Turn(quietly)
    inside = entered = 0

    async def repeat(chance: random.Random) -> None:
        nonlocal inside, entered
        for _ in range(50):
            async with turn:
                inside += 1
                assert inside == 1
                for _ in range(chance.randrange(3)):
                    await trio.lowlevel.checkpoint()
                inside -= 1
                entered += 1
            if chance.random() < 0.5:
                await trio.lowlevel.checkpoint()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for seed in range(30):
                nursery.start_soon(repeat, random.Random(seed))
    assert entered == 30 * 50


@pytest.mark.trio
async def test_nobodys_turn_is_lost_whoever_is_cancelled() -> None:
    turn = Turn(quietly)
    chance = random.Random(7)
    scopes: set[trio.CancelScope] = set()
    inside = entered = 0

    async def repeat() -> None:
        nonlocal inside, entered
        for _ in range(40):
            with trio.CancelScope() as scope:
                scopes.add(scope)
                async with turn:
                    inside += 1
                    assert inside == 1
                    try:
                        await trio.lowlevel.checkpoint()
                    finally:
                        inside -= 1
                    entered += 1
            scopes.remove(scope)
            await trio.lowlevel.checkpoint()

    async def cancel() -> None:
        while True:
            for scope in scopes:
                if chance.random() < 0.2:
                    scope.cancel()
            await trio.lowlevel.checkpoint()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            async with trio.open_nursery() as entering:
                for _ in range(20):
                    entering.start_soon(repeat)
            nursery.cancel_scope.cancel()
        async with turn:
            assert 0 < entered < 20 * 40


@pytest.mark.trio
async def test_the_last_to_wait_comes_first() -> None:
    turn, entered = Turn(quietly), list[str]()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, turn:
            for name in "abcd":
                nursery.start_soon(enter, turn, name, entered)
                await wait_all_tasks_blocked()
            assert not entered
    assert "".join(entered) == "dcba"


@pytest.mark.trio
async def test_who_lets_go_may_take_again_at_once() -> None:
    turn, entered = Turn(quietly), list[str]()
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await trio.lowlevel.checkpoint()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as counting:
            counting.start_soon(count)
            async with trio.open_nursery() as nursery:
                async with turn:
                    nursery.start_soon(enter, turn, "patient", entered)
                    begun = rounds
                    while rounds < begun + 5:
                        await trio.lowlevel.checkpoint()
                before = rounds
                for _ in range(100):
                    async with turn:
                        assert not entered
                assert rounds == before
                async with turn:  # who waits finds it taken, and waits on
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                    assert not entered
            counting.cancel_scope.cancel()
    assert entered == ["patient"]


@pytest.mark.trio
async def test_who_comes_is_heard_of_before_it_waits() -> None:
    came, entered = list[int](), list[str]()
    turn = Turn(lambda: came.append(len(entered)))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, turn:
            assert came == [0]
            for name in "abc":
                nursery.start_soon(enter, turn, name, entered)
            await wait_all_tasks_blocked()
            assert came == [0, 0, 0, 0]
    assert len(entered) == 3
    assert came == [0, 0, 0, 0]


@pytest.mark.trio
@pytest.mark.parametrize("again", [False, True], ids=["let-go", "taken-again"])
@pytest.mark.parametrize("rescheduled", [False, True], ids=["waiting", "rescheduled"])
async def test_who_is_cancelled_leaves_the_turn_to_the_next(rescheduled: bool, again: bool) -> None:
    turn, entered, last = Turn(quietly), list[str](), trio.CancelScope()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            async with turn:
                nursery.start_soon(enter, turn, "first", entered)
                await wait_all_tasks_blocked()
                nursery.start_soon(enter, turn, "last", entered, last)
                await wait_all_tasks_blocked()
                if not rescheduled:
                    last.cancel()
            if rescheduled:
                last.cancel()  # now that it is its turn, though it has not run yet
            if again:
                async with turn:
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
    assert last.cancelled_caught
    assert entered == ["first"]
