"""What tasks came to, as programs meet it; and how to wait for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from penstock.catalogue.orm.dataset import (
    PrivateDataReport,
    ReEncodeVideoTask,
    ReEncodeVideoTaskResult,
)
from penstock.errors import PenstockError, StoreUnreachableError, UnreadableError
from penstock.progress import Progress

__all__ = ["private_report", "re_encode_task", "wait_for"]

Shown = Mapping[str, Any]


def wait_for(ask: Callable[[], Shown], progress: Progress, seconds: float | None = None) -> Shown:
    """Ask for a task until it is done, and return it. StoreUnreachableError: it is not, after so many seconds."""
    stage = progress.stage("working", total=1000, unit="items")
    told, pause, end = 0, 0.05, time.monotonic() + seconds if seconds is not None else None
    while True:
        shown = ask()
        now = round(float(shown["progress"]) * 1000)
        stage.advance(max(0, now - told))
        told = max(told, now)
        if shown["status"] != "SUBMITTED":
            return shown
        if end is not None and time.monotonic() > end:
            raise StoreUnreachableError(
                f"task {shown['task']} is not done yet", why=f"it is done by {now / 10:.0f} %", fix="Ask again later."
            )
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)


def re_encode_task(shown: Shown) -> ReEncodeVideoTask:
    """Return how a re-encoding is doing."""
    result = shown["result"] or {}
    if shown["status"] == "SUBMITTED":
        return ReEncodeVideoTask("SUBMITTED", None, float(shown["progress"]))
    videos = [
        ReEncodeVideoTaskResult(each["data_hash"], each["signed_url"], each["bucket_path"])
        for each in result.get("videos", ())
    ]
    errors = dict(result.get("errors", {}))
    if shown["status"] == "ERROR" and not errors and shown["error"]:
        errors = {"": shown["error"]}
    return ReEncodeVideoTask(shown["status"], videos or None, float(shown["progress"]), errors)


def private_report(shown: Shown) -> PrivateDataReport:
    """Return what came of registering data. UnreadableError: nothing was, for what is wrong with items."""
    result = shown["result"] or {}
    errors = dict(result.get("errors", {}))
    if shown["status"] == "ERROR":
        if errors:
            raise UnreadableError(
                shown["error"] or "nothing was registered",
                why="nothing was registered",
                fix="Mend what is named, or have errors ignored.",
                candidates=[f"{place}: {why}" for place, why in sorted(errors.items())],
            )
        raise PenstockError("nothing was registered", why=shown["error"])
    return PrivateDataReport(
        tuple(result.get("added", ())), tuple(result.get("present", ())), errors, result.get("top_hash", "")
    )
