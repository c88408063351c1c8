"""scripts/install on machines that lack something: it says what, and what to do, and breaks nothing.

The script is run for real, with a PATH that holds only what the machine is said to have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "cat", "dirname", "env", "mktemp", "rm", "sha256sum", "tail")


class Machine:
    """A folder of commands, and a checkout in which nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.commands = folder / "bin"
        (self.checkout / "scripts").mkdir(parents=True)
        self.commands.mkdir()
        shutil.copy(ROOT / "scripts" / "install", self.checkout / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        for name in TOOLS:
            self.link(name, shutil.which(name))

    def link(self, name: str, target: str | None) -> None:
        assert target is not None, name
        (self.commands / name).symlink_to(target)

    def write(self, name: str, script: str) -> None:
        path = self.commands / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def install(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["scripts/install", *arguments],
            cwd=self.checkout,
            env={"PATH": str(self.commands), "HOME": os.environ["HOME"]} | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_unknown_argument_is_refused(machine):
    done = machine.install("--tests")
    assert done.returncode == 1
    assert "unknown argument --tests" in done.stderr
    assert "usage:" in done.stderr


def test_an_old_python_is_refused_by_its_version(machine):
    machine.write("python3", '[ "$1" = -V ] && echo Python 3.10.12; [ "$1" != -c ]')
    done = machine.install()
    assert done.returncode == 1
    assert "3.11 or later" in done.stderr
    assert "Python 3.10.12" in done.stderr
    assert "PYTHON=" in done.stderr


def test_a_python_that_is_not_there_is_named(machine):
    done = machine.install(PYTHON="python3.99")
    assert done.returncode == 1
    assert "PYTHON=python3.99: no such program" in done.stderr


def test_another_distribution_is_told_the_packages(machine):
    machine.link("python3", sys.executable)
    done = machine.install("--test")
    assert done.returncode == 1
    assert "neither Debian nor Ubuntu" in done.stderr
    for package in (
        "gcc",
        "pkg-config",
        "libfuse3-dev",
        "fuse3",
        "radosgw",
        "ceph-mon",
        "ceph-osd",
        "ceph-common",
        "chromium",
        "rsync",
        "cpio",
        "xz-utils",
    ):
        assert package in done.stderr
    assert not (machine.checkout / ".venv").exists()


def test_only_the_benchmarks_ask_for_s3fs(machine):
    machine.link("python3", sys.executable)
    assert "s3fs" in machine.install("--bench").stderr
    assert "s3fs" not in machine.install("--test").stderr


def test_only_what_is_missing_is_asked_of_apt(machine):
    machine.link("python3", sys.executable)
    for present in (
        "gcc",
        "pkg-config",
        "fusermount3",
        "radosgw",
        "ceph-mon",
        "ceph",
        "chromium",
        "git",
        "make",
        "rsync",
        "cpio",
        "xz",
    ):
        machine.write(present, "exit 0")
    asked = machine.checkout / "asked"
    machine.write("sudo", '"$@"')
    machine.write("apt-get", f'echo "$@" >>{asked}; echo out of luck; [[ $* != *install* ]]')
    done = machine.install("--test")
    assert done.returncode == 1
    assert asked.read_text().splitlines()[-1].split()[-1:] == ["ceph-osd"]
    assert "out of luck" in done.stderr
    assert "could not install: ceph-osd" in done.stderr


def test_a_folder_that_is_no_environment_is_left_alone(machine):
    machine.link("python3", sys.executable)
    for present in ("gcc", "pkg-config", "fusermount3"):
        machine.write(present, "exit 0")
    precious = machine.checkout / "precious"
    precious.mkdir()
    (precious / "file").touch()
    done = machine.install(PENSTOCK_VENV="precious")
    assert done.returncode == 1
    assert "no virtual environment" in done.stderr
    assert (precious / "file").exists()
