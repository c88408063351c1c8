"""A million entries: built in memory that does not grow, found again with a handful of nodes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from trees import million


@pytest.mark.slow
def test_a_million_entries() -> None:
    command = [sys.executable, str(million.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
