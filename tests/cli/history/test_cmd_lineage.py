"""``penstock lineage``: what a version was made from, in text and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_a_sample_leads_back_to_its_dataset(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a").write_bytes(b"a")
    store = f"file://{tmp_path}/store"
    assert run("push", str(tmp_path / "photos"), f"{store}/photos", "-m", "first").exit_code == 0
    assert run("sample", f"{store}/photos", "--n", "1", "--to", f"{store}/few").exit_code == 0
    result = run("lineage", f"{store}/few", "a")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"{store}/few  a"
    assert "  sample of" in lines
    assert f"{store}/photos  a" in lines
    assert lines[-1].endswith(": first")
    steps = [json.loads(line) for line in run("lineage", f"{store}/few", "--json").stdout.splitlines()]
    assert [step["dataset"] for step in steps] == ["few", "photos"]
    assert run("lineage", f"{store}/none").exit_code == 3
