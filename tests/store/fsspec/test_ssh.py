"""A store over SSH beyond the contract: who answers, what lies in the way, what a lost connection does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from servers.sshd import SshServer

from penstock.errors import AccessError, NotFoundError, StoreUnreachableError, UsageError
from penstock.store import Store, StoreOptions, open_store
from penstock.store.durable import TEMPORARY_FOLDER


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def store(ssh_server: SshServer, there: Path) -> Store:
    ssh_server.let_in(Path.home())
    return open_store(ssh_server.address(there))


def test_one_directory_is_the_same_store_from_here_and_from_afar(store: Store, there: Path) -> None:
    near = open_store(there.as_uri())
    store.put("a/b", b"from afar")
    assert near.get("a/b") == b"from afar"
    assert not near.create("a/b", b"other")
    assert near.create("a/c", b"from here")
    assert not store.create("a/c", b"other")
    assert [info.key for info in store.list()] == [info.key for info in near.list()] == ["a/b", "a/c"]
    assert list((there / TEMPORARY_FOLDER).iterdir()) == []


def test_a_host_that_is_not_known_is_told_nothing(ssh_server: SshServer, there: Path) -> None:
    ssh_server.let_in(Path.home())
    (Path.home() / ".ssh/known_hosts").write_text("")
    with open_store(ssh_server.address(there)) as store, pytest.raises(AccessError, match="another host"):
        store.put("key", b"")
    assert not there.exists()


def test_who_may_not_log_in_is_told_so(ssh_server: SshServer, there: Path) -> None:
    ssh_server.let_in(Path.home())
    (Path.home() / ".ssh/id_ed25519").unlink()
    with open_store(ssh_server.address(there)) as store, pytest.raises(AccessError, match="refuses"):
        store.head("key")


def test_where_nothing_listens_is_told_within_the_deadline(tmp_path: Path) -> None:
    options = StoreOptions(connect_timeout=1, read_timeout=1, deadline=3)
    with open_store("ssh://127.0.0.1:1/srv", options) as store, pytest.raises(StoreUnreachableError):
        store.get("key")


def test_a_connection_that_breaks_is_made_again(tmp_path: Path, there: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with SshServer(folder) as server:
        server.let_in(Path.home())
        with open_store(server.address(there)) as store:
            store.put("key", b"body")
            server.break_connections()
            assert store.get("key") == b"body"
            assert store.create("new", b"body")


def test_no_link_below_the_root_is_followed(store: Store, there: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.put("a/b", b"")
    (there / "a/link").symlink_to(outside / "secret")
    (there / "folder").symlink_to(outside)
    for key in ("a/link", "folder/secret"):
        with pytest.raises(AccessError, match="link"):
            store.get(key)
    with pytest.raises(AccessError, match="link"):
        store.put("folder/new", b"")
    with pytest.raises(AccessError, match="link"):
        list(store.list())
    store.delete(["a/link"])
    assert (outside / "secret").read_bytes() == b"secret"
    assert os.listdir(outside) == ["secret"]


def test_the_root_itself_may_be_a_link(ssh_server: SshServer, there: Path, tmp_path: Path) -> None:
    ssh_server.let_in(Path.home())
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    with open_store(ssh_server.address(tmp_path / "link")) as store:
        store.put("a/b", b"body")
        assert [info.key for info in store.list("a/")] == ["a/b"]
    assert (there / "a/b").read_bytes() == b"body"


def test_a_pipe_in_the_place_of_an_object_hangs_nobody(store: Store, there: Path) -> None:
    store.put("a/b", b"")
    os.mkfifo(there / "a/pipe")
    with pytest.raises(NotFoundError):
        store.get("a/pipe")


def test_old_files_of_dead_writers_are_swept(store: Store, there: Path) -> None:
    folder = there / TEMPORARY_FOLDER
    folder.mkdir(parents=True)
    for name in ("1-" + "0" * 32, "2-" + "1" * 32, "mine"):
        (folder / name).write_bytes(b"")
    os.utime(folder / ("1-" + "0" * 32), (1, 1))
    os.utime(folder / "mine", (1, 1))
    store.put("key", b"")
    assert sorted(each.name for each in folder.iterdir()) == ["2-" + "1" * 32, "mine"]


def test_a_store_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, library, module in (
        ("gs://bucket", "gcsfs", "gcs_files"),
        ("az://container", "adlfs", "azure_files"),
        ("ssh://host/dir", "sshfs", "ssh_files"),
    ):
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(sys.modules, f"penstock.store.fsspec.{module}", raising=False)
        with pytest.raises(UsageError, match=r"penstock\[") as caught:
            open_store(url)
        assert "pip install" in caught.value.fix


@pytest.mark.parametrize("url", ["ssh://host", "ssh://me:secret@host/dir", "gs://", "az://container/../up"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url)
