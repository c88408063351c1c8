"""What a program is told, and what the log is."""

from __future__ import annotations

import errno
import logging

import pytest

from penstock.errors import (
    AccessError,
    ConflictError,
    FormatTooNewError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.vfs.files.errnos import Refusal, errno_of


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (AccessError("x"), errno.EACCES),
        (StoreUnreachableError("x"), errno.EIO),
        (IntegrityError("x"), errno.EIO),
        (FormatTooNewError("x"), errno.EIO),
        (NotFoundError("x"), errno.EIO),
        (ConflictError("x"), errno.EIO),
        (UsageError("x"), errno.EIO),
        (PenstockError("x"), errno.EIO),
        (MemoryError(), errno.ENOMEM),
        (OSError(errno.ENOENT, "of a file of our own"), errno.EIO),
        (OSError(errno.ENOSPC, "of the overlay"), errno.ENOSPC),
        (OSError(errno.EDQUOT, "of the overlay"), errno.EDQUOT),
        (OSError(errno.EROFS, "of the overlay"), errno.EROFS),
        (OSError(errno.EMFILE, "of the process"), errno.ENFILE),
        (OSError(errno.EACCES, "of the overlay"), errno.EIO),
        (ValueError("x"), errno.EIO),
    ],
)
def test_every_failure_has_an_errno_and_a_line_in_the_log(
    error: Exception, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert errno_of(error, "read(7,)") == number
    assert len(caplog.records) == 1
    assert "read(7,)" in caplog.text


def test_the_log_says_what_why_and_what_next(caplog: pytest.LogCaptureFixture) -> None:
    errno_of(StoreUnreachableError("no answer", why="timed out", fix="Look at the network"), "read(7,)")
    assert caplog.messages == ["read(7,) failed: no answer: timed out. Look at the network"]


def test_a_fault_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("a bug")
    except ValueError as error:
        errno_of(error, "lookup(1,)")
    assert "Traceback" in caplog.text
    assert "a bug" in caplog.text


def test_answers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert errno_of(Refusal(errno.ENODATA), "getxattr(1,)") == errno.ENODATA
    assert str(Refusal(errno.ENODATA)) == "No data available"
    assert not caplog.records
