"""``penstock diff`` and ``show`` with --rows, --text, --images; ``penstock merge --rows``; on the disk and on S3."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from trees.directory import write

Run = Callable[..., Result]
NAME = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


def picture(colour: str, size: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


class Tables:
    def __init__(self, run: Run, name: str, folder: Path) -> None:
        self.run, self.name, self.folder = run, name, folder

    def push(self, files: dict[str, bytes], *options: str, ref: str = "main") -> None:
        done = self.run("push", str(write(self.folder, files)), f"{self.name}:{ref}", *options)
        assert done.exit_code == 0, done.stderr


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def tables(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Tables:
    name = "demo/tables"
    if request.param == "local":
        assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    else:
        request.getfixturevalue("aws_environment")
        name = f"{request.getfixturevalue('bucket')}/tables"
    made = Tables(run, name, tmp_path / "tables")
    made.push(
        {"l.csv": b"id,label\n1,cat\n2,dog\n", NAME: picture("red"), "n.txt": b"one\ntwo\n", "x.bin": b"\0"},
        "--tag",
        "v1",
    )
    return made


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_differs_within_files(tables: Tables, run: Run, tmp_path: Path) -> None:
    tables.push(
        {"l.csv": b"id,label\n1,cat\n2,fox\n3,owl\n", NAME: picture("blue", 30), "n.txt": b"one\n2\n", "x.bin": b"\0x"}
    )
    page = tmp_path / "changed.html"
    asked = (f"{tables.name}:v1", "main", "--rows", "--key", "id", "--text", "--images", str(page))
    done = run("diff", *asked)
    assert done.exit_code == 1
    assert "l.csv\n    1 added, 0 removed, 1 changed; 2 rows before, 3 after\n" in done.stdout
    assert "    ~ id=2: label dog -> fox\n    + id=3, label=owl\n" in done.stdout
    assert "n.txt\n    @@ -1,2 +1,2 @@\n     one\n    -two\n    +2\n" in done.stdout
    assert f"{page} shows 1 changed picture\n" in done.stderr
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "20 x 20, RGB" in text
    assert "30 x 30, RGB" in text
    assert "100.0% of it differs" in text
    assert "<img src=x" not in text
    rows = next(each for each in lines(run("diff", *asked, "--json")) if "table" in each)
    assert rows["rows"][0] == {"before": {"id": "2", "label": "dog"}, "after": {"id": "2", "label": "fox"}}
    assert "~ id=2: label dog -> fox" in run("show", tables.name, "--rows", "--key", "id").stdout
    assert run("show", tables.name, "--rows", "--key", "id", "--json").exit_code == 2
    local = run("diff", f"{tables.name}:v1", str(tables.folder), "--rows", "--key", "id")
    assert "~ id=2: label dog -> fox" in local.stdout
    wrong = run("diff", f"{tables.name}:v1", "main", "--rows", "--key", "name")
    assert (wrong.exit_code, "has no column 'name'" in wrong.stderr) == (2, True)
    assert run("diff", f"{tables.name}:v1", "main", "--key", "id").exit_code == 2


def test_tables_are_joined_by_rows_and_a_row_that_both_changed_is_named(tables: Tables, run: Run) -> None:
    base = b'id,label,note\n1,cat,"a\nb"\n2,dog,\n3,owl,\n4,emu,\n'
    tables.push({"l.csv": base, "r.jsonl": b'{"id": 1}\n'}, "--tag", "base")
    assert run("branch", tables.name, "side", "base").exit_code == 0
    theirs = base.replace(b"3,owl,\n", b"").replace(b"2,dog", b"2,fox") + b"6,new,\n"
    tables.push({"l.csv": theirs, "r.jsonl": b'{"id": 1}\n{"id": 3}\n'}, ref="side")
    tables.push({"l.csv": base.replace(b"1,cat", b"1,lynx") + b"5,yak,\n", "r.jsonl": b'{"id": 2}\n{"id": 1}\n'})
    assert run("merge", f"{tables.name}:side").exit_code == 4
    unknown = run("merge", f"{tables.name}:side", "--rows", "none")
    assert (unknown.exit_code, "has no column 'none'" in unknown.stderr) == (2, True)
    done = run("merge", f"{tables.name}:side", "--rows", "id")
    assert done.exit_code == 0, done.stderr
    assert "joined: l.csv, r.jsonl" in done.stdout
    assert run("cat", f"{tables.name}/l.csv").stdout_bytes == (
        b'id,label,note\n1,lynx,"a\nb"\n2,fox,\n4,emu,\n5,yak,\n6,new,\n'
    )
    assert run("cat", f"{tables.name}/r.jsonl").stdout == '{"id": 2}\n{"id": 1}\n{"id": 3}\n'

    assert run("branch", tables.name, "other", "base").exit_code == 0
    tables.push({"l.csv": base.replace(b"1,cat", b"1,dog"), "r.jsonl": b'{"id": 1}\n'}, ref="other")
    refused = run("merge", f"{tables.name}:other", "--rows", "id")
    assert refused.exit_code == 4
    assert "both sides changed l.csv: row id=1" in refused.stderr
