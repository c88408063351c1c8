"""Machines that share a remote never run the same twice."""

from __future__ import annotations

import shutil

import pytest

from penstock.project.local_bucket import bucket_directory
from penstock.project.project import find_project
from penstock.project.project_trust import trust_project

from .conftest import Work


@pytest.fixture
def elsewhere(work, git, tmp_path):
    """Return a function that clones the project as another machine would, with this one's bucket as its remote."""

    def clone(name="other"):
        git(work.root, "add", "-A")
        git(work.root, "commit", "-qm", "as it is")
        place = tmp_path / name
        git(tmp_path, "clone", "-q", str(work.root), str(place))
        (place / "penstock.toml").write_text(
            (place / "penstock.toml").read_text()
            + f'remote = "store"\n[remotes.store]\nurl = "file://{bucket_directory(work.project)}"\n'
        )
        project = find_project(str(place))
        trust_project(project)
        return Work(project)

    return clone


def test_what_one_machine_ran_the_other_one_takes(work, elsewhere):
    work.write("in", "1")
    work.stage("copy", "mkdir out; cp in out/x; echo ran >> ../calls", ["in"], ["out"])
    work.stage("count", "wc -l out/x > lines; echo ran >> ../calls", ["out"], ["lines"])
    work.repro()
    other = elsewhere()
    assert other.outcomes() == {"copy": "restored", "count": "restored"}
    (other.root / "penstock.lock").unlink()
    shutil.rmtree(other.root / "out")
    assert other.outcomes() == {"copy": "taken", "count": "taken"}
    assert other.read("out/x") == "1"
    assert (work.root.parent / "calls").read_text() == "ran\n" * 2


def test_items_of_one_machine_are_taken_by_the_other_one(work, elsewhere):
    for at in range(5):
        work.write(f"in/{at}", f"text {at}")
    work.stage("upper", "tr a-z A-Z < {input} > {output}; echo ran >> ../calls", [], ["out"], each="in")
    work.repro()
    other = elsewhere()
    other.write("in/5", "text 5")
    result = other.repro()["upper"]
    assert (result.ran, result.taken) == (1, 5)
    assert other.read("out/2") == "TEXT 2"
    assert (work.root.parent / "calls").read_text() == "ran\n" * 6


def test_a_remote_that_does_not_answer_is_told_once_and_the_stage_runs(work, elsewhere):
    work.write("in", "1")
    work.stage("copy", "cp in out", ["in"], ["out"])
    work.stage("again", "cp in out2", ["in"], ["out2"])
    work.repro()
    other = elsewhere()
    text = (other.root / "penstock.toml").read_text().partition("[remotes.store]")[0]
    (other.root / "penstock.toml").write_text(
        f'{text}[remotes.store]\nurl = "s3://nowhere"\nendpoint_url = "http://127.0.0.1:9"\n'
    )
    trust_project(find_project(str(other.root)))
    other = Work(find_project(str(other.root)))
    assert other.outcomes() == {"copy": "ran", "again": "ran"}
    assert len(other.warnings) == 1
    assert "remotes are not asked" in other.warnings[0]


def test_a_record_that_names_something_else_is_not_taken(work):
    work.write("in", "1")
    work.stage("copy", "cp in out; echo ran >> calls", ["in"], ["out"])
    work.repro()
    (record,) = (work.root / ".penstock/bucket/.penstock/runs").glob("??/*")
    record.chmod(0o644)
    for body in (
        record.read_bytes().replace(b'"path":"out"', b'"path":"../../x"'),
        record.read_bytes().replace(b'"hash":"', b'"hash":"00'),
        b"{}",
        b"\xff",
    ):
        record.write_bytes(body)
        (work.root / "penstock.lock").unlink()
        assert work.outcomes() == {"copy": "ran"}
    assert work.read("calls") == "ran\n" * 5
