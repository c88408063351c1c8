"""Jobs: what is to be done, who is at it, and what came of it. docs/design/024-jobs.md says why it is a table of ours.

A job is SUBMITTED until it is DONE or says ERROR. Who works on it holds a lease, which he renews; when that has ended,
the next worker goes on with what was noted. A job that nobody could end in a few attempts says ERROR.

**Invariant:** only who holds a job's lease changes it, so that one who was taken for dead changes nothing any more.
Work that was done and not noted is done again: it has to come to the same. Any thread, any process.
"""

from __future__ import annotations

import enum
import sqlite3
import time
from collections.abc import Callable

import msgspec

from penstock.errors import AccessError, ConflictError, NotFoundError

from .database import Database

__all__ = ["LEASE_SECONDS", "JobStatus", "JobTable", "NotedJob"]

LEASE_SECONDS = 30.0
_ATTEMPTS = 5
_MOST_OPEN = 1000
"""Jobs of one owner that are not done."""
_KEPT = 30 * 86400.0
_CANCELLED = "it was cancelled"
_FIELDS = "id, kind, owner, dataset, request, status, progress, result, error, created, updated, attempts, cancelled"


class JobStatus(enum.StrEnum):
    """How a job is doing."""

    SUBMITTED = "SUBMITTED"
    DONE = "DONE"
    ERROR = "ERROR"


class NotedJob(msgspec.Struct, frozen=True):
    """One job. `request` and `result` are JSON that its kind knows; `progress` goes from 0 to 1, times are Unix time.

    `result` is what was noted so far, as long as the job is SUBMITTED.
    """

    id: int
    kind: str
    owner: str
    dataset: str
    request: bytes
    status: JobStatus
    progress: float
    result: bytes | None
    error: str
    created: float
    updated: float
    attempts: int
    is_cancelled: bool


def _job(row: sqlite3.Row) -> NotedJob:
    values = dict(row)
    values["is_cancelled"] = bool(values.pop("cancelled"))
    return NotedJob(**{**values, "status": JobStatus(values["status"])})


class JobTable:
    """The jobs of a server, or of a user who has none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, kind: str, owner: str, dataset: str, request: bytes, *, once: str = "") -> int:
        """Note a job, and return its number; of a second one that is the same by `once`, that of the first.

        ConflictError: too many of this owner's are not done.
        """
        now = time.time()
        with self._database.transaction() as connection:
            if once:
                known = connection.execute("SELECT id FROM job WHERE owner = ? AND once = ?", (owner, once)).fetchone()
                if known is not None:
                    return int(known[0])
            connection.execute("DELETE FROM job WHERE status != 'SUBMITTED' AND updated < ?", (now - _KEPT,))
            is_open = "SELECT count(*) FROM job WHERE status = 'SUBMITTED' AND owner = ?"
            if connection.execute(is_open, (owner,)).fetchone()[0] >= _MOST_OPEN:
                raise ConflictError(f"{_MOST_OPEN} jobs are not done yet", fix="Wait for them, or cancel some.")
            made = connection.execute(
                "INSERT INTO job (kind, owner, dataset, request, status, progress, error, created, updated, attempts, "
                "cancelled, once) VALUES (?, ?, ?, ?, 'SUBMITTED', 0, '', ?, ?, 0, 0, ?)",
                (kind, owner, dataset, request, now, now, once),
            )
            assert made.lastrowid is not None
            return made.lastrowid

    def find(self, number: int) -> NotedJob:
        """Return a job. NotFoundError: there is none."""
        if not 0 < number < 1 << 63:
            raise _missing(number)
        rows = self._database.read(f"SELECT {_FIELDS} FROM job WHERE id = ?", (number,))  # noqa: S608  # no value
        if not rows:
            raise _missing(number)
        return _job(rows[0])

    def list(self, owner: str | None = None, *, limit: int = 100) -> list[NotedJob]:
        """Return the newest jobs, of one owner or all."""
        rows = self._database.read(
            f"SELECT {_FIELDS} FROM job WHERE ? IS NULL OR owner = ? ORDER BY id DESC LIMIT ?",  # noqa: S608  # no value
            (owner, owner, limit),
        )
        return [_job(row) for row in rows]

    def claim(self, holder: str, knows: Callable[[NotedJob], bool], only: int | None = None) -> NotedJob | None:
        """Take the oldest job that nobody holds and that `knows` is true of, or one by its number; None: none is left.

        Jobs that were cancelled, or that ended too many workers, say ERROR from now on.
        """
        now = time.time()
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_FIELDS} FROM job WHERE status = 'SUBMITTED' AND (holder IS NULL OR lease_until < ?) "  # noqa: S608  # no value
                "AND (? IS NULL OR id = ?) ORDER BY id LIMIT 500",
                (now, only, only),
            ).fetchall()
            for job in map(_job, rows):
                if job.is_cancelled or job.attempts >= _ATTEMPTS:
                    why = (
                        _CANCELLED if job.is_cancelled else f"its worker ended {job.attempts} times before it was done"
                    )
                    connection.execute(
                        "UPDATE job SET status = 'ERROR', error = ?, updated = ?, holder = NULL WHERE id = ?",
                        (why, now, job.id),
                    )
                elif knows(job):
                    connection.execute(
                        "UPDATE job SET holder = ?, lease_until = ?, attempts = attempts + 1 WHERE id = ?",
                        (holder, now + LEASE_SECONDS, job.id),
                    )
                    return msgspec.structs.replace(job, attempts=job.attempts + 1)
        return None

    def keep(self, number: int, holder: str, progress: float) -> bool:
        """Renew the lease of a job; False: it is to be ended, because it was cancelled, or somebody else has it."""
        now = time.time()
        with self._database.transaction() as connection:
            done = connection.execute(
                "UPDATE job SET lease_until = ?, progress = ?, updated = ? "
                "WHERE id = ? AND holder = ? AND status = 'SUBMITTED' AND NOT cancelled",
                (now + LEASE_SECONDS, min(1.0, max(0.0, progress)), now, number, holder),
            )
            return bool(done.rowcount)

    def is_wanted(self, number: int, holder: str) -> bool:
        """Whether a job is still held, and nobody has cancelled it."""
        statement = "SELECT 1 FROM job WHERE id = ? AND holder = ? AND status = 'SUBMITTED' AND NOT cancelled"
        return bool(self._database.read(statement, (number, holder)))

    def note(self, number: int, holder: str, result: bytes) -> None:
        """Note what was done so far, for whoever goes on. AccessError: somebody else has the job."""
        self._change(number, holder, "result = ?", (result,))

    def finish(self, number: int, holder: str, status: JobStatus, result: bytes | None, error: str = "") -> None:
        """Say what came of a job. AccessError: somebody else has it."""
        progress = "progress = 1, " if status is JobStatus.DONE else ""
        values = (status.value, result, error[:2000])
        self._change(number, holder, f"{progress}status = ?, result = ?, error = ?, holder = NULL", values)

    def release(self, number: int, holder: str) -> None:
        """Let somebody else go on at once: whoever held it was told to end, and that counts as no attempt."""
        self._change(number, holder, "holder = NULL, attempts = attempts - 1", ())

    def _change(self, number: int, holder: str, change: str, values: tuple[object, ...]) -> None:
        with self._database.transaction() as connection:
            done = connection.execute(
                f"UPDATE job SET updated = ?, {change} WHERE id = ? AND holder = ? AND status = 'SUBMITTED'",  # noqa: S608  # no value
                (time.time(), *values, number, holder),
            )
            if not done.rowcount:
                raise AccessError(f"job {number} is another worker's now")

    def cancel(self, number: int) -> None:
        """Have a job end; one that nobody is at ends now. Of one that is done nothing changes. NotFoundError."""
        self.find(number)
        now = time.time()
        with self._database.transaction() as connection:
            connection.execute("UPDATE job SET cancelled = 1 WHERE id = ? AND status = 'SUBMITTED'", (number,))
            connection.execute(
                "UPDATE job SET status = 'ERROR', error = ?, updated = ?, holder = NULL "
                "WHERE id = ? AND status = 'SUBMITTED' AND (holder IS NULL OR lease_until < ?)",
                (_CANCELLED, now, number, now),
            )


def _missing(number: int) -> NotFoundError:
    return NotFoundError(f"no task {number}", fix="`penstock job list` shows those that there are.")
