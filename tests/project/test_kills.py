"""An addition or a checkout that is killed at each of its steps: the directory is whole, and the next run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from views.directories import tree_of, write_tree

FILES = {f"{number % 3}/{number}": f"file {number} ".encode() * 50 for number in range(40)}
PROGRAM = """
import os, sys
left = int(sys.argv[3])
def counted(real):
    def call(*given, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*given, **named)
    return call
from penstock.project.project import find_project
from penstock.project.pointer import read_pointer
from penstock.project.tracking import add_path, check_out_path
from penstock.repo.settings.settings import Settings
import sqlite3
for name in ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir", "symlink"):
    setattr(os, name, counted(getattr(os, name)))
project = find_project(sys.argv[1])
if sys.argv[2] == "add":
    add_path(project, "raw", Settings.load(), link=sys.argv[4] == "link" or None)
else:
    check_out_path(project, "raw", read_pointer(os.path.join(project.root, "raw.penstock")), Settings.load())
"""


def run(project, what: str, steps: int, how: str = "copy") -> int:
    command = [sys.executable, "-c", PROGRAM, project.root, what, str(steps), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode in (0, 9), done.stderr
    return done.returncode


@pytest.mark.parametrize("how", ["copy", "link"])
def test_an_addition_that_is_killed_at_any_step_leaves_the_directory_whole(project, how):
    raw = Path(project.root, "raw")
    write_tree(raw, FILES)
    before = tree_of(raw)
    for steps in (0, 3, 13, 34):
        run(project, "add", steps, how)
        assert tree_of(raw) == before
    assert run(project, "add", 1_000_000, how) == 0
    (raw / "0/0").unlink()
    (raw / "0/0").write_bytes(b"changed")
    before = tree_of(raw)
    for steps in (2, 6):
        run(project, "add", steps, how)
        assert tree_of(raw) == before
    assert run(project, "add", 1_000_000, how) == 0
    assert os.path.exists(Path(project.root, "raw.penstock"))


def test_a_checkout_that_is_killed_at_any_step_shows_no_file_that_is_not_whole(project):
    raw = Path(project.root, "raw")
    write_tree(raw, FILES)
    assert run(project, "add", 1_000_000) == 0
    for path in list(raw.rglob("*/*")):
        path.unlink()
    for steps in (1, 7, 31):
        run(project, "checkout", steps)
        there = {name: body for name, body in tree_of(raw).items() if not name.startswith(".penstock-download")}
        assert all(FILES[name] == body for name, body in there.items() if body != "/")
    assert run(project, "checkout", 1_000_000) == 0
    assert {name: body for name, body in tree_of(raw).items() if body != "/"} == FILES
