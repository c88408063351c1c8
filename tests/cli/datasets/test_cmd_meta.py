"""`penstock meta`, `find`, `info --schema`, `sample`, `split`, `validate`, as people type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "object"]


@pytest.fixture
def here(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada")
    run("remote", "add", "demo", str(tmp_path / "store"))
    for name in ("a/1.txt", "a/2.txt", "b.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    assert run("push", "data", "demo/d").exit_code == 0
    return tmp_path


def told(run: Run, *arguments: str) -> object:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return lines[0] if len(lines) == 1 else lines


def test_metadata_is_set_read_and_removed(here: Path, run: Run) -> None:
    made = told(run, "meta", "set", "demo/d", "a/1.txt", "label=cat", "box=[1, 2]", "ok=true", "-m", "label")
    assert (made["bytes_uploaded"], made["changed"]) == (0, True)
    assert told(run, "meta", "get", "demo/d", "a/1.txt") == {"box": [1, 2], "label": "cat", "ok": True}
    assert run("meta", "set", "demo/d/a", "1.txt", "label=dog").exit_code == 0
    assert run("meta", "get", "demo/d", "a/1.txt", "label", "ok").stdout == '"dog"\ntrue\n'
    assert run("meta", "rm", "demo/d", "a/1.txt", "box", "ok").exit_code == 0
    assert told(run, "meta", "get", "demo/d", "a/1.txt") == {"label": "dog"}
    assert run("meta", "rm", "demo/d", "a/1.txt").exit_code == 0
    assert told(run, "meta", "get", "demo/d", "a/1.txt") == {}
    (here / "m.json").write_text('{"title": "D"}')
    assert run("meta", "set", "demo/d", "/", "--file", "m.json").exit_code == 0
    assert told(run, "meta", "get", "demo/d") == {"title": "D"}


def test_many_lines_are_one_version(here: Path, run: Run) -> None:
    rows = [{"path": "a/1.txt", "metadata": {"n": 1}}, {"path": "b.txt", "metadata": {"n": 2}}]
    (here / "l.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert run("meta", "set", "demo/d", "--lines", "l.jsonl").exit_code == 0
    assert len(told(run, "log", "demo/d")) == 2
    assert told(run, "meta", "get", "demo/d", "b.txt") == {"n": 2}
    for bad in ("{}\n", "[1]\n", "nonsense\n", json.dumps(rows[0]) * 2, f"{json.dumps(rows[0])}\n" * 2):
        (here / "l.jsonl").write_text(bad)
        assert run("meta", "set", "demo/d", "--lines", "l.jsonl").exit_code == 2
    assert len(told(run, "log", "demo/d")) == 2


@pytest.mark.parametrize(
    "arguments",
    [("a/1.txt",), ("a/1.txt", "label"), ("a/1.txt", "=x"), (), ("a/1.txt", "x=NaN")],
)
def test_a_command_that_says_nothing_to_set_is_a_mistake(here: Path, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("meta", "set", "demo/d", *arguments).exit_code == 2


def test_files_are_found_and_fields_told(here: Path, run: Run) -> None:
    run("meta", "set", "demo/d", "a/1.txt", "label=cat", "n=1")
    run("meta", "set", "demo/d", "b.txt", "label=dog", "n=22")
    assert run("find", "demo/d", "--where", 'label == "cat" or n > 20').stdout == "a/1.txt\nb.txt\n"
    assert run("find", "demo/d", "a", "--where", "n > 0").stdout == "a/1.txt\n"
    assert told(run, "find", "demo/d", "--where", 'label == "dog"')["metadata"] == {"label": "dog", "n": 22}
    assert run("find", "demo/d", "--where", "labl == 1").exit_code == 2
    assert run("find", "demo/d", "--where", "label ==").exit_code == 2
    shown = run("info", "demo/d", "--schema").stdout
    assert "2 of 3 files have metadata" in shown
    assert "66.7%" in shown
    assert [each["field"] for each in told(run, "info", "demo/d", "--schema")["fields"]] == ["label", "n"]


def test_subsets_are_made_and_rules_held(here: Path, run: Run) -> None:
    run("meta", "set", "demo/d", "a/1.txt", "label=cat")
    assert told(run, "sample", "demo/d", "--n", "2", "--to", "demo/few")["bytes_uploaded"] == 0
    made = told(run, "split", "demo/d", "--train", ".7", "--test", ".3")
    assert [each["handle"] for each in made] == ["demo/d-train:main", "demo/d-test:main"]
    assert run("split", "demo/d").exit_code == 2
    assert run("split", "demo/d", "--part", "x=y").exit_code == 2
    (here / "s.json").write_text('{"required": ["label"]}')
    result = run("validate", "demo/d", "--schema", "s.json")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].startswith("a/2.txt: ")
    assert [
        each["path"]
        for each in map(json.loads, run("validate", "demo/d", "--schema", "s.json", "--json").stdout.splitlines())
    ] == ["a/2.txt", "b.txt"]
    (here / "r.json").write_text('{"folders": ["a"]}')
    assert run("validate", "demo/d", "--rules", "r.json").exit_code == 0
    assert run("validate", "demo/d").exit_code == 2


def test_a_push_keeps_metadata_unless_told(here: Path, run: Run) -> None:
    run("meta", "set", "demo/d", "b.txt", "label=dog")
    (here / "data/new").write_text("new")
    assert run("push", "data", "demo/d").exit_code == 0
    assert told(run, "meta", "get", "demo/d", "b.txt") == {"label": "dog"}
    assert run("diff", "demo/d", "./data").exit_code == 0
    assert run("push", "data", "demo/d", "--drop-metadata").exit_code == 0
    assert told(run, "meta", "get", "demo/d", "b.txt") == {}
    assert told(run, "info", "demo/d")["top_hash"] == run("hash", "data").stdout.strip()


def test_a_data_set_of_hugging_face_is_imported(here: Path, run: Run) -> None:
    (here / "data/metadata.jsonl").write_text('{"file_name": "b.txt", "label": "b"}\n')
    done = told(run, "import-hf", "data", "demo/hf", "--tag", "v1")
    assert (done["handle"], done["files"], done["described"]) == ("demo/hf:v1", 4, 1)
    assert told(run, "meta", "get", "demo/hf:v1", "b.txt") == {"label": "b"}
    assert run("import-hf", "data", "demo/hf").stdout.startswith("demo/hf:main: 4 files, 1 with metadata\n")
    assert run("import-hf", "nothing", "demo/hf").exit_code == 3
