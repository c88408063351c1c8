"""Times in answers are read as botocore reads them, only faster; and a client reads them so."""

from __future__ import annotations

import datetime as dt

import pytest
from botocore.utils import parse_timestamp

from penstock.store.options import StoreOptions
from penstock.store.s3.s3_client import ClientSource
from penstock.store.s3.s3_times import parse_time


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+01:00",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "Fri, 2 Jan 2026 03:04:05 GMT",
        "2026-01-02 03:04:05 UTC",
        "1767323045",
    ],
)
def test_every_form_is_the_time_that_botocore_reads(text: str) -> None:
    assert parse_time(text) == parse_timestamp(text)
    assert parse_time(text).tzinfo is not None


def test_what_is_no_time_is_refused_and_a_number_is_one() -> None:
    for text in ("", "never", "Fri, 99 Foo 2026 99:99:99 GMT", "2026-13-45T00:00:00Z"):
        with pytest.raises(ValueError, match=r".*"):
            parse_time(text)
    assert parse_time(0) == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_a_client_reads_times_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    source = ClientSource(StoreOptions(anonymous=True, endpoint_url="http://127.0.0.1:9"))
    try:
        factory = source.get()._endpoint._response_parser_factory
        assert factory.create_parser("rest-xml")._timestamp_parser is parse_time
    finally:
        source.close()
