"""Methods called on a Dask cluster: what they make comes back as bytes, and a record that fails is named as ever."""

from __future__ import annotations

import dataclasses
import socket
from functools import partial
from pathlib import Path

import pytest
from views.datasets_in_git import new_repository

from penstock.errors import StoreUnreachableError
from penstock.project.records.cluster_code import open_cluster
from penstock.project.records.code_processes import CodeError

distributed = pytest.importorskip("distributed")

TEXT = (
    "from penstock import dataset, ingest, File\n@dataset(remote='demo')\nclass Letters:\n    text: File['txt']\n"
    "    @ingest\n    def load():\n        return [(each.encode() * 3,) for each in 'abc']\n"
    "    def twice(text: File['txt']) -> File['txt']:\n        return text.read_bytes() * 2\n"
    "    def size(twice: File['txt']) -> int:\n        return LIMIT // twice.stat().st_size\nLIMIT = 6\n"
)


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as made:
        yield made


WHERE = (
    "import os\nfrom penstock import dataset, ingest\n@dataset(remote='demo')\nclass Numbers:\n    number: int\n"
    "    @ingest\n    def load():\n        return ([1, 2, 3],)\n"
    "    def where(number: int) -> str:\n        return os.environ.get('ON_CLUSTER', 'here')\n"
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(300)
def test_a_user_says_where_methods_run(tmp_path, cluster, monkeypatch):
    repository = new_repository(tmp_path / "repository", tmp_path / "home")
    monkeypatch.setenv("ON_CLUSTER", "there")  # of the workers, which are threads of this process
    repository.write(WHERE)
    repository.datasets("track", "index.py")
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    assert "executor cannot be 'dask'" in repository.datasets("config", "executor", "dask", fails=True)
    repository.datasets("config", "executor", address)
    assert repository.datasets("config", "executor").strip() == address
    repository.git("commit", "-q", "index.py", "-m", "one")
    assert repository.rows('SELECT number, "where" FROM Numbers ORDER BY number') == [
        (1, "there"),
        (2, "there"),
        (3, "there"),
    ]
    repository.datasets("config", "executor", "processes")
    repository.commit(WHERE.replace("'here'", "'at home'"))
    assert {row[0] for row in repository.rows('SELECT "where" FROM Numbers')} == {"at home"}


@pytest.mark.filterwarnings("ignore")
def test_methods_run_on_the_workers_of_a_cluster(bench, cluster):
    shop = dataclasses.replace(bench.shop, open_code=partial(open_cluster, cluster.scheduler_address))
    built = bench.build(TEXT, shop=shop)
    assert built.calls == {"load": 1, "twice": 3, "size": 3}
    rows = bench.rows()
    assert [each.values["size"] for each in rows.values()] == [1, 1, 1]
    for record in rows.values():
        stored = bench.shop.kept.stored(record.files["twice"])
        assert len(Path(bench.shop.files.path_of(stored.object)).read_bytes()) == 6
    # what was made there is what is made here
    version = built.version
    bench.version = None
    assert bench.build(TEXT.replace("LIMIT = 6", "LIMIT = 6  # here")).version.id.top_hash == version.id.top_hash
    with pytest.raises(CodeError, match=r"index.py:\d+: size failed for record [0-9a-f]{20}: NameError"):
        bench.build(TEXT.replace("LIMIT = 6", ""), shop=shop)
    assert bench.version.id.top_hash == version.id.top_hash


def test_a_cluster_that_does_not_answer_is_named(bench, monkeypatch):
    monkeypatch.setattr("penstock.project.records.cluster_code._PATIENCE", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    shop = dataclasses.replace(bench.shop, open_code=partial(open_cluster, address))
    with pytest.raises(StoreUnreachableError, match="no Dask cluster answers at"):
        bench.build(TEXT, shop=shop)
    assert bench.version is None
