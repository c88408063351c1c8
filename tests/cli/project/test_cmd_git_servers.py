"""Imports from repositories that others serve: over SSH, and over HTTPS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.git_https import GitHttpsServer
from servers.sshd import GIT, SshServer
from views.directories import tree_of, write_tree

import penstock
from penstock.errors import AccessError

from .conftest import run_in

FIRST = {"a/1.png": b"one", "labels.csv": b"1,2\n"}


@pytest.fixture
def served(registry: Path, tmp_path: Path) -> Path:
    """Return a bare repository of a project that has pushed its data, tagged v1, and then more of it."""
    write_tree(registry / "raw/01", FIRST)
    run_in(registry, "penstock", "add", "raw/01")
    run_in(registry, "penstock", "push")
    run_in(registry, "git", "add", "-A")
    run_in(registry, "git", "commit", "-q", "-m", "one")
    run_in(registry, "git", "tag", "v1")
    run_in(registry, "git", "commit", "-q", "--allow-empty", "-m", "words")  # no tag leads to what is imported
    run_in(tmp_path, "git", "clone", "-q", "--bare", str(registry), "served.git")
    run_in(registry, "git", "remote", "add", "origin", str(tmp_path / "served.git"))
    return tmp_path / "served.git"


def add_more(registry: Path) -> None:
    write_tree(registry / "raw/01", {"late.png": b"late"})
    run_in(registry, "penstock", "add", "raw/01")
    run_in(registry, "penstock", "push")
    run_in(registry, "git", "commit", "-q", "-a", "-m", "more")
    run_in(registry, "git", "push", "-q", "origin", "main")


@pytest.fixture(params=["ssh", "https"])
def address(
    request: pytest.FixtureRequest, served: Path, isolated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return the address of that repository, with all that a client of it needs."""
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "ssh":
        with SshServer(folder, GIT) as ssh:
            ssh.let_in(isolated_home)
            monkeypatch.setenv("GIT_SSH_COMMAND", ssh.client(isolated_home))
            yield ssh.address(served)
    else:
        with GitHttpsServer(served.parent, folder) as https:
            monkeypatch.setenv("GIT_SSL_CAINFO", str(https.certificate))
            yield f"{https.address}/{served.name}"


def test_a_registry_that_is_served_is_listed_imported_updated_and_opened(
    address: str, registry: Path, tmp_path: Path
) -> None:
    other, clone = tmp_path / "other", tmp_path / "clone"
    other.mkdir()
    run_in(other, "git", "init", "-q")
    run_in(other, "penstock", "init")
    assert "raw/01" in run_in(other, "penstock", "list", address)
    assert f"penstock trust {address}" in run_in(other, "penstock", "import", address, "raw/01", "-o", "data", code=6)
    with pytest.raises(AccessError, match="penstock trust"):
        penstock.open(f"git+{address}#raw/01@v1")
    run_in(other, "penstock", "trust", address)
    run_in(other, "penstock", "import", address, "raw/01", "-o", "data")
    assert {name: body for name, body in tree_of(other / "data/01").items() if body != "/"} == FIRST
    run_in(other, "git", "add", "-A")
    run_in(other, "git", "commit", "-q", "-m", "import")
    add_more(registry)
    # A clone has the version of its pointer, though the branch has moved on: no commit of it is a branch's newest now.
    run_in(tmp_path, "git", "clone", "-q", str(other), str(clone))
    run_in(clone, "penstock", "pull")
    assert {name: body for name, body in tree_of(clone / "data/01").items() if body != "/"} == FIRST
    run_in(other, "penstock", "update")
    assert (other / "data/01/late.png").read_bytes() == b"late"
    with penstock.open(f"git+{address}#raw/01@v1") as package:
        assert package.read("a/1.png") == b"one"
        assert "late.png" not in package
    with penstock.open(f"git+{address}#raw/01") as package:
        assert package.read("late.png") == b"late"


def test_a_server_that_is_not_known_is_not_believed(address: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile=/dev/null")
    said = run_in(tmp_path, "penstock", "list", address, code=3)
    assert "cannot be fetched" in said
    assert "certificate" in said or "Host key verification failed" in said
    assert subprocess.run(["git", "ls-remote", address], capture_output=True, check=False).returncode != 0
