"""What commands answer with ``--json``: documented question by question, one shape each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from views import json_shapes

Run = Callable[..., Result]

NO_JSON = frozenset({"cat"})
"""Commands that write what they are asked for, and have nothing to tell."""
_MOST_NEW = 8
"""Commands that may be without a schema for a while."""


def answers(result: Result, code: int = 0) -> list[Any]:
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_command_has_a_schema() -> None:
    known = json_shapes.load()
    asked = {name.partition(" --")[0].removesuffix(" of a project") for name in known}
    asked |= {name.rpartition(" ")[0] for name in known if name.split()[-1].isupper()}
    commands = set(json_shapes.all_commands())
    assert not NO_JSON & asked
    new = commands - asked - NO_JSON
    assert len(new) <= _MOST_NEW, f"PENSTOCK_LEARN_JSON=1 learns what these answer: {sorted(new)}"
    for name, each in known.items():
        assert each["form"] in ("document", "lines")
        json_shapes.validator(each["schema"])
        assert name.partition(" ")[0] in {command.partition(" ")[0] for command in commands}


def test_the_page_has_the_table_of_the_schemas() -> None:
    assert json_shapes.table() in json_shapes.PAGE.read_text()


def test_an_answer_of_another_shape_is_noticed() -> None:
    shape = json_shapes.validator(json_shapes.load()["cache clear"]["schema"])
    assert shape.is_valid({"bytes_freed": 1})
    for wrong in ({"bytes_freed": "1"}, {}, [{"bytes_freed": 1}]):
        assert not shape.is_valid(wrong)


@pytest.mark.fuse
def test_mounts(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    source, there = tmp_path / "things", tmp_path / "mnt"
    source.mkdir()
    there.mkdir()
    (source / "a").write_text("text")
    assert run("remote", "add", "demo", str(tmp_path / "store"), "--json").exit_code == 0
    assert run("push", str(source), "demo/things").exit_code == 0

    def ours(*words: str) -> Any:
        told = run(*words, "--json")
        listed = map(json.loads, told.stdout.splitlines())  # those of others, too
        (found,) = (each for each in listed if each["mountpoint"] == str(there))
        return found

    try:
        assert answers(run("mount", "-w", "demo/things", str(there), "--json"))[0]["mountpoint"] == str(there)
        assert answers(run("stat", str(there / "a"), "--json"))[0]["kind"] == "file"
        (there / "a").write_text("changed")
        assert answers(run("diff", str(there), "--stat", "--json"), 1)[0]["modified"] == 1
        assert answers(run("status", str(there), "--json"))[0]["changes"][0]["change"] == "modified"
        assert answers(run("status", str(there), "--access-log", "off", "--json")) == [{"access_log": None}]
        assert ours("mounts")["state"] == "mounted"
        assert ours("top", "-d", "0.2")["alive"] is True
        assert answers(run("restart", str(there), "--json"))[0]["mountpoint"] == str(there)
        assert answers(run("overlay", "check", str(there), "--json"))[0]["whole"] is True
        assert answers(run("umount", str(there), "--json"))[0]["changes"] == str(there)
        assert ours("mounts", "--all")["state"] == "unmounted"
        assert answers(run("status", str(there), "--json"))[0]["state"] == "unmounted"
        assert answers(run("overlay", "rescue", str(there), str(tmp_path / "saved"), "--json"))
        assert answers(run("discard", str(there), "--yes", "--json"))
    finally:
        run("umount", "--force", str(there))


def test_packages(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a").write_text("a")
    run("remote", "add", "demo", "./store")
    assert answers(run("package", "init", "demo/photos", "--json")) == [{"name": "demo/photos"}]
    assert answers(run("package", "add", "train/", "--json"))[0]["key"]
    assert answers(run("package", "set", "b", "train/a", "--json"))[0]["key"] == "b"
    assert answers(run("package", "status", "--json"))[0]["entries"] == 3  # a directory among them
    assert answers(run("package", "build-manifest", "--json"))[0]["top_hash"]
    answers(run("package", "push-data", "--json"))
    answers(run("package", "push-manifest", "-t", "v1", "--json"))
    answers(run("package", "install", "demo/photos:v1", "--location", "here", "--json"))
    answers(run("export", "demo/photos", "--jsonl", "t.jsonl", "--json"))
    answers(run("meta", "set", "demo/photos", "b", "label=cat", "--json"))
    assert answers(run("meta", "get", "demo/photos", "b", "--json")) == [{"label": "cat"}]
    answers(run("meta", "rm", "demo/photos", "b", "--json"))
    assert answers(run("info", "demo/photos", "--schema", "--json"))[0]["described"] == 0
    assert len(answers(run("split", "demo/photos", "--part", "l=1", "--part", "r=1", "--json"))) == 2
    assert answers(run("log", "demo/photos", "--reflog", "--json"))
    assert answers(run("tag", "demo/photos", "--json"))[0]["tag"] == "v1"
    assert answers(run("gc", "demo", "--forget", "--json"))
    for command in (("info",), ("clear",), ("verify",)):
        answers(run("cache", *command, "--json"))


def test_keys_of_a_server(run: Run, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"), "--json")
    (made,) = answers(run("key", "create", "--admin", "--title", "mine", *state))
    (found,) = answers(run("key", "list", *state))
    assert found["id"] == made["id"]
    assert answers(run("key", "revoke", made["id"], *state)) == [{"revoked": made["id"]}]
