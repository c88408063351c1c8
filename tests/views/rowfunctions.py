"""Functions of rows that tests have called in other processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path


def copy(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Copy the one file of a row."""
    (source,) = (path for path in input_dir.rglob("*") if path.is_file())
    (output_dir / "copy.txt").write_bytes(source.read_bytes())
    return {"copy.txt": output_dir / "copy.txt"}


def noted(input_dir: Path, output_dir: Path, *, id: int, log: str) -> dict[str, Path]:  # noqa: A002  # a column
    """Copy, and append a line to a log; hang, or die, where the row says so."""
    with open(log, "a") as stream:
        stream.write(f"{id} {os.getpid()}\n")
    if id == 2 and os.path.exists(f"{log}.hang"):
        time.sleep(3600)
    if id == 2 and os.path.exists(f"{log}.once"):
        os.unlink(f"{log}.once")
        os.kill(os.getpid(), signal.SIGKILL)
    if id == 2 and os.path.exists(f"{log}.die"):
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(input_dir, output_dir)


def run(into: str, log: str, count: int) -> bool:
    """Run a batch over files in the working directory; whether all rows are done."""
    from penstock import FileDataset

    frame = import_module("pandas").DataFrame(
        {"f.txt": [Path(f"in/{n}.txt") for n in range(count)], "id": range(count), "log": log}
    )
    found = FileDataset().map_batch(frame, noted, {"into_path": into})
    return not found["error"].notna().any()


if __name__ == "__main__":  # python -m views.rowfunctions INTO LOG COUNT
    sys.exit(not run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
