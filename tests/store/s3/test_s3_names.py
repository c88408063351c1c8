"""An endpoint whose name leads nowhere: DNS is gone, or the name is wrong."""

from __future__ import annotations

import time

import pytest

from penstock.errors import StoreUnreachableError
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions


def test_a_name_that_cannot_be_resolved_is_said_within_the_deadline() -> None:
    options = StoreOptions(endpoint_url="http://store.invalid:9000", anonymous=True, region="x", deadline=4.0)
    began = time.monotonic()
    with open_store("s3://bucket", options) as store, pytest.raises(StoreUnreachableError) as caught:
        store.get("key")
    assert time.monotonic() - began < 12  # a resolver that is silent takes ten seconds, whatever our deadline
    assert "store.invalid" in str(caught.value)
