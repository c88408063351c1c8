"""docs/SEMANTICS.md: every section has a test, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
DOCUMENT = (PROJECT / "docs" / "SEMANTICS.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_section_names_a_test() -> None:
    sections = DOCUMENT.split("\n## ")[1:]
    assert len(sections) > 10
    for section in sections:
        assert NAMED.search(section), section.splitlines()[0]


def test_every_test_that_is_named_is_there() -> None:
    for path, name in NAMED.findall(DOCUMENT):
        assert f"\ndef {name}(" in (PROJECT / path).read_text(encoding="utf-8"), (path, name)
