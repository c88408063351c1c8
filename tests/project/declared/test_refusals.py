"""What is wrong is refused before anything has changed, and says where; nothing of a clone runs without leave."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from views.datasets_in_git import DatasetRepository, new_repository
from views.declared import picture

HEAD = "from pathlib import Path\nfrom penstock import alter, dataset, File, ingest, png\n"
LABELS = HEAD + "@dataset(remote='demo')\nclass Labels:\n    label: str\n    image: File[png] | None\n"
INGEST = "    @ingest\n    def load():\n        return {'label': ['a', 'b'], 'image': [None, None]}\n"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    place = tmp_path_factory.mktemp("refusals")
    found = new_repository(place / "repository", place / "home")
    found.write(LABELS)
    found.datasets("track", "index.py")
    found.git("commit", "-q", "index.py", "-m", "one")
    return found


@pytest.fixture
def repository(begun):
    begun.git("checkout", "-q", "-f", "main")
    return begun


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LABELS + "    def (\n", "index.py:7: syntax error"),
        (LABELS.replace("str", "complex"), "index.py:5: no field can be complex"),
        (HEAD, "there is no dataset in it"),
        (
            LABELS + "    @ingest\n    def load():\n        return ['a', 'b'], [None]\n",
            "load failed: label has 2 values, and image has 1",
        ),
        (LABELS + "    @ingest\n    def load():\n        return [('a', __file__)]\n", "the file is no png"),
    ],
)
def test_a_commit_is_refused_with_nothing_changed(repository, text, said):
    before, head = repository.shown(), repository.head()
    assert said in repository.commit(text, fails=True)
    assert (repository.shown(), repository.head()) == (before, head)


def test_what_is_staged_is_run_and_not_what_lies_there(repository):
    repository.git("checkout", "-q", "-b", "staged")
    repository.write(LABELS + INGEST)
    repository.git("add", "index.py")
    repository.write("import no_such_thing\n")
    repository.git("commit", "-q", "-m", "staged")
    assert repository.rows("SELECT label FROM Labels ORDER BY label") == [("a",), ("b",)]
    repository.git("checkout", "-q", "-f", "main")
    assert repository.rows("SELECT label FROM Labels") == []


def test_a_commit_of_other_files_starts_no_python(repository, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'started')!r}, 'w').close()\n")
    watched = DatasetRepository(repository.root, {**repository.env, "PYTHONPATH": str(tmp_path)})
    (repository.root / "other.txt").write_text("x")
    watched.git("checkout", "-q", "-b", "other")
    (tmp_path / "started").unlink(missing_ok=True)
    watched.git("add", "other.txt")
    watched.git("commit", "-q", "-m", "other")
    watched.git("status")
    assert not (tmp_path / "started").exists()
    assert (repository.root / ".git" / "penstock" / "at").read_text().strip() == repository.head()


def test_what_is_there_already_is_not_taken_over(repository):
    repository.git("checkout", "-q", "-b", "taken")
    (repository.root / "mask").mkdir()
    (repository.root / "mask" / "own.txt").write_text("x")
    repository.git("add", "-f", "mask/own.txt")
    repository.git("commit", "-q", "-m", "own")
    assert "git tracks mask/own.txt" in repository.commit(LABELS + "    mask: File[png] | None\n", fails=True)
    repository.git("checkout", "-q", "-f", "main")


def test_a_database_that_a_program_holds_is_told_and_brought_along_later(repository):
    repository.git("checkout", "-q", "-b", "held")
    with closing(sqlite3.connect(repository.root / "dataset.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        repository.write(LABELS + INGEST)
        said = repository.run("git", "commit", "-q", "index.py", "-m", "held")
        assert "dataset.sqlite cannot be changed" in said
        other.execute("ROLLBACK")
    repository.datasets("checkout")
    assert repository.rows("SELECT label FROM Labels ORDER BY label") == [("a",), ("b",)]


def test_ctrl_c_keeps_whole_records(repository):
    endless = LABELS + (
        "    @ingest\n    def load(done=0):\n        while True:\n"
        "            if done == 5 and not Path('go').exists():\n"
        "                Path('five').touch()\n                import time\n                time.sleep(600)\n"
        "            if done == 7:\n                return\n"
        "            yield {'label': str(done)}\n            done += 1\n"
    )
    repository.git("checkout", "-q", "-b", "endless")
    repository.write(endless)
    committing = subprocess.Popen(
        ["git", "commit", "-q", "index.py", "-m", "endless"],
        cwd=repository.root,
        env=repository.env,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (repository.root / "five").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(committing.pid, signal.SIGINT)
    assert committing.wait(60) != 0
    (repository.root / "go").touch()
    repository.commit(endless)
    labels = [row[0] for row in repository.rows("SELECT label FROM Labels ORDER BY label")]
    assert labels == ["0", "1", "2", "3", "4", "5", "6"]


def test_records_that_both_sides_changed_are_settled_by_their_ids(repository):
    repository.git("checkout", "-q", "-b", "ours")
    repository.commit(LABELS + INGEST)

    def named(to):
        return (
            LABELS + INGEST + f"    @alter('label')\n    def name(label: str) -> str:\n        return {to!r} + label\n"
        )

    repository.git("checkout", "-q", "-b", "theirs")
    repository.commit(named("t"))
    repository.git("checkout", "-q", "ours")
    repository.commit(named("o"))
    repository.git("merge", "-q", "theirs", fails=True)
    repository.write(LABELS + INGEST)
    said = repository.git("commit", "-q", "-a", "-m", "joined", fails=True)
    assert "2 records were changed on both sides" in said
    ids = [row[0] for row in repository.rows("SELECT id FROM Labels ORDER BY label")]
    assert all(each in said for each in ids)
    repository.datasets("checkout", "--ours")
    repository.datasets("checkout", "--theirs", str(ids[0]))
    repository.git("commit", "-q", "-a", "-m", "joined")
    assert repository.rows("SELECT label FROM Labels ORDER BY label") == [("ob",), ("ta",)]


def test_nothing_of_a_clone_runs_without_leave(repository, tmp_path):
    trap = tmp_path / "ran"
    hostile = f"open({str(trap)!r}, 'w')\n{LABELS}    @ingest\n    def load():\n        open({str(trap)!r}, 'w')\n"
    source = tmp_path / "source"
    source.mkdir()
    other = DatasetRepository(source, repository.env)
    other.git("init", "-q", "-b", "main")
    other.write(hostile)
    other.git("add", "index.py")
    other.git("commit", "-q", "-m", "hostile")
    other.git("clone", "-q", str(source), str(tmp_path / "clone"))
    clone = DatasetRepository(tmp_path / "clone", repository.env)
    assert "load" in clone.datasets("schema", "index.py")
    clone.git("config", "penstock.dataset", "index.py")
    clone.datasets("status", fails=True)
    clone.datasets("log")
    clone.datasets("doctor", fails=True)
    assert "is not run" in clone.datasets("run", fails=True)
    assert not trap.exists()


def test_untrack_leaves_no_trace_where_nothing_was_made(tmp_path):
    fresh = new_repository(tmp_path / "repository", tmp_path / "home")
    (fresh.root / ".git" / "hooks").mkdir(exist_ok=True)
    (fresh.root / ".git" / "hooks" / "pre-commit").write_text("#!/bin/sh\nexit 0\n")
    (fresh.root / ".git" / "hooks" / "pre-commit").chmod(0o755)
    fresh.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    fresh.write(LABELS)

    def trace():
        found = {}
        for each in sorted(fresh.root.rglob("*")):
            if each.is_file() and each.name != "index" and "objects" not in each.parts:
                found[str(each.relative_to(fresh.root))] = each.read_bytes()
        return found, fresh.git("status", "--short")

    before = trace()
    fresh.datasets("track", "index.py")
    assert trace() != before
    fresh.datasets("untrack", "index.py")
    assert trace() == before


def test_picture_files_are_told_from_others_in_a_folder(repository):
    repository.git("checkout", "-q", "-b", "pictures")
    (repository.root / "p.png").write_bytes(picture(1))
    repository.commit(LABELS + "    @ingest\n    def load():\n        return [('a', Path('p.png'))]\n")
    (repository.root / "image" / "mine.txt").write_text("mine")
    assert "changed here: image/mine.txt" in repository.datasets("status", fails=True)
    (repository.root / "image" / "mine.txt").unlink()
