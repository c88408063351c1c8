"""What a store is found to hold to, and what is remembered of it: stores that break their word, each in its own way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from penstock.repo.bucket.promises import Promises, broken_promise, probe_key
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.store.base import Buffer
from penstock.store.local import LocalStore


class Forgetful(LocalStore):
    def create(self, key: str, body: Buffer) -> bool:
        self.put(key, body)
        return True


def test_a_directory_whose_disk_overwrites(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "config.toml", tmp_path / "cache", 64 << 20, {})
    with closing(Forgetful(tmp_path / "store")) as store:
        store.put("there", b"")
        assert "theirs" in Promises(settings).broken(store)
        assert "theirs" in Promises(settings).broken(store)  # what does not hold is not remembered
    with closing(LocalStore(tmp_path / "store")) as store:
        assert Promises(settings).broken(store) == ""
        assert [info.key for info in store.list()] == ["there"]  # no probe is left
    with closing(Forgetful(tmp_path / "store")) as store:
        assert Promises(settings).broken(store) == ""  # what held is


def test_a_promise_that_is_kept_in_words_only(tmp_path: Path) -> None:
    class Sly(LocalStore):
        def create(self, key: str, body: Buffer) -> bool:
            there = self.head(key) is not None
            self.put(key, body)
            return not there

    class Refusing(LocalStore):
        def create(self, key: str, body: Buffer) -> bool:
            if self.head(key) is None:
                self.put(key, b"something else")
            return False

    assert "overwrote" in broken_promise(Sly(tmp_path))
    assert "refused to make" in broken_promise(Refusing(tmp_path))


def test_a_probe_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(RuntimeError), probe_key(store) as key:
        store.put(key, b"")
        raise RuntimeError
    assert list(store.list()) == []


def test_the_risk_is_accepted_of_a_store_whatever_it_is_called() -> None:
    lab = Remote(name="lab", url="s3://data", unsafe=True)
    far = Remote(name="far", url="s3://data", endpoint_url="http://127.0.0.1:1")
    settings = Settings(Path("/config"), Path("/cache"), 1, {"lab": lab, "far": far})
    assert settings.accepts_risk("lab")
    assert settings.accepts_risk("data")
    assert settings.accepts_risk("s3://data")
    assert not settings.accepts_risk("far")  # the same name at another endpoint
    assert not settings.accepts_risk("other")
