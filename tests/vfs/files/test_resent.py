"""Which requests are taken for ones that were carried out before."""

from __future__ import annotations

import pytest

from penstock.vfs.files.resent_requests import Resent, note

MKDIR = note("mkdir", 7, 1, b"a")
RENAME = note("rename", 7, 1, b"a", 1, b"b")


def test_only_the_last_of_a_thread_and_only_once() -> None:
    resent = Resent([MKDIR, b"", RENAME])
    assert resent.take(RENAME)
    assert not resent.take(RENAME)
    assert not Resent([MKDIR, RENAME]).take(MKDIR)


def test_a_thread_that_asks_for_something_else_has_had_its_answer() -> None:
    resent = Resent([MKDIR, RENAME])
    assert not resent.take(note("unlink", 7, 1, b"c"))
    assert not resent.take(RENAME)


def test_threads_are_told_apart() -> None:
    resent = Resent([MKDIR, note("mkdir", 8, 1, b"a")])
    assert not resent.take(note("mkdir", 9, 1, b"a"))
    assert resent.take(MKDIR)
    assert resent.take(note("mkdir", 8, 1, b"a"))


def test_of_threads_that_cannot_be_told_apart_every_request_counts() -> None:
    one, other = note("mkdir", 0, 1, b"a"), note("mkdir", 0, 1, b"b")
    resent = Resent([one, other])
    assert not resent.take(note("rmdir", 0, 1, b"c"))
    assert resent.take(one)
    assert resent.take(other)


def test_after_a_while_nothing_is_taken_for_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    resent = Resent([MKDIR, note("mkdir", 8, 1, b"a")])
    now[0] += 9
    assert resent.take(MKDIR)
    now[0] += 1.5
    assert not resent.take(note("mkdir", 8, 1, b"a"))
    resent = Resent([MKDIR])
    now[0] += 11
    assert not resent.take(MKDIR)
