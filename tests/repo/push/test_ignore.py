"""Ignore files: git's rules, in any directory, whatever they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.repo.push.directory_walk import LocalFile, walk_directory

World = Any  # see conftest


def kept(directory: str) -> list[str]:
    found = [step.names for step in walk_directory(directory, lambda _: None) if isinstance(step, LocalFile)]
    return sorted(b"/".join(names).decode("utf-8", "surrogateescape") for names in found)


def files(*paths: str) -> dict[bytes, bytes]:
    return {path.encode(): b"x" for path in paths}


TREE = (
    "a.log",
    "a.txt",
    "build/out.o",
    "build/keep.me",
    "deep/build/x",
    "deep/a.log",
    "deep/important.log",
    "deep/deeper/b.log",
    "docs/build",
    "#hash",
    "!bang",
    "space ",
    "caf\u00e9/x",
    "x/y/z/1",
    "x/1",
)


@pytest.mark.parametrize(
    "rules",
    [
        {"": "*.log"},
        {"": "*.log\n!important.log"},
        {"": "build"},
        {"": "build/"},
        {"": "/build"},
        {"": "build/*\n!build/keep.me"},
        {"": "build/\n!build/keep.me"},
        {"": "deep/*.log"},
        {"": "**/build"},
        {"": "x/**/1"},
        {"": "*\n!*/\n!*.txt"},
        {"": "\\#hash\n\\!bang\n# comment\n\n"},
        {"": "space\\ "},
        {"": "space "},
        {"": "caf\u00e9"},
        {"": "*.log\r\nbuild\r\n"},
        {"": "[ab].*"},
        {"": "*.log", "deep": "!a.log"},
        {"": "!a.log", "deep": "*.log"},
        {"": "*.log", "deep": "!*.log", "deep/deeper": "*.log"},
        {"deep": "/build\n/deeper/"},
        {"": "deep/*", "deep": "!a.log"},
        {"": ".penstockignore"},
    ],
)
def test_as_git_has_it(world: World, rules: dict[str, str]) -> None:
    """Git itself is asked, with the same rules in files of its own name."""
    directory = world.plant(files(*TREE))
    for folder, text in rules.items():
        Path(directory, folder, ".penstockignore").write_bytes(text.encode())
        Path(directory, folder, ".gitignore").write_bytes(text.replace(".penstockignore", ".gitignore").encode())
    environ = {"HOME": str(world.folder), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", directory], check=True, env=environ)
    listed = subprocess.run(
        ["git", "-C", directory, "ls-files", "-z", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        env=environ,
    )
    shutil.rmtree(f"{directory}/.git")
    own = ".penstockignore", ".gitignore"
    expected = {name.decode() for name in listed.stdout.split(b"\0") if name}
    assert {path for path in kept(directory) if not path.endswith(own)} == {
        path for path in expected if not path.endswith(own)
    }


def test_ignore_files_are_part_of_the_version(world: World) -> None:
    content = {b".penstockignore": b"*.tmp\n", b"a": b"1", b"d/.penstockignore": b"x\n", b"d/y": b"2"}
    directory = world.plant({**content, b"b.tmp": b"3", b"d/x": b"4", b"d/c.tmp/e": b"5"})
    report = world.push(directory)
    assert world.read_back(world.open()) == content
    assert report.top_hash == world.hash(directory) == world.hash(world.plant(content, "clean"))


def test_names_that_are_not_utf8(world: World) -> None:
    directory = world.plant({b"\xff.log": b"x", b"\xfe.log": b"x", b".penstockignore": b"\xff.log\n"})
    assert kept(directory) == [".penstockignore", "\udcfe.log"]


def test_lines_end_where_git_ends_them(world: World) -> None:
    """And not at every character that Unicode calls a separator."""
    separators = "a\u2028b", "a\x0bb", "a\x85b", "a", "b"
    directory = world.plant({**files(*separators), b".penstockignore": "a\u2028b\na\x0bb\na\x85b\n".encode()})
    assert kept(directory) == [".penstockignore", "a", "b"]


def test_a_mark_of_byte_order(world: World) -> None:
    directory = world.plant({**files("a", "b"), b".penstockignore": b"\xef\xbb\xbfa\n"})
    assert kept(directory) == [".penstockignore", "b"]


def test_what_is_ignored_is_not_looked_into(world: World) -> None:
    """An ignored directory may hold what would end a push."""
    directory = world.plant({b".penstockignore": b"bad\n", b"bad/.penstockignore": b"!\n", b"a": b"1"})
    os.mkfifo(f"{directory}/bad/pipe")
    report = world.push(directory)
    assert report.skipped == []
    assert set(world.read_back(world.open())) == {b".penstockignore", b"a"}


@pytest.mark.parametrize("pattern", ["!", "a\n!\n"])
def test_a_pattern_that_is_none(world: World, pattern: str) -> None:
    directory = world.plant({b"d/.penstockignore": pattern.encode(), b"d/a": b"1"})
    with pytest.raises(UsageError) as caught:
        world.push(directory)
    assert f"{directory}/d/.penstockignore" in caught.value.what
    assert world.keys() == []


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket"])
def test_an_ignore_file_that_is_something_else(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = world.plant({b"a": b"1", b"rules": b"a\n"})
    monkeypatch.chdir(directory)
    if kind == "directory":
        world.plant({b".penstockignore/inside": b"2"})
    elif kind == "pipe":
        os.mkfifo(".penstockignore")
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(".penstockignore")
    assert "a" in kept(directory)
