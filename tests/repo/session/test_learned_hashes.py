"""Hashes of blocks that are pinned by identity: kept from session to session, apart by server, lost without harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from penstock.cache import LocationIndex
from penstock.errors import AccessError
from penstock.manifest.entry import External
from penstock.manifest.hashing import content_hash
from penstock.repo.session import learned_hashes
from penstock.repo.session.learned_hashes import LEARNED, LearnedHashes

FOUND = External("s3://bucket/key", None, "etag", 5)
NAMES = [content_hash(b"name %d" % number) for number in range(2000)]
DIGESTS = [content_hash(b"content %d" % number) for number in range(2000)]


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., LearnedHashes]:
    """Return what makes the memory of a session, beside one cache for all."""
    return partial(LearnedHashes, partial(LocationIndex, tmp_path / "cache"))


def test_what_one_session_learns_the_next_one_knows_of_the_same_server_alone(
    session: Callable[..., LearnedHashes],
) -> None:
    with closing(session(lambda _: "one")) as first:
        assert first.recall(FOUND, NAMES[:2]) == [None, None]
        first.learn(FOUND, NAMES, DIGESTS)
        assert first.get(NAMES[0]) == DIGESTS[0]
    with closing(session(lambda _: "one")) as second, closing(session(lambda _: "two")) as other:
        assert second.get(NAMES[0]) is None  # not in memory yet
        assert second.recall(FOUND, NAMES) == DIGESTS
        assert second.peek(NAMES[7]) == DIGESTS[7]
        assert set(other.recall(FOUND, NAMES)) == {None}


def test_it_is_written_down_while_the_session_goes_on(
    session: Callable[..., LearnedHashes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_hashes, "_OPEN", 0.05)
    with closing(session()) as running, closing(session()) as other:
        running.learn(FOUND, NAMES[:1], DIGESTS[:1])
        until = time.monotonic() + 30
        while other.recall(FOUND, NAMES[:1]) != DIGESTS[:1]:
            assert time.monotonic() < until
        running.learn(FOUND, NAMES[:2], DIGESTS[:2])  # it is opened again when it is needed
    with closing(session()) as last:
        assert last.recall(FOUND, NAMES[:2]) == DIGESTS[:2]


def test_after_the_session_it_stays_in_memory(session: Callable[..., LearnedHashes]) -> None:
    memory = session()
    memory.close()
    memory.learn(FOUND, NAMES[:1], DIGESTS[:1])
    assert memory.recall(FOUND, NAMES[:2]) == [DIGESTS[0], None]
    memory.close()


def test_of_what_may_not_be_read_nothing_is_known(session: Callable[..., LearnedHashes]) -> None:
    def refuse(_: External) -> str:
        raise AccessError("s3://bucket is not read")

    with closing(session()) as first:
        first.learn(FOUND, NAMES[:1], DIGESTS[:1])
    with closing(session(refuse)) as second:
        assert second.recall(FOUND, NAMES[:1]) == [None]
        second.learn(FOUND, NAMES[:1], DIGESTS[:1])
        assert second.recall(FOUND, NAMES[:1]) == DIGESTS[:1]


def test_rows_that_are_no_hashes_are_not_believed(session: Callable[..., LearnedHashes], tmp_path: Path) -> None:
    with closing(LocationIndex(tmp_path / "cache")) as index:
        index.put_many(LEARNED, [(content_hash(NAMES[0]), b"short")])
    with closing(session()) as memory:
        assert memory.recall(FOUND, NAMES[:1]) == [None]


def test_threads_share_it(session: Callable[..., LearnedHashes]) -> None:
    with closing(session()) as memory, ThreadPoolExecutor(8) as pool:

        def both(at: int) -> list[bytes | None]:
            memory.learn(FOUND, NAMES[at : at + 50], DIGESTS[at : at + 50])
            return memory.recall(FOUND, NAMES[at : at + 50])

        for at, known in zip(range(0, 2000, 50), pool.map(both, range(0, 2000, 50)), strict=True):
            assert known == DIGESTS[at : at + 50]
    with closing(session()) as later:
        assert later.recall(FOUND, NAMES) == DIGESTS
