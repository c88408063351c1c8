"""Every target is given some inputs, the same ones each time; `scripts/fuzz` does it for long, with new ones.

Three variables steer this, which `scripts/fuzz` sets: FUZZ_SECONDS for each target, FUZZ_SEED, and FUZZ_FINDINGS, a
folder in which an input that broke a rule, or was under way when the process ended, stays. FUZZ_REPLAY names such a
file: it alone is tried then.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import disks, formats, wires
from .campaign import Target, replay, run

TARGETS = {target.name: target for target in (*formats.TARGETS, *disks.TARGETS, *wires.TARGETS)}
SECONDS = float(os.environ["FUZZ_SECONDS"]) if "FUZZ_SECONDS" in os.environ else None
SEED = os.environ.get("FUZZ_SEED", "0")
FINDINGS = os.environ.get("FUZZ_FINDINGS")
REPLAY = os.environ.get("FUZZ_REPLAY")


FOUND = {"addresses", "answers", "ignore", "leases"}
"""Targets in which something was found, by the first of their inputs already, that was mended since."""


def targets() -> list[object]:
    names = [Path(REPLAY).name.partition("-")[0]] if REPLAY else list(TARGETS)
    marks = {name: [pytest.mark.regress] if name in FOUND else [] for name in names} | {"control": [pytest.mark.fuse]}
    return [pytest.param(TARGETS[name], id=name, marks=marks[name]) for name in names]


# urllib3 leaves the socket of an answer that makes no sense to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout((SECONDS or 0) + 120)
@pytest.mark.parametrize("target", targets())
def test_whatever_comes_from_outside_is_taken_or_refused(target: Target, tmp_path: Path) -> None:
    if REPLAY:
        replay(target, tmp_path, Path(REPLAY).read_bytes())
        return
    kept = Path(FINDINGS) / f"{target.name}-{SEED}" if FINDINGS else None
    tried = run(target, tmp_path, SEED, SECONDS, kept)
    # A target that takes all does not look at what it is given.
    assert tried.refused > 0 or target.name in NEVER_REFUSE, tried


NEVER_REFUSE = {"segments", "index", "mounts"}
"""What is damaged there is not held, or swept away, without an error."""
