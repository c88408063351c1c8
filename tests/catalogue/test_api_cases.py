"""The interface for programs, asked at random, and wrongly: it answers, and never with an error of its own."""

from __future__ import annotations

import pytest
from servers.api_cases import ask_cases
from servers.catalogue import Site


@pytest.mark.timeout(600)
def test_whatever_is_asked_is_answered_and_nothing_breaks_the_server(site: Site) -> None:
    made = site.ask("POST", "/api/datasets", body={"title": "Asked about"}).json()
    report = ask_cases(site.url, 200, {"dataset": made["dataset_hash"], "bucket": "demo"})
    assert report.faults == []
    assert report.cases >= 150
    assert {200, 404}.issubset(report.statuses)
    assert site.ask("GET", "/health").status == 200
