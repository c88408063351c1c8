"""One bucket, opened: nothing before it is asked for, each part once, closed once and in order, and never sent away."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.settings.trust import Trust
from penstock.store.options import StoreOptions

World = Any  # see conftest


@pytest.fixture
def settings(world: World) -> Settings:
    """A machine that has never seen the bucket, in which there is one version."""
    world.push(world.plant({b"a": b"one", b"d/b": b"two" * 1000}))
    return world.machine("new")  # type: ignore[no-any-return]


@pytest.fixture
def session(world: World, settings: Settings) -> Iterator[BucketSession]:
    with open_session(world.bucket, settings) as session:
        yield session


def open_files_below(directory: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(directory))]


def children() -> set[str]:
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


def test_opening_asks_the_store_nothing(settings: Settings) -> None:
    gone = Remote(name="gone", url="s3://gone", endpoint_url="http://127.0.0.1:9", deadline=1.0)
    away = Settings(settings.config_path, settings.cache_directory, settings.cache_size, {"gone": gone})
    with open_session("gone", away) as session:  # a request would end in StoreUnreachableError
        assert session.address == "s3://gone"
        assert not any(session.counts.snapshot().values())


def test_who_lists_refs_opens_no_cache(session: BucketSession, settings: Settings) -> None:
    repository = session.repository("things")
    assert list(repository.refs.branches()) == ["main"]
    repository.manifest(repository.resolve("main").top_hash)
    assert not settings.cache_directory.exists()


def test_a_session_without_a_cache_never_opens_one(world: World, settings: Settings) -> None:
    snapshot = world.open(settings=settings, cached=False)
    assert [bytes(block) for block in snapshot.read(snapshot.find("d/b"))] == [b"two" * 1000]
    assert snapshot.session.cache is None
    assert not settings.cache_directory.exists()


def test_each_part_is_made_once_whoever_asks_first(session: BucketSession) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> tuple[object, ...]:
        barrier.wait()
        return session.blocks, session.nodes, session.cache, session.externals, session.regions

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(part is first for answer in answers for part, first in zip(answer, answers[0], strict=True))


def test_closing_ends_all_that_was_opened(world: World, settings: Settings) -> None:
    before = children()
    session = open_session(world.bucket, settings, fetchers=1)
    repository = session.repository("things")
    session.load_many([repository.manifest(repository.resolve("main").top_hash).root])
    assert session.fetchers is not None
    assert len(children() - before) == 1
    assert open_files_below(settings.cache_directory)
    session.close()
    session.close()
    assert session.fetchers.pids() == []
    assert children() == before
    assert open_files_below(settings.cache_directory) == []


def test_what_cannot_be_closed_keeps_nothing_else_open(
    session: BucketSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.cache is not None

    def fail() -> None:
        raise OSError("no")

    monkeypatch.setattr(session.externals, "close", fail)
    with pytest.raises(OSError, match="no"):
        session.close()
    assert open_files_below(settings.cache_directory) == []


def test_a_session_that_has_ended_opens_nothing_more(session: BucketSession, settings: Settings) -> None:
    session.close()
    with pytest.raises(UsageError, match="was closed") as caught:
        _ = session.blocks
    assert caught.value.fix
    assert not settings.cache_directory.exists()


def test_processes_end_when_the_bucket_cannot_be_opened(settings: Settings) -> None:
    before = children()
    with pytest.raises(UsageError, match="no address of a store"):
        BucketSession(BucketSetup("it", "nonsense", StoreOptions(), settings), fetchers=1)
    assert children() == before


def test_the_index_of_locations_is_open_while_it_is_used(session: BucketSession, settings: Settings) -> None:
    with session.locations() as index:
        index.put_many(b"space", [(b"content", b"place")])
        with session.locations() as same:
            assert same is index
        assert open_files_below(settings.cache_directory / "locations")
    assert open_files_below(settings.cache_directory / "locations") == []
    with session.locations() as index:
        assert index.get(b"space", b"content") == b"place"


def test_a_session_stays_in_its_process_and_its_setup_travels(session: BucketSession) -> None:
    with pytest.raises(TypeError, match="setup"):
        pickle.dumps(session)
    assert BucketSetup.decode(session.setup.encode()) == session.setup


def test_a_setup_arrives_as_it_was(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/cach\xe9"))
    remote = Remote(name="demo", url="s3://demo/below", endpoint_url="http://127.0.0.1:9", deadline=2.5, unsafe=True)
    settings = Settings(tmp_path / "c.toml", odd, 1 << 30, {"demo": remote}, Trust(("/srv",), ("other",)))
    setup = BucketSetup.of("demo", settings)
    assert BucketSetup.decode(setup.encode()) == setup
    assert setup.options == remote.store_options()
