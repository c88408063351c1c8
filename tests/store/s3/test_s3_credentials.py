"""A client whose credentials were replaced looks for the new ones when it is refused, and not more often than that."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import boto3
import pytest
from servers.rgw import RadosGateway

from penstock.errors import AccessError, UsageError
from penstock.store.credentials import Credentials
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

pytestmark = pytest.mark.s3


def write_credentials(key: str, secret: str) -> None:
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    )


@pytest.fixture
def url(gateway: RadosGateway, bucket: str) -> str:
    assert gateway.request("PUT", f"/{bucket}/key", b"body").status == 200
    return f"s3://{bucket}"


def test_they_are_found_when_those_at_hand_are_refused(gateway: RadosGateway, url: str) -> None:
    write_credentials(gateway.access_key, "no longer the secret")
    with open_store(url, StoreOptions(endpoint_url=gateway.endpoint, addressing_style="path")) as store:
        store.prepare()
        write_credentials(gateway.access_key, gateway.secret_key)
        assert store.get("key") == b"body"


def test_they_are_found_where_there_were_none(gateway: RadosGateway, url: str) -> None:
    with open_store(url, StoreOptions(endpoint_url=gateway.endpoint, addressing_style="path")) as store:
        store.prepare()
        write_credentials(gateway.access_key, gateway.secret_key)
        assert store.get("key") == b"body"


def test_those_that_are_refused_too_are_tried_once(gateway: RadosGateway, url: str) -> None:
    write_credentials(gateway.access_key, "wrong")
    with open_store(url, StoreOptions(endpoint_url=gateway.endpoint, addressing_style="path")) as store:
        store.prepare()
        write_credentials(gateway.other_access_key, gateway.other_secret_key)
        with pytest.raises(AccessError, match="cannot read") as told:
            store.get("key")
        assert "may not" in told.value.why


def test_the_same_are_not_tried_again(gateway: RadosGateway, url: str) -> None:
    write_credentials(gateway.access_key, "wrong")
    with open_store(url, StoreOptions(endpoint_url=gateway.endpoint, addressing_style="path")) as store:
        for _ in range(3):
            with pytest.raises(AccessError, match="cannot read"):
                store.get("key")


def test_those_that_are_handed_over_are_used_in_place_of_all_others(gateway: RadosGateway, url: str) -> None:
    write_credentials(gateway.access_key, "wrong")
    given = Credentials(gateway.access_key, gateway.secret_key)
    session = boto3.Session(gateway.access_key, gateway.secret_key)
    for found in (StoreOptions(credentials=given), StoreOptions(session=session)):
        options = StoreOptions(
            gateway.endpoint, addressing_style="path", credentials=found.credentials, session=found.session
        )
        for each in (options, pickle.loads(pickle.dumps(options))):
            with open_store(url, each) as store:
                assert store.get("key") == b"body"
    assert options.portable().credentials == given
    assert gateway.secret_key not in repr(options.portable())


def test_credentials_cannot_be_given_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        StoreOptions(credentials=Credentials("key", "secret"), anonymous=True)
