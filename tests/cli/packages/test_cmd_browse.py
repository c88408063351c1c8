"""``penstock ls``, ``info``, ``cat`` and ``cache``: looking into a version, and what is told when it cannot be."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

BLOCK = 1 << 20
LARGE = random.Random(1).randbytes(20 * BLOCK + 3)


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


@pytest.fixture
def demo(run: Run, tmp_path: Path) -> dict[str, Any]:
    """Push a small dataset to the remote ``demo``; return what push answered."""
    folder = os.fsencode(tmp_path / "things")
    os.makedirs(folder + b"/d/e")
    files = {
        b"a": b"text\n",
        b"d/e/deep": b"deep",
        b"d/new\nline": b"1",
        b"d/\xff": b"2",
        b"d/\x1b[2J": b"3",
        "d/é".encode(): b"4",
        b"large": LARGE,
        b"empty": b"",
    }
    for path, body in files.items():
        with open(os.path.join(folder, path), "wb") as file:
            file.write(body)
        os.utime(os.path.join(folder, path), ns=(0, 1_700_000_000_250_000_000))
    os.chmod(folder + b"/a", 0o755)
    os.symlink(b"d/e", folder + b"/link\t")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    pushed = run("push", os.fsdecode(folder), "demo/things", "-m", "one", "--tag", "v1", "--json")
    found: dict[str, Any] = json.loads(pushed.stdout)
    return found


def records(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


# ls


def test_ls_of_odd_names(run: Run, demo: Any) -> None:
    assert run("ls", "demo/things").stdout == "a\nd/\nempty\nlarge\n$'link\\t'\n"
    assert run("ls", "demo/things:v1/d/").stdout == "$'\\e[2J'\ne/\n$'new\\nline'\né\n$'\\xff'\n"
    assert run("ls", "demo/things/d/e/deep").stdout == "d/e/deep\n"
    found = [record["logical_key"] for record in records(run("ls", "demo/things/d", "--json"))]
    assert found == ["d/\x1b[2J", "d/e", "d/new\nline", "d/é", "d/\udcff"]


def test_ls_recursive(run: Run, demo: Any) -> None:
    lines = run("ls", "-r", "demo/things").stdout.splitlines()
    assert lines[:4] == ["a", "d/", "$'d/\\e[2J'", "d/e/"]
    assert len(lines) == 11
    below = [record["logical_key"] for record in records(run("ls", "demo/things/d", "-r", "--json"))]
    assert below[:3] == ["d/\x1b[2J", "d/e", "d/e/deep"]
    assert run("ls", "-r", "demo/things/d").stdout.splitlines()[2] == "e/deep"
    assert run("ls", "-r", "--limit", "3", "demo/things").stdout == "a\nd/\n$'d/\\e[2J'\n"
    refused = run("ls", "-r", "--after", "a", "demo/things")
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--limit", "2"], ["a", "d/"]),
        (["--after", "d"], ["empty", "large", "$'link\\t'"]),
        (["--after", "d", "--limit", "1"], ["empty"]),
        (["--after", "b"], ["d/", "empty", "large", "$'link\\t'"]),
        (["--after", "link\t"], []),
        (["--after", "zzz"], []),
        (["--after", ""], ["a", "d/", "empty", "large", "$'link\\t'"]),
        (["--after", "/"], ["a", "d/", "empty", "large", "$'link\\t'"]),
        (["--after", "\udcff"], []),
        (["--limit", "100"], ["a", "d/", "empty", "large", "$'link\\t'"]),
    ],
)
def test_ls_in_parts(run: Run, demo: Any, options: list[str], expected: list[str]) -> None:
    result = run("ls", *options, "demo/things")
    assert (result.exit_code, result.stdout.splitlines()) == (0, expected)


@pytest.mark.parametrize("options", [["--limit", "0"], ["--limit", "x"], ["--after"]])
def test_ls_in_impossible_parts(run: Run, demo: Any, options: list[str]) -> None:
    assert run("ls", "demo/things", *options).exit_code == 2


def test_ls_shows_all_of_an_entry(run: Run, demo: Any, tmp_path: Path) -> None:
    by_key = {record["logical_key"]: record for record in records(run("ls", "-l", "-r", "--json", "demo/things"))}
    a = by_key["a"]
    (place,) = a["physical_key"]
    assert a == {
        "logical_key": "a",
        "kind": "executable",
        "size": 5,
        "hash": a["hash"],
        "metadata": {},
        "physical_key": [place],
        "modified": 1_700_000_000.25,
    }
    assert place["length"] == 5
    packed = Path(place["uri"].removeprefix("file://")).read_bytes()
    assert packed[place["offset"] :][:5] == b"text\n"
    assert by_key["d"]["kind"] == "directory"
    assert (by_key["d"]["entries"], by_key["d"]["size"], by_key["d"]["physical_key"]) == (6, 8, [])
    assert (by_key["link\t"]["kind"], by_key["link\t"]["target"]) == ("symlink", "d/e")
    assert sum(part["length"] for part in by_key["large"]["physical_key"]) == by_key["large"]["size"] == len(LARGE)
    assert all(len(bytes.fromhex(record["hash"])) == 32 for record in by_key.values())


def test_ls_long_for_people(run: Run, demo: Any) -> None:
    lines = run("ls", "-l", "demo/things").stdout.splitlines()
    assert lines[0].split()[:4] == ["x", "5", "B", "2023-11-14"]
    assert lines[0].endswith("  a")
    assert lines[1].startswith("d")
    assert lines[4].endswith("$'link\\t' -> d/e")
    assert len({line.rindex(line.split()[-1]) for line in lines[:4]}) == 1  # in columns


def test_ls_of_a_bucket(run: Run, demo: Any, tmp_path: Path) -> None:
    run("create", "demo/another")
    assert run("ls", "demo").stdout == "another\nthings\n"
    assert records(run("ls", "demo", "--json")) == [{"dataset": "another"}, {"dataset": "things"}]
    assert run("ls", f"file://{tmp_path}/store/").stdout == "another\nthings\n"


def test_ls_of_a_large_directory_to_head(run: Run, tmp_path: Path, demo: Any) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(6000):
        (folder / f"{number:05d}-{'x' * 200}").touch()
    assert run("push", str(folder), "demo/many").exit_code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "ls", "demo/many"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"00000-x")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


# info


def test_info(run: Run, demo: Any) -> None:
    found = json.loads(run("info", "demo/things:v1", "--json").stdout)
    assert found["top_hash"] == demo["top_hash"]
    assert found["commit"] == demo["commit"]
    assert (found["bytes"], found["entries"], found["kind"]) == (demo["bytes"], 11, "directory")
    assert (found["author"], found["message"], found["parents"]) == ("Tester <t@example.org>", "one", [])
    assert (found["branches"], found["tags"]) == (["main"], ["v1"])
    assert found["environment"]["command"] == "push"
    assert found["path"] == ""
    text = run("info", "demo/things").stdout
    assert f"top hash:     {demo['top_hash']}\n" in text
    assert "message:      one\n" in text
    assert "tags:         v1\n" in text
    assert "command push, penstock" in text


def test_info_of_a_part_and_by_hash(run: Run, demo: Any) -> None:
    part = json.loads(run("info", "demo/things/d/e/deep", "--json").stdout)
    assert (part["path"], part["kind"], part["bytes"]) == ("d/e/deep", "file", 4)
    by_hash = json.loads(run("info", f"demo/things:{demo['top_hash'][:10]}", "--json").stdout)
    assert (by_hash["commit"], by_hash["author"]) == (None, None)
    assert "author" not in run("info", f"demo/things:{demo['top_hash']}").stdout
    by_commit = json.loads(run("info", f"demo/things:{demo['commit'][:7]}", "--json").stdout)
    assert by_commit["commit"] == demo["commit"]


# cat


def test_cat(run: Run, demo: Any) -> None:
    assert run("cat", "demo/things/a").stdout_bytes == b"text\n"
    assert run("cat", "demo/things/large").stdout_bytes == LARGE
    assert run("cat", "demo/things/large").stdout_bytes == LARGE  # from the cache
    assert run("cat", "demo/things/empty").stdout_bytes == b""
    several = run("cat", "demo/things/a", "demo/things:v1/d/e/deep", "demo/things/d/\udcff")
    assert several.stdout_bytes == b"text\ndeep2"
    for wrong, code in (("demo/things/d", 2), ("demo/things", 2), ("demo/things/link\t", 2), ("demo/things/b", 3)):
        result = run("cat", wrong)
        assert (result.exit_code, result.stdout_bytes) == (code, b"")


def test_cat_to_head(demo: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "cat", "demo/things/large"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5) == LARGE[:5]
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_cat_to_a_full_disk(demo: Any, run_process: Callable[..., Any]) -> None:
    with open("/dev/full", "wb") as full:
        done = run_process("cat", "demo/things/large", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert "No space left" in done.stderr


def test_a_cache_that_is_full_of_it(run: Run, demo: Any, tmp_path: Path) -> None:
    """What was read once is read without the bucket's data."""
    assert run("cat", "demo/things/large").stdout_bytes == LARGE
    moved = tmp_path / "store" / ".penstock" / "data"
    moved.rename(tmp_path / "gone")
    assert run("cat", "demo/things/large").stdout_bytes == LARGE
    gone = run("cat", "demo/things/d/e/deep")
    assert (gone.exit_code, gone.stdout_bytes) == (5, b"")
    assert "'deep' cannot be read" in gone.stderr


# What is not there, and what is damaged


@pytest.mark.parametrize(
    ("handle", "code", "kind", "words"),
    [
        ("demo/thing", 3, "not_found", "Did you mean 'things'?"),
        ("demo/things:v2", 3, "not_found", "Did you mean 'v1'?"),
        ("demo/things:mian", 3, "not_found", "Did you mean 'main'?"),
        ("demo/things/lagre", 3, "not_found", "Did you mean 'large'?"),
        ("demo/things/a/b", 3, "not_found", "not a directory"),
        ("demo/things:0123456", 3, "not_found", "no version"),
        ("demo/things/../x", 2, "usage", ".."),
        ("demo/things//x", 2, "usage", "component"),
        ("demo/thi ngs", 2, "usage", "dataset name"),
        ("/demo/things", 2, "usage", "is a path"),
        ("", 2, "usage", "bucket is empty"),
        ("demo/things/" + "x" * 256, 2, "usage", "256 bytes"),
        ("demo/things/" + "/".join("x" * 2049), 2, "usage", "2049 levels"),
    ],
)
def test_handles_that_lead_nowhere(run: Run, demo: Any, handle: str, code: int, kind: str, words: str) -> None:
    for command in ("ls", "info", "cat"):
        result = run(command, handle)
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        assert words in result.stderr
        error = json.loads(run(command, handle, "--json").stderr)["error"]
        assert error["kind"] == kind


def test_an_ambiguous_prefix(run: Run, demo: Any, tmp_path: Path) -> None:
    prefix = demo["commit"][:8]
    other = prefix + "0" * 56
    (tmp_path / "store/.penstock/datasets/things/commits" / other).write_bytes(b"{}")
    result = run("info", f"demo/things:{prefix}")
    assert result.exit_code == 3
    assert f"    {other} (commit)\n" in result.stderr
    error = json.loads(run("info", f"demo/things:{prefix}", "--json").stderr)["error"]
    assert (error["kind"], sorted(error["candidates"])) == (
        "ambiguous",
        sorted([f"{other} (commit)", f"{demo['commit']} (commit)"]),
    )


@pytest.mark.parametrize("kind", ["heads/main", "manifests", "commits"])
@pytest.mark.parametrize("damage", ["truncated", "newer"])
def test_damage_is_named(run: Run, demo: Any, tmp_path: Path, kind: str, damage: str) -> None:
    (record,) = (tmp_path / "store/.penstock/datasets/things" / kind).iterdir()
    body = record.read_bytes()
    record.write_bytes(body[:50] if damage == "truncated" else body.replace(b'"penstock": 1', b'"penstock": 9'))
    result = run("info", "demo/things")
    assert result.exit_code == 5
    key = str(record.relative_to(tmp_path / "store"))
    assert key in result.stderr
    assert f"file://{tmp_path}/store" in result.stderr
    assert ("Upgrade" in result.stderr) == (damage == "newer")
    error = json.loads(run("info", "demo/things", "--json").stderr)["error"]
    assert error["kind"] == ("format_too_new" if damage == "newer" else "integrity")


# cache


def test_cache(run: Run, demo: Any) -> None:
    run("cat", "demo/things/large")
    found = json.loads(run("cache", "info", "--json").stdout)
    assert found["blocks"] >= 21
    assert found["max_bytes"] == 256_000_000
    text = run("cache", "info").stdout
    assert f"directory:   {found['directory']}\n" in text
    assert "of 256 MB" in text
    checked = run("cache", "verify", "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["damaged"] == 0
    assert run("cache", "verify").exit_code == 0
    assert json.loads(run("cache", "clear", "--json").stdout)["bytes_freed"] > len(LARGE)
    assert json.loads(run("cache", "info", "--json").stdout)["blocks"] == 0
    assert run("cache", "clear").exit_code == 0
    assert run("cat", "demo/things/large").stdout_bytes == LARGE


def test_damage_in_the_cache_is_told_and_healed(run: Run, demo: Any) -> None:
    run("cat", "demo/things/large")
    directory = Path(json.loads(run("cache", "info", "--json").stdout)["directory"])
    part = LARGE[7 * BLOCK : 7 * BLOCK + 64]
    (segment,) = (each for each in (directory / "segments").iterdir() if part in each.read_bytes())
    with open(segment, "r+b") as file:
        file.seek(segment.read_bytes().index(part))
        file.write(bytes([part[0] ^ 1]))
    checked = run("cache", "verify", "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.stdout)["damaged"] == 1
    assert run("cat", "demo/things/large").stdout_bytes == LARGE
    assert run("cache", "verify").exit_code == 0


def test_cache_alone_shows_what_there_is(run: Run) -> None:
    result = run("cache")
    assert result.exit_code == 0
    assert "clear" in result.stdout
