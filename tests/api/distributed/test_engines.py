"""The examples for Ray and Spark, where these are installed: the same version as in one process.

python -m venv engines && engines/bin/pip install ray pyspark -e '.[test]'
engines/bin/pytest tests/api/distributed/test_engines.py
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import penstock
from penstock import distributed

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("example", "module"), [("transform_ray", "ray"), ("transform_spark", "pyspark")])
def test_an_engine_makes_the_version_that_one_process_makes(
    things: Path, example: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: it is too large for the tests")
    path = EXAMPLES / f"{example}.py"
    command = [sys.executable, str(path), "demo/things", "demo/upper"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["outputs"] == 30
    spec = importlib.util.spec_from_file_location(example, path)
    assert spec is not None
    assert spec.loader is not None
    found: types.ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    alone = distributed.transform("demo/things", found.upper, "demo/alone")
    assert alone.top_hash == report["top_hash"] == penstock.open("demo/upper").top_hash
