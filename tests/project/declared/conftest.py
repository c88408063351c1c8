"""Repositories with datasets as code."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

import pytest
from views.declared import Bench


@pytest.fixture
def bench(tmp_path, isolated_home):
    root = tmp_path / "repository"
    root.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    with ExitStack() as stack:
        yield Bench(root, stack)
