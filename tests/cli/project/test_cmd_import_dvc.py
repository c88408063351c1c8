"""Projects that DVC itself has made, taken over: equal to what DVC checks out, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from dvc_projects.recorded import EXPECTED, build, build_old

from .conftest import run_in

IN_GIT = {"data/list-r.txt"}
"""What DVC did not track, and git did; it is among what is expected."""


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of what is expected of a folder."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and name in {*EXPECTED["v1"], *EXPECTED["v2"]}:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def everything(folder: Path) -> dict[str, object]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_project_with_all_its_history_is_as_dvc_has_it(tmp_path):
    project = build(tmp_path / "lab")
    places = [tmp_path / "lab" / name for name in ("store", "registry", "registry-store")]
    before = [everything(place) for place in places]
    told = run_in(project, "penstock", "import-dvc", "--trust", "--all-commits")
    assert sums(project) == EXPECTED["v2"]
    assert [everything(place) for place in places] == before
    assert run_in(project, "git", "status", "--short", "--untracked-files=no") == " M .gitignore\n"
    # What it could not take, or takes otherwise, it says.
    assert "imported/faces was imported from" in told
    assert "'data/list-a.txt' is not there any more when the command begins" in told
    assert "git rm --cached metrics.json" in told
    # Its branches and tags are versions of the remote beside DVC's.
    dataset = f"file://{tmp_path}/lab/store-penstock/project"
    for tag in ("v1", "v2"):
        run_in(tmp_path, "penstock", "download", f"{dataset}:{tag}", tag)
        expected = {path: digest for path, digest in EXPECTED[tag].items() if path not in IN_GIT}
        assert sums(tmp_path / tag) == expected
        assert sum(path.is_file() for path in (tmp_path / tag).rglob("*")) == len(expected)
    assert b"2,dog" in run_in(tmp_path, "penstock", "cat", f"{dataset}:branch-b/labels.csv").encode()
    log = [json.loads(line) for line in run_in(tmp_path, "penstock", "log", "--json", dataset).splitlines()]
    assert [each["message"] for each in log] == ["v2", "v1"]
    # To do it again adds nothing.
    bucket = everything(tmp_path / "lab/store-penstock/.penstock/datasets")
    run_in(project, "penstock", "--json", "import-dvc", "--trust", "--all-commits")
    assert everything(tmp_path / "lab/store-penstock/.penstock/datasets").keys() >= bucket.keys()
    again = [json.loads(line) for line in run_in(tmp_path, "penstock", "log", "--json", dataset).splitlines()]
    assert again == log


def test_what_was_up_to_date_is_up_to_date_and_the_users_own_keys_are_kept(tmp_path):
    project = build(tmp_path / "lab")
    run_in(project, "penstock", "import-dvc", "--trust")
    run_in(project, "git", "rm", "-q", "--cached", "metrics.json")
    assert "all 4 stages are up to date" in run_in(project, "penstock", "repro")
    (project / "raw/batch1/x.tmp").write_bytes(b"ignored by .dvcignore")
    assert "nothing changed" in run_in(project, "penstock", "status")
    pointer = (project / "models/pretrained.pt.penstock").read_text()
    assert 'desc = "weights from elsewhere"' in pointer
    assert 'note = "ü"' in pointer
    assert 'md5 = "1aaded279ddc2bbf2573a1df46c8a5dd"' in pointer
    assert "# desc: a stage with a metric" in (project / "penstock.stages.toml").read_text()
    # Added anew, it is DVC's no more; what people said of it is kept.
    (project / "models/pretrained.pt").write_bytes(b"w1")
    run_in(project, "penstock", "add", "models/pretrained.pt")
    pointer = (project / "models/pretrained.pt.penstock").read_text()
    assert "[dvc]" not in pointer
    assert 'owner = "A"' in pointer
    told = run_in(project, "penstock", "import-dvc", "--trust", code=1)
    assert "models/pretrained.pt.penstock has moved on" in told
    # A parameter that changes reaches the stages that DVC had run.
    (project / "params.yaml").write_text("count:\n  limit: 6\n")
    assert "params.yaml:count.limit was 5, and is 6" in run_in(project, "penstock", "status", code=1)


def test_a_stage_that_was_stale_to_dvc_is_stale(tmp_path):
    project = build(tmp_path / "lab")
    with open(project / "src/clean.py", "a") as file:
        file.write("# changed\n")
    run_in(project, "penstock", "import-dvc", "--trust")
    told = run_in(project, "penstock", "status", code=1)
    assert "stage clean: stale\n  src/clean.py is a new dependency" in told


def test_what_is_damaged_or_gone_is_named_and_holds_up_nothing_else(tmp_path):
    project = build(tmp_path / "lab")
    store = tmp_path / "lab/store/files/md5"
    labels = next(iter((store / "0f").iterdir()))
    labels.write_bytes(labels.read_bytes() + b"x")
    shutil.rmtree(store / "1a")
    shutil.rmtree(tmp_path / "lab/registry")
    told = run_in(project, "penstock", "import-dvc", "--trust", code=1)
    assert f"{labels} is damaged" in told
    assert "not taken: labels.csv" in told
    assert "not taken: models/pretrained.pt" in told
    assert "not taken: imported/faces" in told
    assert "cannot be fetched" in told
    gone = {"labels.csv", "models/pretrained.pt", "imported/single.csv"}
    expected = {path for path in EXPECTED["v2"] if path not in gone and not path.startswith("imported/faces/")}
    assert sums(project) == {path: EXPECTED["v2"][path] for path in expected}
    assert not (project / "labels.csv.penstock").exists()


def test_without_trust_no_place_of_this_machine_is_read(tmp_path):
    remote = "['remote \"s3copy\"']\n    url = s3://lab-data/dvc\n    endpointurl = https://s3.lab.example\n"
    project = build(tmp_path / "lab", {remote: ""})
    told = run_in(project, "penstock", "import-dvc", code=1)
    assert "is a place of this machine, and not read without --trust" in told
    assert "not taken: raw/batch1" in told
    assert not (tmp_path / "lab/store-penstock").exists()
    assert "[remotes" not in (project / "penstock.toml").read_text()
    # What lies in the project's own cache is read.
    shutil.copytree(tmp_path / "lab/store", project / ".dvc/cache")
    run_in(project, "penstock", "import-dvc", code=1)
    assert (project / "raw/batch1/dup1").read_bytes() == b"dup\n"


def test_bits_and_links_that_dvc_does_not_keep_come_from_the_work_tree(tmp_path):
    project = build(tmp_path / "lab")
    batch = project / "raw/batch1"
    batch.mkdir()
    (batch / "run.sh").write_bytes(b"#!/bin/sh\n")
    (batch / "run.sh").chmod(0o755)
    (batch / "dup1").write_bytes(b"dup\n")
    (batch / "link").symlink_to("dup1")
    run_in(project, "penstock", "import-dvc", "--trust")
    assert sums(project) == EXPECTED["v2"]
    assert os.readlink(batch / "link") == "dup1"
    shutil.rmtree(batch)
    run_in(project, "penstock", "checkout", "raw/batch1")
    assert os.readlink(batch / "link") == "dup1"
    assert os.access(batch / "run.sh", os.X_OK)


def test_a_project_of_dvc_2(tmp_path):
    place = build_old(tmp_path)
    run_in(place, "penstock", "import-dvc")
    assert (place / "a.txt").read_bytes() == b"a\n"
    # A text was known by its lines: with other line ends it is what its hash says, too.
    cached = next(path for path in (place / ".dvc/cache").rglob("*") if path.is_file())
    cached.write_bytes(b"a\r\n")
    for each in ("a.txt", "a.txt.penstock"):
        (place / each).unlink()
    shutil.rmtree(place / ".penstock")
    run_in(place, "penstock", "import-dvc", code=None)
    assert (place / "a.txt").read_bytes() == b"a\r\n"


def test_a_folder_that_is_no_project_of_dvc_is_told(tmp_path):
    assert "is in no project of DVC" in run_in(tmp_path, "penstock", "import-dvc", code=3)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b"])
def test_a_file_of_dvc_that_leads_out_of_the_project_is_refused(tmp_path, path):
    project = build_old(tmp_path)
    (project / "evil.dvc").write_text(f"outs:\n- md5: 60b725f10c9c85c70d97880dfe8191b3\n  path: {path}\n")
    told = run_in(project, "penstock", "import-dvc")
    assert "evil.dvc is not taken" in told
    assert not (tmp_path / "out").exists()
