"""Symbolic links, and what takes a file's place, where a command reads or writes files of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.errors import AccessError, UsageError
from penstock.progress import SILENT
from penstock.repo.push.push import hash_directory
from penstock.repo.warm.trace import begin_trace


@pytest.mark.regress
def test_an_ignore_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("*\n")
    source = tmp_path / "source"
    source.mkdir()
    (source / "kept").write_text("kept")
    (source / ".penstockignore").symlink_to("../rules")
    with pytest.raises(UsageError, match="symlink"):
        hash_directory(str(source), SILENT)


@pytest.mark.regress
def test_a_trace_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "run.trace").symlink_to(tmp_path / "new")
    with pytest.raises(AccessError, match="cannot be written"):
        begin_trace(str(tmp_path / "run.trace"))
    assert not (tmp_path / "new").exists()


def test_what_took_a_files_place_is_not_read_for_a_repair(tmp_path: Path) -> None:
    from penstock.repo.verify.repair import _opened  # here: the tests above can be run without it

    (tmp_path / "link").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"regular|symbolic"):
            _opened(os.fsencode(tmp_path / name))
