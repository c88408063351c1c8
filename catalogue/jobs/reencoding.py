"""Videos re-encoded, one after the other: each becomes a row and a version of its own, beside its source.

What was made is read again and counted before it is published: as many frames as were decoded of the source.
"""

from __future__ import annotations

import os
import posixpath

import msgspec

from penstock.catalogue.datasets.bucket_catalogue import named_hash
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.datasets.given_files import GivenFile, fetcher
from penstock.catalogue.orm.dataset import DataRow, DataType
from penstock.catalogue.rows.probe_messages import Unknown
from penstock.errors import CancelledError, NotFoundError, PenstockError

from .encode_messages import Encoded
from .job_progress import JobProgress
from .job_requests import Reencoded, ReencodeRequest, ReencodeResult
from .job_workers import JobFailedError
from .running_job import RunningJob
from .video_encoder import encode_video

__all__ = ["reencode"]


def reencode(running: RunningJob, rows: DatasetRows, request: ReencodeRequest) -> bytes:
    """Re-encode the videos of a job. JobFailedError: of none of them anything was made."""
    before = msgspec.json.decode(running.job.result or b"{}", type=ReencodeResult)
    done, errors = dict(before.done), dict(before.errors)
    for number, uid in enumerate(request.videos):
        if uid in done or uid in errors:
            continue
        running.check()
        progress = JobProgress(running, number / len(request.videos), (number + 1) / len(request.videos))
        try:
            done[uid] = _one(running, rows, uid, progress)
        except CancelledError:
            raise
        except PenstockError as error:
            errors[uid] = f"{error.what}: {error.why}" if error.why else error.what
        running.note(msgspec.json.encode(ReencodeResult(done, errors)))
    result = msgspec.json.encode(ReencodeResult(done, errors))
    if not done:
        why = next(iter(errors.values()), "no video of the data set was named")
        raise JobFailedError(f"nothing was re-encoded: {why}", result)
    return result


def _one(running: RunningJob, rows: DatasetRows, uid: str, progress: JobProgress) -> Reencoded:
    job = running.job
    named = named_hash("re-encoded", str(job.id), repr(job.created), uid)
    known = rows.find_many([named])
    if named in known:  # whoever made it died before it was noted
        return Reencoded(named, known[named].path)
    row = rows.find(uid)
    if row.data_type is not DataType.VIDEO:
        raise NotFoundError(f"{row.title!r} is no video", why=f"it is of the kind {row.data_type.value}")
    path = os.path.join(running.folder, f"{named}.mp4")
    try:
        made = _encoded(rows, row, path, progress)
        name = f"{posixpath.splitext(posixpath.basename(row.path))[0]}.h264.mp4"
        given = GivenFile(path, row.title, dict(row.client_metadata), name)
        new = rows.add_file(
            given,
            DataType.VIDEO,
            folder=posixpath.dirname(row.path),
            uid=named,
            derived_from=uid,
            frames=made.frames,
        )
    finally:
        if os.path.lexists(path):
            os.unlink(path)
    return Reencoded(new.uid, new.path)


def _encoded(rows: DatasetRows, row: DataRow, path: str, progress: JobProgress) -> Encoded:
    stage = progress.stage("encoding", total=row.frames or None, unit="items")
    told = 0

    def tell(count: int) -> None:
        nonlocal told
        stage.advance(max(0, count - told))
        told = max(told, count)

    with rows.package() as package:
        entry = package.entry(row.path)
        made = encode_video(entry.size, fetcher(entry, exact=True), path, tell)
    if isinstance(made, Unknown):
        raise PenstockError(f"{row.title!r} cannot be re-encoded", why=made.why)
    return made
