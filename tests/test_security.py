"""SECURITY.md: every promise names tests, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
DOCUMENT = (PROJECT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_promise_names_a_test() -> None:
    promises = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and not line.startswith("| promised ")]
    assert len(promises) > 20
    assert [line for line in promises if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(DOCUMENT)
        if not (PROJECT / path).exists() or f"\ndef {name}(" not in (PROJECT / path).read_text(encoding="utf-8")
    ]
    assert missing == []
