"""Work that its owner ends: CancelledError, nothing half-done, and the next try does all of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from views.ending import EndingProgress

from penstock.errors import CancelledError
from penstock.progress import SILENT
from penstock.repo.bucket.leases import leases
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import collect
from penstock.repo.push.push import hash_directory, push, push_in_place
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.warm.warm import warm
from penstock.repo.write.publish import Authorship

ME = Authorship("tester", "", "push")
MIB = 1 << 20
FILES = {b"%02d/%d" % (number // 4, number): os.urandom(MIB + number) for number in range(24)}


@pytest.mark.parametrize("stage", ["reading", "uploading"])
def test_a_push_that_is_cancelled_leaves_the_branch_and_no_lease(world: Any, stage: str) -> None:
    first = world.push(world.plant({b"a": b"1"}, "first"))
    directory = world.plant(FILES, "second")
    with pytest.raises(CancelledError):
        push(directory, parse_handle(world.handle()), world.settings, ME, EndingProgress(stage))
    assert world.repository().resolve("main").commit == first.commit
    assert list(leases(world.store())) == []
    world.push(directory)
    assert world.read_back(world.open()) == FILES


def test_a_push_in_place_that_is_cancelled_makes_no_version(world: Any) -> None:
    directory = world.plant(FILES)
    with pytest.raises(CancelledError):
        push_in_place(directory, parse_handle(world.handle()), world.settings, ME, EndingProgress("reading", 3))
    assert list(leases(world.store())) == []
    assert world.repository().refs.head("main") is None


def test_hashing_can_be_cancelled(world: Any) -> None:
    with pytest.raises(CancelledError):
        hash_directory(world.plant(FILES), EndingProgress("hashing"))


@pytest.mark.parametrize("stage", ["checking", "reading"])
def test_a_verification_can_be_cancelled(world: Any, stage: str) -> None:
    world.push(world.plant(FILES))
    with pytest.raises(CancelledError):
        verify(parse_handle(world.handle()), world.settings, EndingProgress(stage), deep=True)
    assert verify(parse_handle(world.handle()), world.settings, SILENT, deep=True).is_sound


def test_warming_that_is_cancelled_goes_on_where_it_was(world: Any) -> None:
    size = sum(map(len, FILES.values()))
    world.push(world.plant(FILES))
    there = world.machine("there")
    progress = EndingProgress("warming", 3)
    with pytest.raises(CancelledError):
        warm(parse_handle(world.handle()), (), there, progress)
    report = warm(parse_handle(world.handle()), (), there, SILENT)
    assert report.bytes_there >= progress.states()[0].done > 0
    assert report.bytes_there + report.bytes_warmed == size


@pytest.mark.parametrize("stage", ["marking", "deleting"])
def test_a_collection_that_is_cancelled_deletes_nothing_that_is_needed(world: Any, stage: str) -> None:
    world.push(world.plant(FILES))
    world.push(world.plant({b"new": b"garbage"}, "other"), "side")
    world.delete_branch("side", ME)
    store = world.store()
    load = Nodes(store, None, RequestCounts()).load
    with pytest.raises(CancelledError):
        collect(store, load, EndingProgress(stage), grace=-60, delete=True)
        collect(store, load, EndingProgress(stage), grace=-60, delete=True)  # what was found once is deleted now
    assert list(leases(store)) == []
    assert verify(parse_handle(world.handle()), world.settings, SILENT, deep=True).is_sound
