"""Completion: what a line can go on with, from what is remembered; and bash, which is everywhere, for real."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from penstock.cli.entry import COMPLETE_VARIABLE
from penstock.cli.shell.answer import answer_of
from penstock.cli.shell.line import CompletionItem, complete, words_of
from penstock.cli.shell.memory import keep

Run = Callable[..., Result]


@pytest.fixture
def known() -> None:
    """Remember the commands, as the first completion has it done."""
    keep(["commands"], answer_of(["commands"]))


def values(line: str) -> list[str]:
    return [item.value or item.kind for item in complete(line)]


def learn(*question: str) -> None:
    keep(list(question), answer_of(list(question)))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str, run: Run) -> None:
    script = run("completion", shell).stdout
    assert f"{COMPLETE_VARIABLE}={shell}" in script
    assert json.loads(run("completion", shell, "--json").stdout)["script"].strip() == script.strip()


def test_other_shells_are_refused(run: Run) -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "zsh" in result.stderr


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        ("penstock ls ", ["penstock", "ls"], ""),
        ("penstock ls 'a b'/c", ["penstock", "ls"], "a b/c"),
        (r"penstock cat a\ b", ["penstock", "cat"], "a b"),
        ('penstock commit -m "half a', ["penstock", "commit", "-m"], "half a"),
    ],
)
def test_words_of_a_line(line: str, words: list[str], last: str) -> None:
    assert words_of(line) == (words, last)


def test_commands_and_options(known: None) -> None:
    assert {"remote", "completion"} <= set(values("penstock "))
    assert values("penstock remote r") == ["remove"]
    assert values("penstock remote add --end") == ["--endpoint-url"]
    assert values("penstock remote add --addressing-style p") == ["path"]
    assert values("penstock remote add --addressing-style=p") == ["--addressing-style=path"]
    assert values("penstock -v push ./x") == ["file"]
    assert values("penstock nonsense ") == []


def test_buckets_datasets_refs_and_paths(run: Run, known: None, tmp_path: Path) -> None:
    (tmp_path / "things" / "2024").mkdir(parents=True)
    (tmp_path / "things" / "2024" / "cat").write_text("x")
    (tmp_path / "things" / "labels").write_text("x")
    run("remote", "add", "demo", f"{tmp_path}/store")
    run("remote", "add", "data", "s3://bucket")
    assert run("push", f"{tmp_path}/things", "demo/photos", "--tag", "v1").exit_code == 0
    learn("remotes")
    learn("datasets", "demo")
    learn("refs", "demo/photos")
    learn("paths", "demo/photos:v1/")
    learn("paths", "demo/photos:v1/2024/")
    assert values("penstock remote remove d") == ["data", "demo"]
    assert complete("penstock mount d") == [
        CompletionItem("data/", "s3://bucket"),
        CompletionItem("demo/", f"file://{tmp_path}/store"),
    ]
    assert values("penstock mount demo/p") == ["demo/photos"]
    assert values("penstock mount demo/photos:") == ["demo/photos:main", "demo/photos:v1"]
    assert values("penstock cat demo/photos:v1/") == ["demo/photos:v1/2024/", "demo/photos:v1/labels"]
    assert values("penstock info demo/photos:v1/2024/c") == ["demo/photos:v1/2024/cat"]
    assert values("penstock mount demo/photos ") == ["file"]
    assert values("penstock diff ./x") == ["file"]


def test_a_store_that_does_not_answer_is_not_waited_for(run: Run, known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run("remote", "add", "slow", "s3://bucket", "--endpoint-url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        before = time.process_time()
        assert values("penstock mount slow/") == []
        assert time.process_time() - before < 5  # it is a process of its own that asks
        keep(["datasets", "slow"], [["old", "dataset"]])
        assert values("penstock mount slow/") == ["slow/old"]


def test_a_settings_file_that_is_wrong_completes_nothing(config: Path, known: None) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("[oops")
    assert values("penstock remote remove d") == []


def test_mounts_are_completed_and_directories_only_where_there_are_none(
    known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [CompletionItem("/mnt/a b", "mounted"), CompletionItem("/srv/x", "mounted")]
    monkeypatch.setattr("penstock.cli.shell.line._mounts", lambda: found)
    assert values("penstock umount ") == ["/mnt/a b", "/srv/x"]
    assert values("penstock umount /mnt/") == ["/mnt/a b"]
    assert values("penstock status /home/") == ["dir"]


def test_nothing_heavy_is_loaded() -> None:
    script = "import sys; import penstock.cli.entry, penstock.cli.shell.line; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"click", "msgspec", "boto3", "botocore", "lmdb", "rich", "platformdirs"} & set(loaded)


def test_bash_completes(run: Run, known: None, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "two words").write_text("x")
    run("remote", "add", "demo", f"{tmp_path}/store")
    assert run("push", f"{tmp_path}/things", "demo/photos", "--tag", "v1").exit_code == 0
    learn("refs", "demo/photos")
    learn("paths", "demo/photos:v1/")
    command = tmp_path / "penstock"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock "$@"\n')
    command.chmod(0o755)
    script = (
        f'PATH="{tmp_path}:$PATH"; eval "$(penstock completion bash)"\n'
        "COMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'\n"
        'COMP_LINE="penstock mount demo/photos:v"; COMP_POINT=${#COMP_LINE}\n'
        '_penstock_completion penstock v mount; printf "%s\\n" "${COMPREPLY[@]}"\n'
        'COMP_LINE="penstock cat demo/photos:v1/"; COMP_POINT=${#COMP_LINE}\n'
        '_penstock_completion penstock v1/ cat; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ)
    )
    # bash takes what follows the colon for the word, and what it inserts is for the shell to read again.
    assert done.stdout == "v1\nv1/two\\ words\n"
