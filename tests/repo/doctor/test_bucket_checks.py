"""What `doctor` says of buckets: good ones, ones that refuse, ones that are gone, ones that break a promise."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Status
from servers.rgw import RadosGateway

from penstock.errors import UsageError
from penstock.repo.doctor.access_checks import check_bucket, check_writing
from penstock.repo.doctor.check import Check
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.store import Store, open_store
from penstock.store.base import Buffer
from penstock.store.local import LocalStore


def states(checks: Iterable[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def checked(handle: str, settings: Settings, *, write: bool = False) -> dict[str, Check]:
    found = list(check_bucket(parse_handle(handle), settings, write=write))
    for check in found:
        assert bool(check.costs) == (check.state == "warning"), check
    return {check.name: check for check in found}


def test_a_directory(world: Any) -> None:
    world.push(world.plant({b"a": b"1", b"b": b"2"}))
    before = world.keys()
    found = checked(world.handle(), world.settings, write=True)
    assert {check.state for check in found.values()} == {"ok"}
    assert "2 entries" in found["reading"].found
    assert "credentials" not in found
    assert world.keys() == before  # the probe is gone
    assert checked(world.handle(), world.settings)["writing"].state == "skipped"
    absent = checked(world.handle("nosuch"), world.settings)["reading"]
    assert (absent.state, absent.costs) == ("warning", "it cannot be mounted")
    assert "'main'" in absent.fix


@pytest.mark.s3
def test_a_bucket(s3_world: Any, gateway: RadosGateway) -> None:
    s3_world.push(s3_world.plant({b"a": b"1"}))
    before = s3_world.keys()
    found = checked(s3_world.handle(), s3_world.settings, write=True)
    assert {check.state for check in found.values()} == {"ok"}, found
    assert "'env'" in found["credentials"].found
    assert gateway.access_key not in str(found)
    assert gateway.secret_key not in str(found)
    assert found["endpoint"].found == gateway.endpoint
    assert "clock" in found
    assert "1 datasets" in found["listing"].found
    assert s3_world.keys() == before
    writing = {"conditional writes", "deleting", "committing", "listing of probes"}
    assert set(checked(s3_world.bucket, s3_world.settings)) == {*found} - {"reading"} - writing


@pytest.mark.s3
def test_no_credentials_and_wrong_ones(s3_world: Any, gateway: RadosGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = checked(s3_world.handle(), s3_world.settings)
    assert wrong["credentials"].state == "ok"
    assert "secret" in wrong["reachable"].found
    assert "AWS_SECRET_ACCESS_KEY" in wrong["reachable"].fix
    assert "listing" not in wrong
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    other = checked(s3_world.handle(), s3_world.settings)
    assert other["reachable"].state == "warning"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    none = list(check_bucket(parse_handle(s3_world.handle()), s3_world.settings, write=False))
    assert none[0].state == "warning"
    assert "credentials" in none[0].found
    assert "AWS_ACCESS_KEY_ID" in none[0].fix


@pytest.mark.s3
def test_a_server_that_is_gone(s3_world: Any, fault_proxy: FaultProxy) -> None:
    remote = Remote(
        name="lab", url=s3_world.bucket, endpoint_url=fault_proxy.endpoint, addressing_style="path", deadline=1.0
    )
    settings = replace(s3_world.settings, remotes={"lab": remote})
    assert checked("lab", settings)["reachable"].state == "ok"
    fault_proxy.down()
    gone = checked("lab/things", settings, write=True)
    assert states(gone.values()) == {"endpoint": "warning"}
    assert "nothing of this bucket" in gone["endpoint"].costs


def test_a_bucket_that_cannot_be_named(world: Any) -> None:
    with pytest.raises(UsageError):
        list(check_bucket(parse_handle("gs://x/y"), world.settings, write=False))


class Forgetful(LocalStore):
    """A store that overwrites where it should refuse, as servers do that ignore If-None-Match."""

    def create(self, key: str, body: Buffer) -> bool:
        self.put(key, body)
        return True


class Clinging(LocalStore):
    """A store that deletes nothing."""

    def delete(self, keys: Iterable[str]) -> None:
        del keys


def test_a_server_that_breaks_the_promise_of_conditional_writes(tmp_path: Path) -> None:
    with closing(Forgetful(str(tmp_path).encode())) as store:
        assert states(check_writing(store)) == {"writing": "ok", "conditional writes": "warning", "deleting": "ok"}


def test_a_server_that_does_not_delete(tmp_path: Path) -> None:
    with closing(Clinging(str(tmp_path).encode())) as store:
        assert states(check_writing(store)) == {"writing": "ok", "conditional writes": "ok", "deleting": "warning"}


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / ".penstock").write_text("in the way")
    with closing(open_store(f"file://{tmp_path}")) as store:
        assert isinstance(store, Store)
        assert states(check_writing(store)) == {"writing": "warning"}


@pytest.mark.s3
@pytest.mark.regress
def test_a_server_that_shows_no_common_prefixes(
    s3_world: Any, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gc found no data set on, and took everything for garbage."""
    s3_world.push(s3_world.plant({b"a": b"1"}))
    body = (
        b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    fault_proxy.fail(
        fault=Status(200, body=body), match=lambda method, path: method == "GET" and "delimiter" in path, times=1000
    )
    found = checked(s3_world.bucket, s3_world.settings, write=True)
    assert any(check.state == "warning" and "by folder leaves out" in check.found for check in found.values())
