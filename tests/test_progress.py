"""Progress adds up, and ends work whose end was asked for."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from penstock.errors import CancelledError
from penstock.progress import SILENT, ProgressMeter, ProgressMirror, StageState


def test_a_meter_adds_up_what_threads_say() -> None:
    meter = ProgressMeter()
    stage = meter.stage("reading", unit="items")
    threads = [threading.Thread(target=lambda: deque(map(stage.advance, [1] * 10_000), 0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.total(50_000)
    assert meter.states() == [StageState("reading", 40_000, 50_000, "items")]


def test_work_that_is_cancelled_ends_at_the_next_advance() -> None:
    meter = ProgressMeter()
    reading, sending = meter.stage("reading"), meter.stage("uploading", total=7)
    reading.advance(3)
    meter.check()
    meter.cancel()
    for advance in (reading.advance, sending.advance):
        with pytest.raises(CancelledError):
            advance(1)
    with pytest.raises(CancelledError):
        meter.check()
    assert meter.states() == [StageState("reading", 3), StageState("uploading", 0, 7)]


def test_nobody_needs_to_watch() -> None:
    stage = SILENT.stage("reading", total=3, unit="items")
    stage.advance()
    stage.advance(10)
    stage.total(4)


def test_a_mirror_shows_what_another_process_says() -> None:
    here = ProgressMeter()
    mirror = ProgressMirror(here)
    mirror.show([StageState("reading", 5, 10)])
    said = [StageState("reading", 10, 12), StageState("uploading", 2, None, "items")]
    mirror.show(said)
    assert here.states() == said
    here.cancel()
    with pytest.raises(CancelledError):
        mirror.show(said)
