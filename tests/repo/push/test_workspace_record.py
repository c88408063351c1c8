"""What a version says of the workspace that it was made in: commit, container, packages, and nothing secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.repo.push import workspace_record
from penstock.repo.push.workspace_record import address_without_secrets, record_workspace


def git(place: Path, *arguments: str) -> str:
    names = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *names, *arguments], cwd=place, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a directory in a repository with one commit, and a remote whose address has a token."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "train.py").write_text("print('trained')")
    (place / "README.md").write_text("# A run")
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "first")
    git(place, "remote", "add", "origin", "https://ada:t0ken@git.example.org/lab/runs.git?key=t0ken")
    return place


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://ada:t0ken@git.example.org/lab/runs.git", "https://git.example.org/lab/runs.git"),
        ("https://t0ken@git.example.org:8443/runs?private_token=t0ken#t0ken", "https://git.example.org:8443/runs"),
        ("ssh://git:t0ken@git.example.org/runs", "ssh://git.example.org/runs"),
        ("https://t0ken@[::1]:80/runs", "https://[::1]:80/runs"),
        ("git@git.example.org:lab/runs.git", "git.example.org:lab/runs.git"),
        ("t0ken@git.example.org:runs", "git.example.org:runs"),
        ("/srv/git/runs.git", "/srv/git/runs.git"),
        ("../a:b", "../a:b"),
        ("ext::sh -c t0ken", ""),
        ("helper://t0ken", ""),
        ("https://[t0ken/", ""),
        ("https://host:t0ken/", ""),
        ("", ""),
    ],
)
def test_an_address_is_told_without_what_could_be_secret(address: str, told: str) -> None:
    assert address_without_secrets(address) == told


def test_commit_branch_changes_and_remote_are_recorded(workspace: Path) -> None:
    record = record_workspace(str(workspace), {})
    found = record.environment
    assert found["git_commit"] == git(workspace, "rev-parse", "HEAD").strip()
    assert (found["git_branch"], found["git_dirty"]) == ("main", "no")
    assert found["git_remote"] == "https://git.example.org/lab/runs.git"
    assert "t0ken" not in repr(record)
    (workspace / "new.txt").write_text("new")
    assert record_workspace(str(workspace), {}).environment["git_dirty"] == "yes"
    git(workspace, "checkout", "-q", "--detach")
    assert "git_branch" not in record_workspace(str(workspace), {}).environment


def test_packages_of_this_python_are_recorded_in_a_list_that_has_an_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = record_workspace(str(workspace), {}).environment
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    packages = found["packages"].splitlines()
    assert f"pytest=={pytest.__version__}" in packages
    monkeypatch.setattr(workspace_record, "_MOST_PACKAGES", 100)
    short = record_workspace(str(workspace), {}).environment["packages"].splitlines()
    assert short[:-1] == packages[: len(short) - 1]
    assert short[-1] == f"and {len(packages) - len(short) + 1} more"


def test_what_lies_in_the_workspace_is_not_run_in_place_of_a_module(workspace: Path) -> None:
    (workspace / "json.py").write_text("raise SystemExit('run')")
    here = os.getcwd()
    os.chdir(workspace)
    try:
        assert "packages" in record_workspace(".", {}).environment
    finally:
        os.chdir(here)


def test_a_python_that_does_not_answer_is_noted(workspace: Path, tmp_path: Path) -> None:
    record = record_workspace(str(workspace), {"VIRTUAL_ENV": str(tmp_path / "gone")})
    assert "packages" not in record.environment
    assert any("gone/bin/python" in note for note in record.notes)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_record, "_PATIENCE", 0.1)
    assert workspace_record._answer(("sleep", "60"), None) is None
    monkeypatch.setattr(workspace_record, "_PATIENCE", 30)
    assert workspace_record._answer(("yes",), None) is None


def test_the_image_is_the_one_that_its_user_names(workspace: Path) -> None:
    named = {"PENSTOCK_CONTAINER_IMAGE": "lab/train@sha256:12\n34", "APPTAINER_CONTAINER": "/images/other.sif"}
    assert record_workspace(str(workspace), named).environment["container_image"] == "lab/train@sha256:12?34"
    del named["PENSTOCK_CONTAINER_IMAGE"]
    assert record_workspace(str(workspace), named).environment["container_image"] == "/images/other.sif"


def test_a_directory_in_no_repository_and_without_a_readme(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    record = record_workspace(str(tmp_path / "data"), {})
    assert not [name for name in record.environment if name.startswith("git_")]
    assert any("README" in note for note in record.notes)


def test_a_repository_that_git_refuses_is_noted(tmp_path: Path) -> None:
    (tmp_path / "work" / ".git").mkdir(parents=True)
    (tmp_path / "work" / "README.md").write_text("# A run")
    record = record_workspace(str(tmp_path / "work"), {})
    assert any("git" in note for note in record.notes)


def test_a_version_of_a_workspace_says_so_and_leaves_git_out(workspace: Path, tmp_path: Path) -> None:
    penstock.add_remote("demo", str(tmp_path / "store"))
    dataset = penstock.Dataset("demo/runs")
    report = dataset.push(workspace, tag="t", workspace=True, author="Ada")
    package = penstock.open("demo/runs:t")
    assert list(package.keys()) == ["README.md", "train.py"]
    told = package.revision().environment
    assert told["git_commit"] == git(workspace, "rev-parse", "HEAD").strip()
    assert told["command"] == "push"
    assert not [note for note in report.notes if "README" in note]
    assert any("nothing changed" in note for note in dataset.push(workspace, workspace=True, author="Ada").notes)
    for place in (tmp_path / "store").rglob("*"):
        assert not place.is_file() or b"t0ken" not in place.read_bytes()
