"""Ignore files from an enemy: as git reads them whatever is in them, in no time, and through no symlink."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.repo.push.directory_walk import LocalFile, walk_directory

World = Any  # see conftest

_PUSH = [sys.executable, "-m", "penstock"]

pytestmark = pytest.mark.usefixtures("deep_trees")


def kept(directory: str) -> set[bytes]:
    steps = walk_directory(directory, lambda _: None)
    return {b"/".join(step.names) for step in steps if isinstance(step, LocalFile)}


def _hash_within(directory: str, seconds: float) -> None:
    done = subprocess.run([*_PUSH, "hash", directory], capture_output=True, timeout=seconds, check=True)
    assert len(done.stdout) == 65


@pytest.mark.regress
@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        (b"a" * 250, b"*a" * 25 + b"*b"),
        (b"/".join([b"a"] * 80), b"**/a/" * 12 + b"b"),
        (b"a" * 250, b"?*" * 124 + b"??*b"),
    ],
    ids=["stars", "two stars", "question marks"],
)
def test_no_pattern_takes_long(world: World, path: bytes, pattern: bytes) -> None:
    _hash_within(world.plant({path: b"1", b".penstockignore": pattern + b"\n"}), 10)


def test_long_patterns_take_no_longer(world: World) -> None:
    patterns = b"**/*a*b*/" * 200 + b"b", b"[a]*" * 900 + b"b", b"*a" * 2000 + b"*b"
    content = {b"/".join([b"ab"] * 80): b"1", b"a" * 250: b"1", b".penstockignore": b"\n".join(patterns)}
    _hash_within(world.plant(content), 10)


def test_many_patterns_and_deep_directories_take_time_that_grows_with_them(world: World) -> None:
    lines = [b"**/a/" * 20 + b"%d" % number for number in range(200)] + [b"/a" * 100]
    directory = world.plant({b"a/" * 100 + b"x": b"1", b".penstockignore": b"\n".join(lines)})
    assert len(kept(directory)) == 1  # the hundredth a is left out, with what is in it


@pytest.mark.regress
def test_an_ignore_file_that_is_too_large_is_named(world: World) -> None:
    directory = world.plant({b"d/a": b"1"})
    with open(f"{directory}/d/.penstockignore", "wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(UsageError) as caught:
        kept(directory)
    assert f"{directory}/d/.penstockignore" in caught.value.what
    assert "1048576" in caught.value.why


def test_too_many_patterns_and_too_long_ones_are_named(world: World) -> None:
    directory = world.plant({b".penstockignore": b"a\n" * 15_000, b"d/.penstockignore": b"b\n" * 15_000})
    with pytest.raises(UsageError, match="too many patterns") as caught:
        kept(directory)
    assert "/d/" in caught.value.what
    Path(directory, "d/.penstockignore").write_bytes(b"b\n" + b"x" * 5000)
    with pytest.raises(UsageError, match=r"line 2: a pattern of 5000 bytes"):
        kept(directory)


@pytest.mark.regress
@pytest.mark.parametrize("target", ["rules", "nowhere", "/dev/zero"])
def test_an_ignore_file_that_is_a_symlink_is_named_and_not_followed(world: World, target: str) -> None:
    directory = world.plant({b"d/a": b"1", b"d/rules": b"a\n"})
    os.symlink(target, f"{directory}/d/.penstockignore")
    with pytest.raises(UsageError, match="is a symlink") as caught:
        kept(directory)
    assert f"{directory}/d/.penstockignore" in caught.value.what


_NAMES = ("a", "b", "ab", "aab", "ba", ".a", "c]", "a b", "-", "\\", "\u00e9")
_SETS = ("[ab]", "[!a]", "[^b-z]", "[a-c]", "[]c]", "[[:alpha:]]", "[\\]-]")
_PIECES = ("a", "b", "ab", "*", "?", "\\a", "\\\\", ".", "-", *_SETS)
_CASES = 60


def _segment(dice: random.Random) -> str:
    return "".join(dice.choices(_PIECES, k=dice.choice((1, 1, 1, 2, 3))))


def _pattern(dice: random.Random) -> str:
    # Not two asterisks beside something else: there git does not what its manual says.
    segments = [_segment(dice).replace("**", "*").replace("**", "*") for _ in range(dice.choice((1, 1, 1, 2, 3)))]
    if dice.random() < 0.4:
        segments.insert(dice.randrange(len(segments) + 1), "**")
    lead = dice.choice(("", "", "", "!")) + dice.choice(("", "", "/"))
    return lead + "/".join(segments) + dice.choice(("", "", "", "/", " ", "\\ "))


def _plant(folder: Path, dice: random.Random, depth: int) -> None:
    folder.mkdir()
    for name in dice.sample(_NAMES, 5):
        if depth and dice.random() < 0.5:
            _plant(folder / name, dice, depth - 1)
        else:
            (folder / name).write_bytes(b"x")
    if dice.random() < (1 if depth == 3 else 0.2):
        rules = "\n".join(_pattern(dice) for _ in range(dice.choice((1, 2, 4))))
        for own in (".penstockignore", ".gitignore"):
            (folder / own).write_text(rules)


def test_random_rules_mean_what_they_mean_to_git(world: World) -> None:
    dice = random.Random(8)
    directory = world.plant({})
    for case in range(_CASES):
        _plant(Path(directory, f"case{case}"), dice, 3)
    environ = {"HOME": str(world.folder), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-C", directory]
    subprocess.run([*git, "init", "-q"], check=True, env=environ)
    command = [*git, "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, env=environ).stdout
    shutil.rmtree(f"{directory}/.git")
    own = (b".penstockignore", b".gitignore")
    expected = {path for path in listed.split(b"\0") if path and not path.endswith(own)}
    found = {path for path in kept(directory) if not path.endswith(own)}
    for path in sorted(found ^ expected):
        case = path.split(b"/")[0].decode()
        rules = [(str(file), file.read_bytes()) for file in Path(directory, case).rglob(".gitignore")]
        raise AssertionError(f"git {'keeps' if path in expected else 'ignores'} {path!r}, with {rules}")
    everything = sum(1 for file in Path(directory).rglob("*") if file.is_file() and not file.name.endswith("ignore"))
    assert 0.2 < len(found) / everything < 0.95
