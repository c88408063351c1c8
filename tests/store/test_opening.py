"""Addresses and options of stores: what opens which, what is refused, and what opening costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.store import StoreOptions, open_store
from penstock.store.local import LocalStore

ELSEWHERE = StoreOptions(endpoint_url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://My.Bucket_1/a?b#c%20d", "s3://My.Bucket_1/a?b#c%20d"),
        ("file:///srv/data", "file:///srv/data"),
        ("file:///srv/data/", "file:///srv/data"),
        ("file:///srv//x/../data", "file:///srv/data"),
        ("file://localhost/srv/data", "file:///srv/data"),
        ("file:///srv/a%20b", "file:///srv/a%20b"),
        ("file:///srv/a b", "file:///srv/a%20b"),
        ("file:///srv/%E9", "file:///srv/%E9"),
    ],
)
def test_addresses(url: str, canonical: str) -> None:
    with open_store(url, ELSEWHERE) as store:
        assert store.url == canonical
        assert canonical in repr(store)
    with open_store(canonical, ELSEWHERE) as again:
        assert again.url == canonical


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "/srv/data",
        "s3:bucket",
        "s3://",
        "s3:///key",
        "s3://-bucket",
        "s3://b",
        "s3://bu cket",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "file://",
        "file://srv/data",
        "file:///a%00b",
        "hdfs://bucket",
        "https://bucket.s3.amazonaws.com",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert caught.value.fix or caught.value.why


def test_the_error_says_what_to_write() -> None:
    with pytest.raises(UsageError, match="file:///srv/data"):
        open_store("/srv/data")
    with pytest.raises(UsageError, match="file:///srv/data"):
        open_store("file://srv/data")


@pytest.mark.parametrize(
    "bad",
    [
        {"endpoint_url": "localhost:9000"},
        {"endpoint_url": "ftp://host"},
        {"endpoint_url": "http://"},
        {"endpoint_url": "http://host:port"},
        {"endpoint_url": "http://[::1"},
        {"addressing_style": "vhost"},
        {"sse": "rot13"},
        {"sse_kms_key_id": "key"},
        {"sse": "AES256", "sse_kms_key_id": "key"},
        {"deadline": 0},
        {"read_timeout": -1},
        {"connect_timeout": float("nan")},
        {"deadline": float("inf")},
        {"max_attempts": 0},
    ],
)
def test_options_that_cannot_be(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        StoreOptions(**bad)


def test_opening_creates_nothing(tmp_path: Path) -> None:
    with open_store((tmp_path / "a" / "b").as_uri()) as store:
        assert list(store.list()) == []
        assert store.head("key") is None
        store.delete(["key"])
    assert list(tmp_path.iterdir()) == []


def test_a_store_pickles_with_its_options() -> None:
    options = StoreOptions(endpoint_url="http://127.0.0.1:1", anonymous=True, deadline=7.0)
    with open_store("s3://bucket/a/b", options) as store, pickle.loads(pickle.dumps(store)) as again:
        assert again.url == store.url
        assert again.options == options


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(UsageError, match="absolute"):
        LocalStore("data")


def test_boto3_is_imported_late() -> None:
    """botocore, its lower half, costs 300 ms, which a command that never meets S3 does not pay."""
    script = (
        "import sys, penstock.store\n"
        "penstock.store.open_store('file:///nowhere')\n"
        "assert not {'boto3', 'botocore', 'urllib3'} & sys.modules.keys()\n"
        "penstock.store.open_store('s3://bucket')\n"
        "assert 'botocore' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
