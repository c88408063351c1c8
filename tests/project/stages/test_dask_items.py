"""Items of per-file stages on a Dask cluster."""

from __future__ import annotations

import pytest

from penstock.errors import StoreUnreachableError, UsageError
from penstock.project.stages.execution import dask_items
from penstock.project.stages.execution.dask_items import DaskItems, dask_runner, sees
from penstock.project.stages.execution.repro import ReproOptions
from penstock.project.stages.stage_tasks import reproduce
from penstock.repo.settings.settings import Settings

distributed = pytest.importorskip("distributed")


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as made:
        yield made


@pytest.mark.filterwarnings("ignore")
def test_items_run_on_the_workers_of_a_cluster(work, cluster):
    for at in range(6):
        work.write(f"in/{at}", f"text {at}")
    work.stage("upper", "tr a-z A-Z < {input} > {output}; echo on $PENSTOCK_STAGE", [], ["out"], each="in")
    runner = dask_runner(cluster.scheduler_address)
    (result,) = reproduce(work.project, Settings.load, work, print, (), "", ReproOptions(), runner)
    assert (result.outcome, result.ran) == ("ran", 6)
    assert work.read("out/3") == "TEXT 3"
    assert work.lines == [("upper", "on upper")] * 6
    work.write("in/6", "exit")
    work.stage("upper", "grep -q exit {input} && exit 3; cp {input} {output}", [], ["out"], each="in")
    (result,) = reproduce(work.project, Settings.load, work, print, (), "", ReproOptions(), runner)
    assert "'in/6'" in result.error.what


@pytest.mark.filterwarnings("ignore")
def test_workers_that_do_not_see_the_project_are_refused(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(dask_items, "sees", blind)
    with pytest.raises(UsageError, match="do not see"):
        DaskItems(cluster.scheduler_address, str(tmp_path), {}).run([(0, "touch it")], lambda *_: True, print)
    assert list(tmp_path.iterdir()) == []


def blind(path: str, token: str) -> bool:
    return not sees(path, token)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_items, "_PATIENCE", 1)
    with pytest.raises(StoreUnreachableError, match=r"tcp://127\.0\.0\.1:9"):
        DaskItems("tcp://127.0.0.1:9", str(tmp_path), {}).run([(0, "true")], lambda *_: True, print)
