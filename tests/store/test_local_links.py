"""Symbolic links inside of a local store: never followed, whatever is asked, and never taken for something missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import AccessError, PenstockError
from penstock.store.durable import STALE_AFTER, TEMPORARY_FOLDER
from penstock.store.local import LocalStore


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder that links in the store lead to, with an old file in it that looks like a temporary one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("key", f"1-{'0a' * 16}"):
        (outside / name).write_bytes(b"mine")
        os.utime(outside / name, (time.time() - STALE_AFTER - 60,) * 2)
    return outside


@pytest.fixture
def store(tmp_path: Path, outside: Path) -> LocalStore:
    store = LocalStore(tmp_path / "objects")
    store.put("a/real", b"body")
    (tmp_path / "objects" / "linked").symlink_to(outside)
    (tmp_path / "objects" / "a" / "link").symlink_to(outside / "key")
    return store


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


CALLS: dict[str, Callable[[LocalStore], object]] = {
    "get": lambda store: store.get("linked/key"),
    "get of a link": lambda store: store.get("a/link"),
    "head": lambda store: store.head("linked/key"),
    "head of a link": lambda store: store.head("a/link"),
    "put": lambda store: store.put("linked/key", b"theirs"),
    "create": lambda store: store.create("linked/new", b"theirs"),
    "create of what it leads to": lambda store: store.create("a/link", b"mine"),
    "delete": lambda store: store.delete(["linked/key"]),
    "copy": lambda store: store.copy(store, "linked/key", "copy"),
    "list": lambda store: list(store.list()),
    "list below": lambda store: list(store.list("linked/")),
    "list of a folder with a link": lambda store: list(store.list("a/")),
    "list_folders": lambda store: list(store.list_folders()),
    "list_level": lambda store: store.list_level("a/"),
}


@pytest.mark.regress
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_link_is_refused_by_name(store: LocalStore, outside: Path, call: Callable[[LocalStore], object]) -> None:
    before = content(outside)
    with pytest.raises(AccessError, match="symbolic link"):
        call(store)
    assert content(outside) == before
    assert store.get("a/real") == b"body"


def test_deleting_or_replacing_a_link_leaves_what_it_leads_to(store: LocalStore, outside: Path) -> None:
    before = content(outside)
    store.delete(["a/link"])
    (Path(store.path) / "a" / "link").symlink_to(outside / "key")
    store.put("a/link", b"theirs")
    assert store.get("a/link") == b"theirs"
    assert content(outside) == before


def test_what_is_not_asked_for_hinders_nobody(store: LocalStore) -> None:
    assert [info.key for info in store.list("a/r")] == ["a/real"]


def test_the_store_itself_may_be_a_link(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(store.path)
    alias = LocalStore(tmp_path / "alias")
    alias.put("b", b"1")
    assert store.get("b") == b"1"
    assert alias.get("a/real") == b"body"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_temporary_files_of_others_folders_are_not_made(store: LocalStore) -> None:
    os.chown(Path(store.path) / TEMPORARY_FOLDER, 12345, 12345)
    with pytest.raises(AccessError, match="uid 12345"):
        LocalStore(store.path).put("key", b"")
    os.chown(store.path, 12345, 12345)  # the store's owner can do as he likes in it anyway
    LocalStore(store.path).put("key", b"")


@pytest.mark.regress
def test_only_files_of_our_own_form_are_swept(store: LocalStore) -> None:
    temporary = Path(store.path) / TEMPORARY_FOLDER
    names = ["notes.txt", "1-xyz", f"1-{'0A' * 16}", f"x{'0a' * 16}", f"1-{'0a' * 16}.old", f"7-{'0b' * 16}"]
    for name in names:
        (temporary / name).write_bytes(b"")
        os.utime(temporary / name, (time.time() - STALE_AFTER - 60,) * 2)
    (temporary / f"8-{'0c' * 16}").mkdir()
    LocalStore(store.path).put("key", b"")
    assert sorted(os.listdir(temporary)) == sorted([*names[:-1], f"8-{'0c' * 16}"])


def test_a_full_path_of_links_is_named(store: LocalStore) -> None:
    with pytest.raises(PenstockError) as caught:
        store.get("linked/key")
    assert "linked" in str(caught.value)
