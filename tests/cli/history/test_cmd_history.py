"""``penstock log``, ``show``, ``diff``, ``tag``, ``branch``, ``merge``, ``reset`` and ``revert``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


class Demo:
    """The remote ``demo`` with the dataset ``things``: ``first`` (tag v1), then ``second``."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.folder = folder / "things"
        assert run("remote", "add", "demo", str(folder / "store")).exit_code == 0
        self.first = self.push(
            {"a": "1\n", "d/x": "2\n", "old/p": "3\n", "old/q": "4\n"}, "first\nand more", "--tag", "v1"
        )
        self.second = self.push({"a": "changed\n", "d/x": "2\n", "new/p": "3\n", "new/q": "4\n"}, "second")

    def push(self, content: dict[str, str], message: str, *options: str, ref: str = "main") -> str:
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, text in content.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        done = self.ok("push", str(self.folder), f"demo/things:{ref}", "-m", message, "--json", *options)
        commit: str = json.loads(done)["commit"]
        return commit

    def ok(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def lines(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self.ok(*arguments, "--json").splitlines()]

    def fails(self, code: int, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert (result.exit_code, result.stdout) == (code, "")
        return json.loads(result.stderr)["error"]


@pytest.fixture
def demo(run: Run, tmp_path: Path) -> Demo:
    return Demo(run, tmp_path)


# log


def test_log(demo: Demo) -> None:
    shown = demo.ok("log", "demo/things")
    assert shown.startswith(f"commit {demo.second} (main)\nAuthor:  Tester <t@example.org>\nDate:    20")
    assert f"\n\n    second\n\ncommit {demo.first} (v1)\n" in shown
    assert shown.endswith("\n    first\n    and more\n")
    assert demo.ok("log", "demo/things", "--oneline") == (
        f"{demo.second[:12]} (main) second\n{demo.first[:12]} (v1) first\n"
    )
    assert demo.ok("log", "demo/things", "-n", "1", "--oneline") == f"{demo.second[:12]} (main) second\n"
    assert demo.ok("log", "demo/things:v1", "--oneline") == f"{demo.first[:12]} (v1) first\n"
    newest, oldest = demo.lines("log", "demo/things")
    assert (newest["commit"], newest["parents"], newest["message"]) == (demo.second, [demo.first], "second")
    assert (oldest["parents"], oldest["entries"], oldest["bytes"]) == ([], 6, 8)


def test_log_of_a_path(demo: Demo) -> None:
    for arguments, expected in (
        (["demo/things", "a"], [demo.second, demo.first]),
        (["demo/things", "d"], [demo.first]),
        (["demo/things:main/d/x"], [demo.first]),
        (["demo/things:main/new", "p"], [demo.second]),
    ):
        assert [each["commit"] for each in demo.lines("log", *arguments)] == expected
    assert "'nothing'" in demo.fails(3, "log", "demo/things", "nothing")["what"]
    assert demo.fails(2, "log", "demo/things", "a", "--reflog")["kind"] == "usage"
    assert demo.fails(3, "log", "demo/nothings")["kind"] == "not_found"
    assert demo.fails(3, "log", "demo")["kind"] == "not_found"


def test_log_of_the_moves_of_a_branch(demo: Demo) -> None:
    demo.ok("reset", "demo/things", "v1")
    moves = demo.lines("log", "demo/things", "--reflog")
    assert [(each["operation"], each["commit"]) for each in moves] == [
        ("reset", demo.first),
        ("push", demo.second),
        ("push", demo.first),
    ]
    first, *_ = demo.ok("log", "demo/things", "--reflog", "-n", "1").splitlines()
    assert first.startswith(f"{demo.first[:12]} main#2 reset, 20")


# show


def test_show(demo: Demo) -> None:
    shown = demo.ok("show", "demo/things")
    assert f"Parent:      {demo.first}\n" in shown
    assert "Changed:     3 added, 1 modified, 3 deleted (+12 B, -6 B)\n" in shown
    assert "command push" in shown
    assert shown.endswith("\n    second\n")
    assert demo.ok("show", "demo/things", "--stat").endswith("\n    second\n\nM a\nR old/ -> new/\n")
    found = demo.json("show", "demo/things:v1", "--stat")
    assert (found["commit"], found["changes"]["added"]) == (demo.first, 6)
    assert [each["path"] for each in found["paths"]] == ["a", "d", "d/x", "old", "old/p", "old/q"]
    assert found["environment"]["command"] == "push"
    assert "paths" not in demo.json("show", "demo/things")
    assert demo.fails(2, "show", "demo/things:v1/d")["kind"] == "usage"


# diff


def test_diff_of_versions(demo: Demo, run: Run) -> None:
    result = run("diff", "demo/things:v1", "main")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "M a\nR old/ -> new/\n", "")
    assert run("diff", "demo/things:v1", "demo/things:main").stdout == result.stdout
    assert run("diff", "demo/things:v1", demo.second[:8]).stdout == result.stdout
    assert run("diff", "demo/things:v1", "main", "old").stdout == "D old/\nD old/p\nD old/q\n"
    assert run("diff", "demo/things:v1/old", "main").stdout == "D old/\nD old/p\nD old/q\n"
    assert run("diff", "demo/things:main", "v1", "new").stdout == "D new/\nD new/p\nD new/q\n"
    assert run("diff", "demo/things:v1", "main", "--stat").stdout == (
        "0 added, 1 modified, 0 deleted, 1 renamed (+8 B, -2 B)\n"
    )
    records = [json.loads(line) for line in run("diff", "demo/things:v1", "main", "--json").stdout.splitlines()]
    assert [(each["change"], each["path"], each["old_path"]) for each in records] == [
        ("modified", "a", None),
        ("renamed", "new", "old"),
    ]
    assert (records[0]["old_size"], records[0]["new_size"], records[1]["kind"]) == (2, 8, "directory")
    counts = json.loads(run("diff", "demo/things:v1", "main", "--stat", "--json").stdout)
    assert (counts["modified"], counts["renamed"]) == (1, 1)


def test_diff_of_what_is_equal(demo: Demo, run: Run) -> None:
    same = run("diff", "demo/things:v1", "v1")
    assert (same.exit_code, same.stdout, same.stderr) == (0, "", "penstock: No changes\n")
    quiet = run("diff", "demo/things:v1", "main", "d", "--json")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_diff_with_a_directory(demo: Demo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(demo.folder)
    assert run("diff", "demo/things", here).exit_code == 0
    assert run("diff", "demo/things:main/new", f"{here}/new").exit_code == 0
    (demo.folder / "z").write_text("z")
    (demo.folder / "d").rename(demo.folder / "e")
    result = run("diff", "demo/things", here)
    assert (result.exit_code, result.stdout) == (1, "R d/ -> e/\nA z\n")
    assert run("diff", "demo/things", here, "a").exit_code == 0
    monkeypatch.chdir(demo.folder.parent)
    assert run("diff", "demo/things", "./things").stdout == result.stdout
    # It is what a push makes of it.
    after = demo.ok("push", here, "demo/things", "--json")
    assert run("diff", "demo/things", here).exit_code == 0
    assert json.loads(after)["bytes_uploaded"] == 1


def test_diff_of_what_is_not_there(demo: Demo) -> None:
    assert demo.fails(3, "diff", "demo/things:v1", "nope")["kind"] == "not_found"
    assert demo.fails(3, "diff", "demo/things:v1", "main", "nothing")["what"] == "neither version has 'nothing'"
    assert demo.fails(2, "diff", "demo/things:v1/d", "demo/things:main/new")["kind"] == "usage"
    assert demo.fails(3, "diff", "demo/things:v1", "./nothing")["kind"] == "not_found"
    assert demo.fails(3, "diff", "demo/things:v1/nothing", str(demo.folder))["kind"] == "not_found"


# branch and tag


def test_branches(demo: Demo, run: Run) -> None:
    assert demo.json("branch", "demo/things", "review")["commit"] == demo.second
    demo.ok("branch", "demo/things", "fixes", "v1")
    found = {each["branch"]: each["commit"] for each in demo.lines("branch", "demo/things")}
    assert found == {"fixes": demo.first, "main": demo.second, "review": demo.second}
    listed = demo.ok("branch", "demo/things").splitlines()
    assert listed[0].startswith(f"fixes   {demo.first[:12]}  20")
    assert listed[0].endswith("first")
    assert demo.fails(4, "branch", "demo/things", "review")["kind"] == "conflict"
    assert demo.fails(2, "branch", "demo/things", "v1")["kind"] == "usage"
    assert demo.fails(2, "branch", "demo/things", "-d")["kind"] == "usage"
    assert demo.fails(2, "branch", "demo/things", "-d", "main")["fix"].startswith("Add --force")
    assert demo.json("branch", "demo/things", "-d", "review")["deleted"]
    assert "it stood at" in demo.ok("branch", "demo/things", "-d", "fixes")
    assert [each["branch"] for each in demo.lines("branch", "demo/things")] == ["main"]
    assert demo.fails(3, "branch", "demo/nothings")["kind"] == "not_found"


def test_tags(demo: Demo) -> None:
    assert demo.json("tag", "demo/things", "v2")["commit"] == demo.second
    assert demo.first in demo.ok("tag", f"demo/things:{demo.first[:9]}", "again")
    assert {each["tag"]: each["commit"] for each in demo.lines("tag", "demo/things")} == {
        "again": demo.first,
        "v1": demo.first,
        "v2": demo.second,
    }
    assert demo.ok("tag", "demo/things").splitlines()[2].startswith(f"v2     {demo.second[:12]}")
    assert demo.fails(4, "tag", "demo/things", "v1")["kind"] == "conflict"
    refused = demo.fails(2, "tag", "demo/things", "-d", "v1")
    assert "for ever" in refused["why"]
    assert demo.fails(3, "tag", "demo/nothings")["kind"] == "not_found"


# merge


def forked(demo: Demo) -> str:
    """Change what main has changed since v1 as well, and more, on the branch fixes."""
    demo.ok("branch", "demo/things", "fixes", "v1")
    content = {"a": "otherwise\n", "d/x": "2\n", "d/z": "new\n", "old/p": "3\n", "old/q": "4\n"}
    return demo.push(content, "fix", ref="fixes")


def test_a_merge_with_a_conflict(demo: Demo) -> None:
    fix = forked(demo)
    error = demo.fails(4, "merge", "demo/things:fixes", "--into", "main")
    assert (error["kind"], error["candidates"]) == ("merge_conflict", ["a: modified in ours, modified in theirs"])
    told = demo.run("merge", "demo/things:fixes")
    assert told.stderr.splitlines()[0] == "penstock: 1 path has changed on both sides"
    assert "--theirs" in told.stderr
    assert [each["commit"] for each in demo.lines("log", "demo/things", "--reflog")] == [demo.second, demo.first]
    tried = demo.json("merge", "demo/things:fixes", "--theirs", "a", "--dry-run")
    assert (tried["commit"], tried["from_theirs"], tried["settled"]) == (None, 1, 1)
    demo.fails(4, "merge", "demo/things:fixes", "--theirs", "d")
    done = demo.json("merge", "demo/things:fixes", "--theirs", "a", "-m", "both")
    assert (done["result"], done["base"]) == ("merge", demo.first)
    newest = demo.lines("log", "demo/things")[0]
    assert (newest["parents"], newest["message"]) == ([demo.second, fix], "both")
    assert demo.ok("cat", "demo/things/a") == "otherwise\n"
    assert demo.ok("ls", "demo/things", "-r").split() == ["a", "d/", "d/x", "d/z", "new/", "new/p", "new/q"]
    assert f"Merge:   {demo.second[:12]} {fix[:12]}\n" in demo.ok("log", "demo/things", "-n", "1")


def test_a_merge_that_keeps_ours(demo: Demo) -> None:
    forked(demo)
    assert demo.ok("merge", "demo/things:fixes", "--ours").endswith(
        "changes from fixes: 1, of its own: 2, conflicts settled: 1\n"
    )
    assert demo.ok("cat", "demo/things/a") == "changed\n"
    assert demo.fails(2, "merge", "demo/things:fixes", "--ours", "a", "--theirs", "a")["kind"] == "usage"


def test_the_nearest_path_settles(demo: Demo) -> None:
    demo.ok("branch", "demo/things", "side")
    names = ["d/x", "d/y/1", "d/y/2", "e"]
    for ref in ("main", "side"):
        demo.push(dict.fromkeys(names, f"{ref}\n"), "both", ref=ref)
    demo.ok("merge", "demo/things:side", "--ours", "--theirs", "d", "--ours", "d/y", "--theirs", "d/y/2")
    found = [demo.ok("cat", f"demo/things/{name}").strip() for name in names]
    assert found == ["side", "main", "side", "main"]


def test_merges_that_are_none(demo: Demo) -> None:
    demo.ok("branch", "demo/things", "behind", "v1")
    assert demo.ok("merge", "demo/things:main", "--into", "behind", "--dry-run").endswith(
        f"would move forward to {demo.second[:12]}\n"
    )
    assert demo.json("merge", "demo/things:main", "--into", "behind")["result"] == "fast-forward"
    assert demo.ok("merge", "demo/things:v1").endswith("has all of v1 already\n")
    assert demo.fails(2, "merge", "demo/things")["kind"] == "usage"
    assert demo.fails(3, "merge", "demo/things:v1", "--into", "nope")["kind"] == "not_found"


# reset and revert


def test_reset(demo: Demo) -> None:
    done = demo.json("reset", "demo/things", "v1")
    assert (done["commit"], done["before"], done["changed"]) == (demo.first, demo.second, True)
    assert demo.ok("cat", "demo/things/a") == "1\n"
    assert demo.ok("cat", f"demo/things:{demo.second}/a") == "changed\n"
    assert "already" in demo.ok("reset", "demo/things", demo.first[:10])
    assert demo.second in demo.ok("log", "demo/things", "--reflog", "--json")
    assert demo.ok("reset", "demo/things:main", demo.second).endswith(f"it was at {demo.first}\n")
    assert demo.fails(3, "reset", "demo/things", "0123456")["kind"] == "not_found"
    assert demo.fails(2, "reset", "demo/things:v1", "main")["kind"] == "usage"


def test_revert(demo: Demo) -> None:
    third = {"a": "changed\n", "d/x": "third\n", "new/p": "3\n", "new/q": "4\n"}
    demo.push(third, "third")
    done = demo.json("revert", "demo/things", demo.second)
    assert done["changed"]
    newest = demo.lines("log", "demo/things")[0]
    assert newest["message"] == f'Revert "second"\n\nThis undoes {demo.second}.'
    assert demo.ok("cat", "demo/things/a", "demo/things/d/x", "demo/things/old/p") == "1\nthird\n3\n"
    assert "nothing" in demo.ok("revert", "demo/things", demo.second)
    assert demo.ok("revert", "demo/things", "main", "-m", "no, keep it").endswith(": no, keep it\n")
    assert demo.ok("cat", "demo/things/a") == "changed\n"


def test_revert_of_what_was_changed_again(demo: Demo) -> None:
    demo.push({"a": "once more\n", "d/x": "2\n", "new/p": "3\n", "new/q": "4\n"}, "third")
    error = demo.fails(4, "revert", "demo/things", demo.second)
    assert error["candidates"] == ["a: modified in ours, modified in theirs"]
    demo.ok("revert", "demo/things", demo.second, "--ours", "a")
    assert demo.ok("cat", "demo/things/a", "demo/things/old/q") == "once more\n4\n"


def test_revert_of_the_first_version(demo: Demo) -> None:
    demo.ok("revert", "demo/things", "v1", "--ours")
    assert demo.ok("ls", "demo/things", "-r").split() == ["a", "new/", "new/p", "new/q"]


def test_a_top_hash_names_a_commit(demo: Demo) -> None:
    top_hash = demo.json("show", "demo/things:v1")["top_hash"]
    assert demo.json("show", f"demo/things:{top_hash[:12]}")["commit"] == demo.first
    assert demo.json("reset", "demo/things", top_hash)["commit"] == demo.first


def test_log_shows_refs_and_draws(demo: Demo) -> None:
    demo.ok("branch", "demo/things", "side", "v1")
    demo.push({"a": "1\n", "b": "new\n"}, "beside", ref="side")
    demo.ok("merge", "demo/things:side", "--into", "main", "--theirs", "--ours", "a")
    lines = demo.ok("log", "demo/things", "--oneline", "--graph").splitlines()
    assert lines[0].startswith("* ")
    assert " (main) " in lines[0]
    assert lines[1] == "|\\"
    assert lines[-1].endswith(" (v1) first")
    assert [each["refs"] for each in demo.lines("log", "demo/things")][-1] == ["v1"]
    assert "Date:    20" in demo.ok("log", "demo/things", "-n", "1")


def test_show_counts_renames_as_diff_does(demo: Demo, run: Run) -> None:
    counts = json.loads(run("diff", "demo/things:v1", "main", "--stat", "--json").stdout)
    assert demo.json("show", "demo/things", "--stat")["changes"] == counts


def test_lines_that_both_changed_are_joined(demo: Demo, run: Run) -> None:
    lines = [f"row {number}\n" for number in range(20)]
    demo.push({"table": "".join(lines), "bytes": "\0"}, "base")
    demo.ok("branch", "demo/things", "side")
    demo.push({"table": "".join(["first\n", *lines[1:]]), "bytes": "\0"}, "there")
    demo.push({"table": "".join([*lines[:-1], "last\n"]), "bytes": "\0"}, "here", ref="side")
    assert demo.fails(4, "merge", "demo/things:side")["candidates"][0].startswith("table: ")
    assert "joined: table" in demo.ok("merge", "demo/things:side", "--text", "--dry-run")
    assert demo.json("merge", "demo/things:side", "--text")["joined"] == ["table"]
    assert demo.ok("cat", "demo/things/table") == "".join(["first\n", *lines[1:-1], "last\n"])
    demo.push({"table": "mine\n", "bytes": "\0a"}, "here again", ref="side")
    demo.push({"table": "yours\n", "bytes": "\0b"}, "there again")
    told = demo.fails(4, "merge", "demo/things:side", "--text")
    assert {each.partition(":")[0] for each in told["candidates"]} == {"table", "bytes"}
