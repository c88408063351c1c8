"""Every command of a project with ``--json``: each line is JSON, of the shape that docs/JSON.md says (see `shapes`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from views.datasets_in_git import new_repository
from views.directories import write_tree

from penstock.cli.declared.git_datasets import root as datasets_root

from .conftest import run_in

DECLARED = """
from pathlib import Path
from penstock import dataset, File, ingest, txt

@dataset(remote="store")
class Notes:
    note: File[txt]

    @ingest
    def read_notes():
        return sorted(Path("../web").glob("*.txt"))
"""


def asked(directory: Path, *words: str, code: int = 0) -> list[Any]:
    """Return the lines that a command answers."""
    return [json.loads(line) for line in run_in(directory, "penstock", "--json", *words, code=code).splitlines()]


def commit(directory: Path, message: str) -> None:
    run_in(directory, "git", "add", "-A")
    run_in(directory, "git", "commit", "-q", "-m", message)


def test_tracked_data(registry: Path, tmp_path: Path) -> None:
    write_tree(registry / "raw", {"a": b"1", "labels.csv": b"1\n2\n3\n"})
    assert asked(registry, "init")[0]["new"] is False
    assert asked(registry, "remote", "list")[0]["default"] is True
    assert asked(registry, "remote", "default") == [{"default": "storage"}]
    assert asked(registry, "add", "raw")[0]["added"] == 2
    commit(registry, "one")
    assert asked(registry, "push")[0]["sent"] == ["raw"]
    (registry / "raw" / "a").write_bytes(b"22")
    (found,) = asked(registry, "status", code=1)
    assert found["changes"] == [{"change": "modified", "path": "a"}]
    assert found["counts"] == {"added": 0, "modified": 1, "deleted": 0}
    asked(registry, "add", "raw")
    (found,) = asked(registry, "diff", code=1)
    assert (found["change"], found["path"], found["old_size"], found["new_size"]) == ("modified", "raw/a", 1, 2)
    assert asked(registry, "diff", "--stat", code=1)[0]["bytes_added"] == 2
    assert asked(registry, "trust", "--show")[0]["runs"] is True
    commit(registry, "two")
    asked(registry, "push")
    assert asked(registry, "gc")[0]["deleted"] is False
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "-q", str(registry), str(clone))
    asked(clone, "trust")
    asked(clone, "fetch")
    assert asked(clone, "pull")[0]["fetched"] == 2
    assert asked(clone, "checkout")[0]["path"] == "raw"
    assert asked(clone, "trust", str(registry))[0]["repository"]
    assert asked(clone, "list", str(registry))[0]["path"] == "raw"
    assert asked(clone, "get", str(registry), "raw", "-o", "copy")[0]["files"] == 2
    # An import that checks out answers as one that does not.
    assert len(asked(clone, "import", str(registry), "raw", "-o", "inputs")) == 1
    assert len(asked(clone, "update")) == 1


def test_a_conflict_of_pointers(registry: Path) -> None:
    for branch, body in (("main", b"0"), ("one", b"1"), ("other", b"2")):
        run_in(registry, "git", "checkout", "-q", "-B", branch, *(["main"] if branch != "main" else []), code=None)
        write_tree(registry / "raw", {"a": body})
        run_in(registry, "penstock", "add", "raw")
        commit(registry, branch)
    run_in(registry, "git", "merge", "-q", "one", code=1)
    (found,) = asked(registry, "merge-pointer", "raw", "--theirs")
    assert (found["path"], found["both"]) == ("raw", [])


def test_stages(registry: Path) -> None:
    (registry / "params.yaml").write_text("n: 3\n")
    write_tree(registry / "data", {"x": b"x"})
    command = ("-p", "n", "-d", "data", "-m", "m.json", "--plot", "t.csv")
    script = """sh -c 'echo {\\"loss\\": 1.5} > m.json; printf "step,loss\\n1,2\\n2,1\\n" > t.csv'"""
    assert asked(registry, "stage", "add", "-n", "count", *command, script)[0]["stage"] == "count"
    assert asked(registry, "stage", "list")[0]["parameters"] == ["params.yaml:n"]
    assert asked(registry, "status", code=1)[-1]["state"] == "stale"
    assert asked(registry, "repro", "--dry", code=1)[0]["outcome"]
    ended = run_in(registry, "penstock", "--json", "repro")
    assert '"outcome": "ran"' in ended
    commit(registry, "one")
    assert asked(registry, "metrics", "show")[0]["metrics"] == {"m.json": {"loss": 1.5}}
    (registry / "params.yaml").write_text("n: 4\n")
    (registry / "m.json").write_text('{"loss": 2.5}\n')
    assert asked(registry, "metrics", "diff", code=1)[0]["change"] == 1.0
    assert asked(registry, "params", "diff", code=1)[0]["new"] == 4
    assert asked(registry, "dag")[0]["nodes"]
    assert asked(registry, "plots", "-o", "p.html")[0]["out"] == "p.html"
    assert asked(registry, "run", "-n", "more", "-o", "out", "touch out")[0]["outcome"] == "ran"


def test_datasets_as_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    repository = new_repository(tmp_path / "repository", tmp_path / "home")
    for name in list(os.environ):
        if name not in repository.env:
            monkeypatch.delenv(name)
    for name, value in repository.env.items():
        monkeypatch.setenv(name, value)
    run_in(tmp_path, "penstock", "remote", "add", "store", str(tmp_path / "store"))
    write_tree(tmp_path / "web", {"a.txt": b"a", "b.txt": b"b"})
    monkeypatch.chdir(repository.root)

    def answer(*words: str, code: int = 0) -> list[Any]:
        done = CliRunner().invoke(datasets_root, ["--json", *words])
        assert done.exit_code == code, (words, done.output)
        return [json.loads(line) for line in done.stdout.splitlines()]

    repository.write(DECLARED)
    assert answer("track", "index.py")[0]["file"] == "index.py"
    repository.git("add", "index.py")
    assert answer("status", code=1)[0]["head"] is None
    assert answer("trust")[0]["files"] == ["index.py"]
    assert answer("run")[0]["records"] == 2
    repository.git("commit", "-q", "-m", "one")
    assert answer("status")[0]["problems"] == []
    assert answer("schema")[0]["datasets"][0]["class"] == "Notes"
    assert answer("log")[0]["records"] == 2
    assert answer("config", "errors") == [{"name": "errors", "value": "refuse"}]
    assert all(each["ok"] for each in answer("doctor"))
    assert answer("checkout")[0]["kept"] == []
    repository.git("init", "-q", "--bare", "../origin")
    repository.git("remote", "add", "origin", "../origin")
    assert answer("push")
    answer("pull")
    assert answer("untrack", "index.py")[0]["file"] == "index.py"
