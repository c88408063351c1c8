"""A transform on a real cluster of Dask, on this machine: workers that are killed, or hang, change nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from views import transforms
from views.transformed import FILES, data_objects

import penstock
from penstock import distributed
from penstock.errors import UsageError
from penstock.progress import ProgressMeter

dask_distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed", "ignore::ResourceWarning"),
]


@pytest.fixture
def client(things: Path) -> Iterator[Any]:
    """Start two workers, processes of their own that are started anew when they die."""
    options: dict[str, Any] = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "host": "127.0.0.1",
    }
    with (
        dask_distributed.LocalCluster(protocol="tcp", silence_logs=50, **options) as cluster,
        dask_distributed.Client(cluster) as found,
    ):
        yield found


def called(calls: Path) -> list[str]:
    return calls.read_text().splitlines()


def test_a_worker_that_is_killed_changes_nothing(client: Any, things: Path, tmp_path: Path) -> None:
    calls, once, meter = tmp_path / "calls", tmp_path / "once", ProgressMeter()
    parameters = {"calls": str(calls), "once": str(once)}
    fn = transforms.halve_and_die_once
    report = distributed.transform(
        "demo/things", fn, "demo/halves", parameters=parameters, tasks=6, client=client, progress=meter
    )
    assert once.exists()  # one was killed
    assert set(called(calls)) == set(FILES)
    assert report.outputs == 60
    states = {state.name: state for state in meter.states()}
    assert states["tasks"].done == states["tasks"].total == report.tasks
    alone = distributed.transform("demo/things", fn, "demo/alone", parameters=parameters)
    assert alone.top_hash == report.top_hash
    penstock.Bucket("demo").gc(delete=True, grace=0)
    there, needed = data_objects("demo", "demo/things", "demo/halves", "demo/alone")
    assert there == needed
    assert penstock.open("demo/halves").verify(deep=True).sound


def test_a_worker_that_hangs_holds_nobody_up_and_an_error_ends_it(client: Any, things: Path, tmp_path: Path) -> None:
    calls, once = tmp_path / "calls", tmp_path / "once"
    parameters = {"calls": str(calls), "once": str(once)}
    fn = transforms.halve_and_hang_once
    try:
        report = distributed.transform(
            "demo/things", fn, "demo/halves", parameters=parameters, tasks=6, client=client, deadline=5
        )
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(once.read_text()), signal.SIGCONT)
    assert set(called(calls)) == set(FILES)
    alone = distributed.transform("demo/things", fn, "demo/alone", parameters=parameters)
    assert alone.top_hash == report.top_hash

    def fails(input_dir: Path, output_dir: Path) -> Any:
        raise ValueError("no such thing")

    with pytest.raises(UsageError, match="ValueError: no such thing"):
        distributed.transform("demo/things", fails, "demo/none", tasks=6, client=client)
