"""Runs recorded in the buckets of the datasets that they were on: `penstock.record_run`."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from typing import Any

from penstock.api.datasets.dataset_runs import TrainingRun, training_run
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.manifest.records import format_time
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.refs.write_access import write_access
from penstock.repo.runs.run_list import add_run
from penstock.repo.runs.run_record import OpenedData, RunRecord, read_stamp
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.address import bucket_at
from penstock.repo.write.authorship import default_author

from .stamp import process_stamp

__all__ = ["record_run"]


def record_run(
    name: str = "",
    *,
    stamp: Mapping[str, Any] | str | bytes | None = None,
    parameters: Mapping[str, Any] | None = None,
    model: str = "",
    url: str = "",
    author: str | None = None,
    settings: Settings | None = None,
) -> list[TrainingRun]:
    """Record that something was trained on what a stamp names, by default on what this process has opened.

    A small object in the bucket of each dataset, which `Dataset.runs` and ``penstock runs`` list; `gc` keeps the
    versions for as long as it is there. `model` and `url` say what came of it and where more is told, `parameters` are
    values that JSON has. Several datasets of one run have one `run` id.

    UsageError: the stamp is none, or names nothing; the record is larger than 64 KiB. NotFoundError: a version is gone.
    AccessError: the bucket may not be written.

    >>> import penstock
    >>> package = penstock.open("demo/photos:v1")
    >>> photos = [each for each in penstock.stamp()["opened"] if each["handle"] == package.name]
    >>> stamp = {**penstock.stamp(), "opened": photos[-1:]}
    >>> [run.name for run in penstock.record_run("cats", stamp=stamp, parameters={"lr": 0.1})]
    ['cats']
    >>> [(run.name, run.parameters) for run in penstock.Dataset("demo/photos").runs("v1")]
    [('cats', {'lr': 0.1})]
    """
    meant = process_stamp() if stamp is None else read_stamp(stamp)
    if not meant.opened:
        raise UsageError(
            "there is nothing to record", why="the stamp names no version", fix="Open what is trained on first."
        )
    settings = settings or Settings.load()
    run, when = secrets.token_hex(16), format_time(dt.datetime.now(dt.UTC))
    by_dataset: dict[tuple[str, str], list[OpenedData]] = {}
    for each in meant.opened:
        by_dataset.setdefault((bucket_at(settings, each.handle, each.bucket), each.dataset), []).append(each)
    made = []
    for (bucket, dataset), opened in by_dataset.items():
        record = RunRecord(
            1, run, when, author or default_author(), name, model, url, dict(parameters or {}), tuple(opened)
        )
        record.encode()  # what is wrong with it is told before anything is written
        with open_session(bucket, settings, cached=False) as session:
            repository = session.repository(dataset)
            with write_access(repository, LeaseKind.HISTORY, settings, bucket) as access:
                add_run(repository, access, record)
        made.append(training_run(record))
    return made
