"""Completion: each shell gets a script, and bash, which is everywhere, runs it for real."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from penstock.cli.commands import Command
from penstock.cli.main import COMPLETE_VARIABLE, root
from penstock.cli.params import HANDLE, SIZE
from penstock.errors import UsageError
from penstock.repo.bucket import object_keys
from penstock.repo.settings.handle import Handle
from penstock.store.opening import open_store

Run = Callable[..., Result]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str, run: Run) -> None:
    script = run("completion", shell).stdout
    assert COMPLETE_VARIABLE in script
    assert f"{shell}_complete" in script
    assert json.loads(run("completion", shell, "--json").stdout)["script"].strip() == script.strip()


def test_other_shells_are_refused(run: Run) -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "zsh" in result.stderr


def completions(words: list[str], incomplete: str) -> list[str]:
    complete = ShellComplete(root, {}, "penstock", COMPLETE_VARIABLE)
    return [item.value for item in complete.get_completions(words, incomplete)]


def test_commands_and_options() -> None:
    assert {"remote", "completion"} <= set(completions([], ""))
    assert completions(["remote"], "r") == ["remove"]
    assert completions(["remote", "add"], "--end") == ["--endpoint-url"]
    assert completions(["remote", "add", "--addressing-style"], "p") == ["path"]


def test_remotes_where_a_remote_or_a_handle_is_due(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("demo", "data", "lab"):
        run("remote", "add", name, "s3://bucket")
    assert completions(["remote", "remove"], "d") == ["data", "demo"]
    show = Command("exhibit", params=[click.Argument(["handle"], type=HANDLE)])
    monkeypatch.setitem(root.commands, "exhibit", show)
    assert completions(["exhibit"], "d") == ["data/", "demo/"]
    assert completions(["exhibit"], "elsewhere/") == []
    other = tmp_path / "other.toml"
    run("--config", str(other), "remote", "add", "deep", "s3://bucket")
    assert completions(["--config", str(other), "exhibit"], "d") == ["deep/"]


def test_datasets_of_a_remote(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    for dataset in ("clipart", "photos"):
        store.put(object_keys.dataset_prefix(dataset) + "x", b"")
    run("remote", "add", "demo", f"{tmp_path}/store")
    run("remote", "add", "gone", f"{tmp_path}/gone")
    monkeypatch.setitem(root.commands, "exhibit", Command("exhibit", params=[click.Argument(["handle"], type=HANDLE)]))
    assert completions(["exhibit"], "demo/") == ["demo/clipart", "demo/photos"]
    assert completions(["exhibit"], "demo/c") == ["demo/clipart"]
    assert completions(["exhibit"], "gone/") == []


def test_a_server_that_does_not_answer_is_not_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setitem(root.commands, "exhibit", Command("exhibit", params=[click.Argument(["handle"], type=HANDLE)]))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run("remote", "add", "slow", "s3://bucket", "--endpoint-url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert completions(["exhibit"], "slow/") == []
        assert time.monotonic() - started < 20  # boto3 itself takes seconds to import on a busy machine


def test_a_file_that_is_wrong_completes_nothing(config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("[oops")
    assert completions(["remote", "remove"], "d") == []


def test_arguments_become_values(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    show = Command(
        "exhibit",
        params=[click.Argument(["handle"], type=HANDLE), click.Option(["--size"], type=SIZE)],
        callback=lambda **values: seen.append(values),
    )
    monkeypatch.setitem(root.commands, "exhibit", show)
    assert run("exhibit", "demo/x:main/a b", "--size", "2kB").exit_code == 0
    assert seen == [{"handle": Handle("demo", "x", "main", "a b"), "size": 2000}]
    wrong = run("exhibit", "demo/x:", "--size", "2kB")
    assert wrong.exit_code == 2
    assert "ref is empty" in wrong.stderr
    assert "bucket/dataset[:ref][/subdir]" in run("exhibit", "--help").stdout
    with pytest.raises(UsageError):
        SIZE.convert("much", None, None)


def test_bash_completes(run: Run, tmp_path: Path) -> None:
    run("remote", "add", "demo", "s3://bucket")
    command = tmp_path / "penstock"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock "$@"\n')
    command.chmod(0o755)
    script = (
        f'PATH="{tmp_path}:$PATH"; eval "$(penstock completion bash)"\n'
        "COMP_WORDS=(penstock remote remove d); COMP_CWORD=3\n"
        '_penstock_completion penstock; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "demo\n"
    assert "compopt -o nospace" in run("completion", "bash").stdout
