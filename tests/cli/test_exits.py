"""Each exception has its exit code and kind, and what is told is told in text and in JSON alike."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator

import click
import pytest

from penstock import errors
from penstock.cli.exits import ExitCode, describe, save_traceback
from penstock.cli.output import Output


def all_errors(cls: type[errors.PenstockError] = errors.PenstockError) -> Iterator[type[errors.PenstockError]]:
    for sub in cls.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield sub
            yield from all_errors(sub)


CODES = {
    "UsageError": (2, "usage"),
    "NotFoundError": (3, "not_found"),
    "AmbiguousError": (3, "ambiguous"),
    "ConflictError": (4, "conflict"),
    "MergeConflictError": (4, "merge_conflict"),
    "IntegrityError": (5, "integrity"),
    "FormatTooNewError": (5, "format_too_new"),
    "AccessError": (6, "access"),
    "ProtectedError": (6, "protected"),
    "StoreUnreachableError": (7, "unreachable"),
    "UnreadableError": (1, "unreadable"),
    "CancelledError": (130, "cancelled"),
}


def test_every_error_has_a_code_of_its_own() -> None:
    seen = {}
    for cls in all_errors():
        error = (
            cls("what", candidates=["a"])
            if issubclass(cls, errors.AmbiguousError | errors.UnreadableError)
            else cls("what")
        )
        failure = describe(error)
        seen[cls.__name__] = (int(failure.code), failure.form.kind)
    assert seen == CODES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PenstockError("x"), ExitCode.DIFFERS),
        (click.UsageError("x"), ExitCode.USAGE),
        (click.FileError("x"), ExitCode.USAGE),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (click.Abort(), ExitCode.INTERRUPTED),
        (KeyError("x"), ExitCode.INTERNAL),
        (PermissionError(13, "x"), ExitCode.INTERNAL),
        (BrokenPipeError(32, "a socket's, for all that is known"), ExitCode.INTERNAL),
    ],
)
def test_other_exceptions(error: BaseException, code: ExitCode) -> None:
    assert describe(error).code is code


def told(error: BaseException, *, as_json: bool) -> str:
    stderr = io.StringIO()
    Output(as_json, io.StringIO(), stderr).failure(describe(error).form)
    return stderr.getvalue()


def test_text_says_what_why_and_what_to_do() -> None:
    error = errors.AmbiguousError("two fit", why="both start\nwith ab", fix="say more", candidates=["abc", "a\nd"])
    assert told(error, as_json=False) == (
        "penstock: two fit\n  why: both start with ab\n  fix: say more\n    abc\n    $'a\\nd'\n"
    )
    assert told(errors.UsageError("only\x1b[2J"), as_json=False) == "penstock: only\\e[2J\n"


def test_json_says_the_same() -> None:
    error = errors.AmbiguousError("two fit", why="both\x1b", fix="say more", candidates=["abc", "\udcff\x7f"])
    text = told(error, as_json=True)
    assert text.isascii()
    assert text.count("\n") == 1
    assert "\x7f" not in text
    assert json.loads(text) == {
        "error": {
            "kind": "ambiguous",
            "what": "two fit",
            "why": "both\x1b",
            "fix": "say more",
            "candidates": ["abc", "\udcff\x7f"],
        }
    }


def test_a_traceback_is_kept_for_the_user_alone(home: object) -> None:
    try:
        raise KeyError("lost\udcff")
    except KeyError as error:
        path = save_traceback(error)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert "KeyError" in path.read_text()
    assert "test_a_traceback_is_kept" in path.read_text()


def test_a_traceback_follows_no_link(home: object) -> None:
    path = save_traceback(KeyError("x"))
    assert path is not None
    path.unlink()
    os.symlink("/nowhere", path)
    assert save_traceback(KeyError("x")) is None
