"""docs/API.md says what the docstrings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import penstock

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_reference_page_is_current() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "api-page"), "--check"], check=True)


def test_the_reference_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "API.md").read_text()
    missing = [name for name in penstock.__all__ if not name.startswith("_") and f"### `penstock.{name}" not in page]
    assert not missing
