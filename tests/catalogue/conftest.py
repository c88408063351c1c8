"""A bucket in a directory, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.catalogue import Site, running

import penstock


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a bucket in a directory."""
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    return "demo"


@pytest.fixture
def site(tmp_path: Path, demo: str) -> Iterator[Site]:
    """Run a server of that bucket which trusts this machine."""
    with running(tmp_path / "state", demo) as found:
        yield found
