"""Hooks of git: beside those that were there, for each of git's ways, and gone without a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from penstock.project.hooks.dispatcher import HookPart, install_part, installed_parts, remove_part

COMMIT = ["git", "commit", "--allow-empty", "-m", "x"]
SAY = HookPart("say", {"post-checkout": 'echo "say $1 $2 $3" >> "$PWD/../said"\n', "pre-commit": "exit 3\n"})


def hook(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def listing(top):
    return {
        os.path.join(folder, name): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(top)
        for name in names
    }


@pytest.fixture
def committed(repository, git):
    git(repository, "commit", "-q", "--allow-empty", "-m", "one")
    return repository


def said(repository):
    path = repository.parent / "said"
    return path.read_text().splitlines() if path.exists() else []


def test_parts_run_beside_the_hook_that_was_there_and_leave_no_trace(project, committed, git):
    hook(committed / ".git/hooks/post-checkout", 'echo "mine $3" >> "$PWD/../said"')
    before = listing(committed / ".git/hooks")
    install_part(project, SAY)
    install_part(project, SAY)
    assert installed_parts(project) == {"say": {"post-checkout", "pre-commit"}}
    git(committed, "checkout", "-qb", "other")
    assert [line.split()[0] for line in said(committed)] == ["mine", "say"]
    assert said(committed)[1].endswith(" 1")
    refused = subprocess.run(COMMIT, cwd=committed, capture_output=True, check=False)
    assert refused.returncode == 1
    remove_part(project, "say")
    assert listing(committed / ".git/hooks") == before
    assert not (committed / ".git/penstock").exists()
    assert installed_parts(project) == {}


@pytest.mark.parametrize("local", [True, False])
def test_hooks_that_lie_elsewhere_are_run_and_nothing_there_is_touched(project, committed, git, local, isolated_home):
    hook(committed / ".husky/post-checkout", 'echo "husky $3" >> "$PWD/../said"')
    hook(committed / ".husky/commit-msg", 'echo "husky $1" >> "$PWD/../said"')
    if local:
        git(committed, "config", "core.hooksPath", ".husky")
    else:
        (isolated_home / ".gitconfig").write_text(f"[core]\nhooksPath = {committed}/.husky\n")
    before = listing(committed / ".husky"), (committed / ".git/config").read_text()
    install_part(project, HookPart("say", {"post-checkout": SAY.scripts["post-checkout"]}))
    git(committed, "checkout", "-qb", "other")
    git(committed, "commit", "-q", "--allow-empty", "-m", "two")
    assert [line.split()[0] for line in said(committed)] == ["husky", "say", "husky"]
    remove_part(project, "say")
    assert (listing(committed / ".husky"), (committed / ".git/config").read_text()) == before


def test_a_part_and_the_hook_before_both_get_what_git_says_on_standard_input(project, committed, git, tmp_path):
    remote = tmp_path / "remote"
    git(tmp_path, "init", "-q", "--bare", str(remote))
    hook(committed / ".git/hooks/pre-push", 'cat > "$PWD/../first"')
    install_part(project, HookPart("see", {"pre-push": 'cat > "$PWD/../second"\n'}))
    git(committed, "push", "-q", str(remote), "main")
    first = (tmp_path / "first").read_text()
    assert first.startswith("refs/heads/main ")
    assert (tmp_path / "second").read_text() == first


def test_a_hook_before_that_refuses_is_heard(project, committed):
    hook(committed / ".git/hooks/pre-commit", "exit 5")
    install_part(project, HookPart("see", {"pre-commit": 'echo seen >> "$PWD/../said"\n'}))
    done = subprocess.run(COMMIT, cwd=committed, capture_output=True, check=False)
    assert done.returncode == 1
    assert said(committed) == []


def test_two_parts_are_taken_out_one_by_one(project, committed, git):
    install_part(project, SAY)
    install_part(project, HookPart("a", {"post-checkout": 'echo "a" >> "$PWD/../said"\n'}))
    remove_part(project, "say")
    git(committed, "checkout", "-qb", "other")
    assert said(committed) == ["a"]
    assert installed_parts(project) == {"a": {"post-checkout"}}
    assert not (committed / ".git/hooks/pre-commit").exists()
    remove_part(project, "a")
    assert not (committed / ".git/hooks/post-checkout").exists()


def test_hooks_are_shared_by_work_trees(project, committed, git):
    install_part(project, SAY)
    git(committed, "worktree", "add", "-q", "../second", "-b", "second")
    assert len(said(committed)) == 1
