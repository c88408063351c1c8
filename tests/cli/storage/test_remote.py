"""``penstock remote``, in process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def listed(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_add_list_remove(run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("remote", "add", "demo", "./store").stdout == f"demo is file://{tmp_path}/store, in {config}\n"
    added = run(
        "remote", "add", "lab", "s3://lab/x", "--endpoint-url", "http://127.0.0.1:9", "--profile", "p", "--region", "r",
        "--addressing-style", "path", "--request-payer", "--sse", "aws:kms", "--sse-kms-key-id", "k", "--deadline", "5",
        "--json",
    )  # fmt: skip
    lab = {
        "name": "lab",
        "url": "s3://lab/x",
        "endpoint_url": "http://127.0.0.1:9",
        "profile": "p",
        "region": "r",
        "addressing_style": "path",
        "request_payer": True,
        "sse": "aws:kms",
        "sse_kms_key_id": "k",
        "deadline": 5.0,
    }
    known = {"config": str(config), "default": False, "trusted": True}
    assert json.loads(added.stdout) == {**known, **lab}
    assert not (tmp_path / "store").exists()

    lines = run("remote", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "URL", "OPTIONS"]
    assert lines[1].split() == ["demo", f"file://{tmp_path}/store"]
    assert "request_payer" in lines[2]
    demo = {"name": "demo", "url": f"file://{tmp_path}/store"}
    assert listed(run("remote", "list", "--json")) == [{**known, **demo}, {**known, **lab}]

    assert run("remote", "remove", "lab").exit_code == 0
    assert json.loads(run("remote", "remove", "demo", "--json").stdout)["name"] == "demo"
    assert listed(run("remote", "list", "--json")) == []
    assert run("remote", "list").stdout == ""
    assert "no remotes" in run("remote", "list").stderr


def test_a_name_that_is_taken(run: Run) -> None:
    assert run("remote", "add", "demo", "s3://one").exit_code == 0
    assert run("remote", "add", "demo", "s3://one").exit_code == 0
    refused = run("remote", "add", "demo", "s3://two")
    assert refused.exit_code == 4
    assert "s3://one" in refused.stderr
    assert "--force" in refused.stderr
    assert run("remote", "add", "--force", "demo", "s3://two").exit_code == 0
    assert [each["url"] for each in listed(run("remote", "list", "--json"))] == ["s3://two"]


def test_another_file(run: Run, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, set_ = tmp_path / "named.toml", tmp_path / "set.toml"
    assert run("--config", str(named), "remote", "list").exit_code == 3
    assert run("--config", str(named), "remote", "add", "a", "s3://a1").exit_code == 0
    monkeypatch.setenv("PENSTOCK_CONFIG", str(set_))
    assert run("remote", "add", "b", "s3://b1").exit_code == 0
    assert [each["url"] for each in listed(run("remote", "list", "--json"))] == ["s3://b1"]
    assert [each["url"] for each in listed(run("--config", str(named), "remote", "list", "--json"))] == ["s3://a1"]
    assert not config.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["add", "a/b", "s3://b"], 2, "not a bucket name"),
        (["add", "demo", "store"], 2, "./dir"),
        (["add", "demo", "ftp://b"], 2, "not an address"),
        (["add", "demo", "./store", "--region", "x"], 2, "is a directory"),
        (["add", "demo", "s3://bb", "--anonymous", "--profile", "x"], 2, "anonymous"),
        (["add", "demo", "s3://bb", "--endpoint-url", "lab:9000"], 2, "endpoint"),
        (["add", "demo", "s3://bb", "--deadline", "-1"], 2, "deadline"),
        (["remove", "demo"], 3, "there is no remote 'demo'"),
    ],
)
def test_what_is_refused(arguments: list[str], code: int, words: str, run: Run, config: Path) -> None:
    result = run("remote", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "fix:" in result.stderr
    assert not config.exists()


def test_a_file_that_is_wrong_is_named(run: Run, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("[remotes.demo]\nurll = 's3://b'\n")
    for arguments in (["list"], ["add", "x", "s3://bb"], ["remove", "demo"]):
        result = run("remote", *arguments)
        assert result.exit_code == 2
        assert str(config) in result.stderr
        assert "remotes.demo.urll" in result.stderr
        assert "Did you mean url?" in result.stderr


def test_a_directory_of_odd_bytes(run: Run, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J")
    assert run("remote", "add", "odd", odd).exit_code == 0
    listed = run("remote", "list").stdout
    assert "%FF%1B[2J" in listed
