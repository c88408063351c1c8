"""A transform in a bucket of a real S3 server, behind a proxy that fails, cuts and withholds answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy, FlipByte, Reset, Stall, Status, Truncate
from views.transformed import FILES, data_objects
from views.transforms import halve

import penstock
from penstock import distributed
from penstock.errors import StoreUnreachableError
from penstock.store.options import StoreOptions

pytestmark = pytest.mark.s3
ALWAYS = 1_000_000


def is_data(_: str, path: str) -> bool:
    return "/.penstock/data/" in path


def is_part(_: str, path: str) -> bool:
    return "/.penstock/parts/" in path


@pytest.fixture
def behind(
    things: Path, bucket: str, aws_environment: dict[str, str], fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> FaultProxy:
    """Have the things in a bucket, and lead all to it through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "32MiB")
    penstock.Dataset(f"{bucket}/things").push(things)
    return fault_proxy


def test_answers_that_are_lost_cut_late_or_wrong_change_nothing(
    behind: FaultProxy, bucket: str, things: Path, tmp_path: Path
) -> None:
    parameters = {"calls": str(tmp_path / "calls")}
    faults = [Status(), Reset(), Reset(after_forward=True), Truncate(10), FlipByte(20), Stall(0.5)]
    for number, fault in enumerate(faults):
        behind.fail(fault=fault, match=lambda method, path: method == "GET" and is_data(method, path), times=1)
        if number < 3 or number == 5:
            behind.fail(fault=fault, match=lambda method, path: method == "PUT" and is_part(method, path), times=1)
    report = distributed.transform(f"{bucket}/things", halve, f"{bucket}/halves", parameters=parameters, tasks=4)
    behind.heal()
    alone = distributed.transform(f"{bucket}/things", halve, f"{bucket}/alone", parameters=parameters)
    assert report.top_hash == alone.top_hash
    assert report.outputs == 60
    made = penstock.open(f"{bucket}/halves")
    assert made.verify(deep=True).sound
    assert {name: made.read(name) for name in FILES} == {name: data[::2] for name, data in FILES.items()}
    assert not distributed.transform(f"{bucket}/things", halve, f"{bucket}/halves", parameters=parameters).changed
    penstock.Bucket(bucket).gc(delete=True, grace=0)
    there, needed = data_objects(bucket, f"{bucket}/things", f"{bucket}/halves", f"{bucket}/alone")
    assert there == needed


def test_a_server_that_fails_for_good_ends_it_and_what_was_done_is_found_by_the_next_run(
    behind: FaultProxy, bucket: str, things: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    parameters = {"calls": str(calls)}
    settings = replace(penstock.Settings.load(), store_options=StoreOptions(deadline=5))
    with distributed.prepare(
        f"{bucket}/things", halve, f"{bucket}/halves", parameters=parameters, tasks=3, settings=settings
    ) as run:
        first = run.tasks[0]()
        behind.fail(
            fault=Status(500, b""), match=lambda method, path: method == "PUT" and is_part(method, path), times=ALWAYS
        )
        with pytest.raises(StoreUnreachableError):
            run.tasks[1]()
    behind.heal()
    done = len(calls.read_text().splitlines())
    report = distributed.transform(f"{bucket}/things", halve, f"{bucket}/halves", parameters=parameters, tasks=3)
    assert report.tasks_again == 1
    assert len(calls.read_text().splitlines()) - done == len(FILES) - first.inputs
    assert report.outputs == 60
