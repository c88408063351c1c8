"""Rows of a batch on a real cluster of Dask, on this machine: one of its workers is killed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from views import rowfunctions

from penstock import FileDataset

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed", "ignore::ResourceWarning"),
]


@pytest.fixture
def client(here: Path) -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


def test_rows_run_on_workers_and_what_one_has_left_is_done_by_another(client: Any, here: Path) -> None:
    log = here / "log"
    paths = [Path(f"in/{number}.txt") for number in range(5)]
    frame = import_module("pandas").DataFrame({"f.txt": paths, "id": range(5), "log": str(log)})
    files = FileDataset()
    (here / "log.once").touch()
    found = files.map_batch(frame, rowfunctions.noted, {"into_path": "./out"}, executor=client)
    assert list(found["error"]) == [None] * 5
    assert not (here / "log.once").exists()  # its worker was killed, and the row went to another one
    assert {str(path): path.read_text() for path in Path("out").glob("*/*.txt")} == {
        f"out/{number}/copy.txt": f"file {number}" for number in range(5)
    }
    ran = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert sorted(set(ran)) == [0, 1, 2, 3, 4]
    assert files.map_batch(frame, rowfunctions.noted, {"into_path": "./out"}, executor=client)["error"].isna().all()
    assert len(log.read_text().splitlines()) == len(ran)
