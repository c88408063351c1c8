"""scripts/regress tells the tests that fail on an older version from those that prove nothing.

It is run for real, on a repository of its own that is as small as can be.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
[tool.pytest.ini_options]
addopts = "--strict-markers"
pythonpath = ["."]
markers = ["regress: proves a mended fault"]
"""
TESTS = """
import os, signal, subprocess, sys, time
import pytest
from penstock.errors import answer

@pytest.mark.regress
def test_of_the_fault():
    assert answer() == 42

@pytest.mark.regress
def test_in_a_process_with_no_environment():
    code = "from penstock.errors import answer; print(answer())"
    assert subprocess.run([sys.executable, "-I", "-c", code], env={}, capture_output=True).stdout == b"42\\n"

@pytest.mark.regress
@pytest.mark.timeout(1)
def test_that_hangs():
    while answer() != 42:
        time.sleep(1)

@pytest.mark.regress
def test_that_kills():
    answer() == 42 or os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.regress
def test_that_proves_nothing():
    assert answer()

@pytest.mark.regress
def test_of_a_new_name():
    from penstock.errors import question

@pytest.mark.regress(reason="nothing asked before")
def test_of_a_new_name_that_says_so():
    from penstock.errors import question

@pytest.mark.regress
def test_that_is_skipped():
    answer() == 42 or pytest.skip("not there")

def test_without_a_mark():
    assert answer() == 42
"""


class Repository:
    """A repository with two versions: in the older one `answer` is wrong, and `question` is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("penstock/cli", "tests", "scripts"):
            (folder / name).mkdir(parents=True)
        shutil.copytree(ROOT / "scripts" / "regression", folder / "scripts" / "regression")
        (folder / "pyproject.toml").write_text(SETTINGS)
        (folder / "penstock" / "__init__.py").touch()
        self.git("init", "-q")
        self.write("penstock/errors.py", "def answer():\n    return 41\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "older")
        self.write("penstock/errors.py", "def answer():\n    return 42\n\ndef question():\n    return 6 * 7\n")
        self.git("commit", "-qam", "newer")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "scripts" / "regression" / "run.py"), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=240, check=False)

    def worktrees(self) -> int:
        return len(self.git("worktree", "list").splitlines())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def groups(output: str) -> dict[str, set[str]]:
    """Return the tests below each headline, by its first words in capitals or not."""
    found: dict[str, set[str]] = {}
    for line in output.splitlines():
        if " of 8 " in line:
            tests = found.setdefault(line.split(" of 8 ")[1].split(",")[0].rstrip(":"), set())
        elif line.startswith("    tests/"):
            tests.add(line.partition("::")[2])
    return found


def test_each_test_is_told_by_how_it_ended_on_the_older_version(repository):
    repository.write("tests/test_answer.py", TESTS)  # not committed: the tests are those that lie there
    done = repository.run("HEAD~1")
    assert done.returncode == 1, done.stderr
    assert groups(done.stdout) == {
        "fail there": {
            "test_of_the_fault",
            "test_that_hangs",
            "test_that_kills",
            "test_in_a_process_with_no_environment",
        },
        "could not be run there": {"test_of_a_new_name_that_says_so"},
        "COULD NOT BE RUN THERE": {"test_of_a_new_name"},
        "WERE SKIPPED THERE": {"test_that_is_skipped"},
        "PASS THERE": {"test_that_proves_nothing"},
    }
    assert repository.worktrees() == 1


def test_all_is_well_when_each_of_them_fails_there(repository):
    repository.write("tests/test_answer.py", TESTS)
    done = repository.run("HEAD~1", "-k", "of_the_fault or says_so")
    assert done.returncode == 0, done.stderr


def test_a_file_that_cannot_be_imported_there_shows_nothing_about_its_tests(repository):
    repository.write("tests/test_answer.py", TESTS.replace("import answer", "import answer, question"))
    done = repository.run("HEAD~1")
    assert done.returncode == 1
    assert set(groups(done.stdout)) == {"could not be run there", "COULD NOT BE RUN THERE"}


def test_what_is_no_commit_is_refused(repository):
    done = repository.run("nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing is no commit" in done.stderr


def test_to_find_no_marked_test_is_a_failure(repository):
    repository.write("tests/test_answer.py", "def test_without_a_mark():\n    pass\n")
    assert repository.run("HEAD~1").returncode == 2


def test_a_run_that_is_interrupted_leaves_no_worktree(repository, tmp_path):
    started = tmp_path / "started"
    os.mkfifo(started)
    # Its own limit goes: what ends it is the signal.
    tells = f"    open({str(started)!r}, 'w').write('x')\n    while answer() != 42:"
    repository.write(
        "tests/test_answer.py", TESTS.replace("    while answer() != 42:", tells).replace("timeout(1)", "timeout(60)")
    )
    reading = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(repository.command("HEAD~1", "-k", "that_hangs")) as process:
        assert select.select([reading], [], [], 60)[0], "the test never began"
        assert repository.worktrees() == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    os.close(reading)
    assert repository.worktrees() == 1
