"""The notebook in examples/ does what it shows: every cell runs, and shows what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_runs_and_shows_pictures() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PENSTOCK_AUTHOR": "Ada <ada@example.org>"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "notebook"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((ROOT / "examples" / "pictures.ipynb").read_text())["cells"]
    shown = [kind for cell in cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert shown.count("image/png") == 4
    assert shown.count("text/html") >= 4
