"""Eight writers at once on one branch of the real S3 server, again and again: each is told the truth."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import push

from penstock.errors import ConflictError
from penstock.repo.history.log import moves
from penstock.repo.refs.repository import Repository
from penstock.repo.settings.settings import Settings
from penstock.store.opening import open_store

WRITERS, ROUNDS = 8, 4


@pytest.mark.s3
@pytest.mark.usefixtures("aws_environment")
def test_the_history_of_eight_writers_is_what_each_of_them_was_told(bucket: str, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "config.toml", tmp_path / "cache", 1 << 27, {})
    together = threading.Barrier(WRITERS)

    def write(writer: int) -> list[str]:
        source = tmp_path / f"source{writer}"
        source.mkdir()
        own = replace(settings, cache_directory=tmp_path / f"cache{writer}")
        landed = []
        for number in range(ROUNDS):
            (source / f"of{writer}").write_text(f"{writer} {number}")
            together.wait(60)
            try:
                landed.append(push(source, f"s3://{bucket}/data", own).commit.hex())
            except ConflictError as error:
                assert "moved meanwhile" in error.what
        return landed

    with ThreadPoolExecutor(WRITERS) as pool:
        told = [commit for landed in pool.map(write, range(WRITERS)) for commit in landed]
    with open_store(f"s3://{bucket}") as store:
        repository = Repository(store, "data")
        assert sorted((head.record.commit or b"").hex() for head in moves(repository, "main")) == sorted(told)
        at, history = repository.resolve("main").commit, []
        while at is not None:
            history.append(at.hex())
            parents = repository.commit(at).parents
            at = parents[0] if parents else None
    assert sorted(history) == sorted(told)
    assert len(told) >= ROUNDS, "in each round one of them landed"
