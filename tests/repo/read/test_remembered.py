"""Versions that were opened before open without the store, and only when that cannot be reached."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from servers.faultproxy import FaultProxy

from penstock.cache import BlockCache
from penstock.errors import NotFoundError, StoreUnreachableError
from penstock.progress import SILENT
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.warm.warm import warm

pytestmark = pytest.mark.s3
CONTENT = {b"a": b"1", b"folder/b": os.urandom(1_200_000), b"folder/c": b"3"}


@pytest.fixture
def lab(s3_world: Any, fault_proxy: FaultProxy) -> Settings:
    """Push a dataset; return the settings of a machine that reaches it through the proxy as ``lab/things``."""
    s3_world.push(s3_world.plant(CONTENT), tag="v1")
    remote = Remote(
        name="lab", url=s3_world.bucket, endpoint_url=fault_proxy.endpoint, addressing_style="path", deadline=2.0
    )
    return replace(s3_world.machine("away"), remotes={"lab": remote})


def opened(settings: Settings, ref: str = "", *, remember: bool = True) -> Snapshot:
    return open_snapshot(f"lab/things{ref}", settings, remember=remember)


def test_what_was_warmed_is_read_without_the_store(s3_world: Any, lab: Settings, fault_proxy: FaultProxy) -> None:
    warm(parse_handle("lab/things"), [], lab, SILENT)
    with closing(opened(lab)) as online:
        assert not online.offline
        top_hash, commit_id, commit = online.top_hash, online.commit_id, online.commit()
    fault_proxy.down()
    before = len(fault_proxy.requests)
    for ref in ("", ":main", f":{top_hash.hex()}", f":{commit_id.hex() if commit_id else ''}"):
        with closing(opened(lab, ref)) as offline:
            assert offline.offline
            assert offline.top_hash == top_hash
            if offline.commit_id is not None:
                assert (offline.commit_id, offline.commit()) == (commit_id, commit)
            assert s3_world.read_back(offline) == CONTENT
    with closing(opened(lab, "/folder")) as folder:
        assert set(s3_world.read_back(folder)) == {b"b", b"c"}
    assert warm(parse_handle("lab/things"), [], lab, SILENT).bytes_fetched == 0
    assert len(fault_proxy.requests) == before


def test_the_store_is_believed_while_it_answers(s3_world: Any, lab: Settings, fault_proxy: FaultProxy) -> None:
    with closing(opened(lab)) as first:
        old = first.top_hash
    s3_world.push(s3_world.plant({b"new": b"2"}, name="other"))
    with closing(opened(lab)) as second:
        assert second.top_hash != old
    fault_proxy.down()
    with closing(opened(lab)) as third:
        assert (third.offline, third.top_hash) == (True, second.top_hash)
    with closing(opened(lab, f":{old.hex()}")) as fourth:
        assert fourth.top_hash == old
    fault_proxy.up()
    with closing(opened(lab)) as fifth:
        assert not fifth.offline
    with pytest.raises(NotFoundError):
        opened(lab, ":nosuch")


def test_what_nobody_opened_is_not_remembered(lab: Settings, fault_proxy: FaultProxy) -> None:
    opened(lab).close()
    opened(lab, ":v1", remember=False).close()
    fault_proxy.down()
    for ref in (":v1", ":other"):
        with pytest.raises(StoreUnreachableError):
            opened(lab, ref)
    with pytest.raises(StoreUnreachableError):
        opened(lab, remember=False)


def test_a_memory_that_lost_its_records_is_none(lab: Settings, fault_proxy: FaultProxy) -> None:
    opened(lab).close()
    with closing(lab.open_cache()) as cache:
        assert isinstance(cache, BlockCache)
        cache.clear()
    fault_proxy.down()
    with pytest.raises(StoreUnreachableError):
        opened(lab)
