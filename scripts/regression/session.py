"""One session of pytest, written down as JSON: which tests are marked, or how each of them ended.

    session.py collect FILE ARGUMENT...    {"test": node id, "reason": what its mark says, or null}
    session.py run FILE ARGUMENT...        {"test": node id or file, "outcome": ..., "detail": one line}

A line is written when its test ends, so that a session that is killed leaves what it had found.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TextIO

import pytest

# What a test ends with when the older tree lacks a name, and not because of how the older tree behaves.
_LACKING = re.compile(
    r"(?:ImportError|ModuleNotFoundError)\b"
    r"|AttributeError: (?:module|type object|'(?!NoneType)\w+' object) .*has no attribute"
    r"|TypeError: .*unexpected keyword argument"
)


class Marked:
    """Writes down what was collected."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            mark = item.get_closest_marker("regress")
            reason = mark.kwargs.get("reason") if mark else None
            print(json.dumps({"test": item.nodeid, "reason": reason}), file=self._lines, flush=True)


class Ended:
    """Writes down how each test ended. Under pytest-xdist all reports come to the process that holds this."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "lacking", str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed and report.when != "call":
            return
        text = self._message(report)
        if report.failed and (report.when == "setup" or _LACKING.match(text)):
            self._write(report.nodeid, "lacking", text)
        else:
            self._write(report.nodeid, report.outcome, text)

    @staticmethod
    def _message(report: pytest.TestReport) -> str:
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            return str(crash.message)
        return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr or "")

    def _write(self, test: str, outcome: str, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = (
            next((line for line in reversed(lines) if "Error" in line or "not found" in line), None)
            if outcome == "lacking"
            else None
        )
        detail = (telling or (lines[0] if lines else "")).removeprefix("E ").strip()
        print(json.dumps({"test": test, "outcome": outcome, "detail": detail}), file=self._lines, flush=True)


def main() -> int:
    what, file, *arguments = sys.argv[1:]
    with open(file, "w", encoding="utf-8") as lines:
        return pytest.main(arguments, plugins=[Marked(lines) if what == "collect" else Ended(lines)])


if __name__ == "__main__":
    sys.exit(main())
