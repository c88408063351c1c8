"""Remotes: which combinations are valid, how they open a store, and how addresses are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.settings.remote import ADDRESSING_STYLES, ENCRYPTIONS, FIELDS, Remote, absolute_address
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions


def test_every_setting_reaches_the_store() -> None:
    settings: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:9000",
        "profile": "lab",
        "region": "eu-west-1",
        "addressing_style": "path",
        "request_payer": True,
        "sse": "aws:kms",
        "sse_kms_key_id": "key",
        "deadline": 7.5,
    }
    remote = Remote(name="lab", url="s3://bucket/prefix", **settings)
    assert remote.store_options() == StoreOptions(**settings)
    assert set(settings) | {"url", "anonymous", "unsafe"} == set(FIELDS)
    assert Remote(name="open", url="s3://bucket", anonymous=True).store_options() == StoreOptions(anonymous=True)


def test_what_is_offered_is_what_stores_take() -> None:
    for style in ADDRESSING_STYLES:
        StoreOptions(addressing_style=style)
    for encryption in ENCRYPTIONS:
        StoreOptions(sse=encryption)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "-x"}, "bucket name"),
        ({"name": "a/b"}, "bucket name"),
        ({"url": "hdfs://bucket"}, "url"),
        ({"url": "ssh://host"}, "no directory"),
        ({"url": "ssh://me:secret@host/dir"}, "password"),
        ({"url": "ssh://host/dir", "endpoint_url": "http://host"}, "another machine"),
        ({"url": "gs://bucket", "profile": "x"}, "Google"),
        ({"url": "az://container", "sse": "AES256"}, "Azure"),
        ({"url": "file://relative"}, "url"),
        ({"url": "s3://"}, "url"),
        ({"url": "s3://b//prefix"}, "url"),
        ({"url": "s3://b ucket"}, "bucket name"),
        ({"url": "file:///srv", "region": "x"}, "region"),
        ({"endpoint_url": "localhost:9000"}, "endpoint"),
        ({"addressing_style": "odd"}, "addressing style"),
        ({"sse": "rot13"}, "encryption"),
        ({"sse_kms_key_id": "key"}, "KMS"),
        ({"deadline": 0.0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"anonymous": True, "profile": "x"}, "profile"),
    ],
)
def test_what_a_remote_cannot_have(change: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        Remote(**{"name": "demo", "url": "s3://bucket", **change})
    assert caught.value.fix


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("gs://bucket/prefix/", "gs://bucket/prefix"),
        ("az://container", "az://container"),
        ("ssh://me@host:2222/srv/data/", "ssh://me@host:2222/srv/data"),
        ("file:///srv/store/", "file:///srv/store"),
        ("file:////srv/store", "file:///srv/store"),
        ("file://store", "file:///here/store"),
        ("file://./store", "file:///here/store"),
        ("file:store", "file:///here/store"),
        ("file:../store", "file:///store"),
        ("file:///a%20b", "file:///a%20b"),
        ("./store", "file:///here/store"),
        (".", "file:///here"),
        ("/srv/50%", "file:///srv/50%25"),
        ("/srv/ü", "file:///srv/ü"),
        ("/srv/a\nb\udcff", "file:///srv/a%0Ab%FF"),
    ],
)
def test_an_address_is_kept_absolute(address: str, kept: str) -> None:
    assert absolute_address(address, "/here") == kept
    Remote(name="demo", url=kept)


def test_a_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert absolute_address("~/store", "/here") == "file:///home/u/store"


@pytest.mark.parametrize("address", ["", "store", "hdfs://bucket", "http://host/x", "file:", "file://"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        absolute_address(address, "/here")


@given(st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name) and name not in {b".", b".."}))
def test_any_directory_can_be_a_remote(name: bytes) -> None:
    path = b"/srv/" + name
    url = absolute_address(os.fsdecode(path))
    url.encode()
    assert absolute_address(url) == url
    assert url.isprintable()


def test_the_directory_that_opens_is_the_one_that_was_named(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/50% \xff:\n"
    os.mkdir(odd)
    store = open_store(absolute_address(os.fsdecode(odd)))
    store.put("key", b"body")
    assert os.path.exists(odd + b"/key")


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", "alias"),
        ("s3:/bucket/prefix", "s3://bucket/prefix"),
        ("s3//bucket", "s3://bucket"),
        ("https//host/bucket", "--endpoint-url"),
        ("http://host/bucket", "--endpoint-url"),
        ("host:/export", "./dir"),
    ],
)
def test_what_only_looks_like_a_path_is_no_directory(address: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        absolute_address(address, "/here")
    assert fix in caught.value.fix


def test_a_directory_with_a_colon_is_named_with_its_parent() -> None:
    assert absolute_address("./a:b", "/here") == "file:///here/a:b"
