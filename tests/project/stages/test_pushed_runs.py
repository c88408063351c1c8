"""What stages made goes with a push, and so does who ran what."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.errors import ConflictError, UsageError
from penstock.project.exchange import push_versions
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import find_project
from penstock.project.project_remotes import add_project_remote
from penstock.project.project_status import project_status
from penstock.project.project_trust import trust_project
from penstock.project.tracking import add_path
from penstock.repo.settings.settings import Settings

from .conftest import Work


def push(work):
    project = find_project(str(work.root))
    return push_versions(project, pointers(project, tracked_paths(project)), Settings.load())


@pytest.fixture
def shared(work, tmp_path):
    """Return the project, with a directory as its remote."""
    add_project_remote(work.project, "store", str(tmp_path / "store"), Settings.load(), default=True)
    return Work(find_project(str(work.root)))


def clone(work, git, place: Path) -> Work:
    git(work.root, "add", "-A")
    git(work.root, "commit", "-qm", "as it is", "--allow-empty")
    git(place.parent, "clone", "-q", str(work.root), str(place))
    project = find_project(str(place))
    trust_project(project)
    return Work(project)


def test_outputs_are_tracked_as_pointers_are(shared):
    shared.write("in", "x")
    shared.stage("copy", "mkdir out; cp in out/x", ["in"], ["out"])
    shared.repro()
    project = find_project(str(shared.root))
    assert tracked_paths(project) == ["out"]
    assert [(each.path, each.state) for each in project_status(project)] == [("out", "clean")]
    shared.write("out/x", "y")
    assert [(each.path, each.state) for each in project_status(project)] == [("out", "changed")]
    with pytest.raises(UsageError, match="made by a stage"):
        add_path(project, "out", Settings.load())
    shared.write("raw/x", "1")
    add_path(project, "raw", Settings.load())
    for path in ("raw", "raw/x"):
        with pytest.raises(ConflictError, match="tracked already"):
            shared.stage("other", "true", [], [path])


def test_whoever_has_a_pushed_project_runs_nothing_again(shared, git, tmp_path):
    for at in range(3):
        shared.write(f"in/first/{at}", f"text {at}")
    shared.stage("upper", "tr a-z A-Z < {input} > {output}; echo ran >> ../calls", [], ["up"], each="in/*")
    shared.stage("count", "cat up/*/* | wc -c > count; echo ran >> ../calls", ["up"], ["count"])
    shared.repro()
    shared.write("in/second/3", "text 3")
    shared.repro()
    assert (tmp_path / "calls").read_text() == "ran\n" * 6
    assert push(shared).sent == ["count", "up"]
    assert not push(shared).changed
    shutil.rmtree(shared.root / ".penstock")
    other = clone(shared, git, tmp_path / "other")
    assert other.outcomes() == {"upper": "restored", "count": "restored"}
    (other.root / "penstock.lock").unlink()
    shutil.rmtree(other.root / "up")
    shutil.rmtree(other.root / "in/first")
    other.write("in/moved/0", "text 0")
    assert other.outcomes("upper") == {"upper": "taken"}
    assert sorted(path.read_text() for path in (other.root / "up").rglob("*") if path.is_file()) == ["TEXT 0", "TEXT 3"]
    assert (tmp_path / "calls").read_text() == "ran\n" * 6
