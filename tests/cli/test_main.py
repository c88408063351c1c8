"""The frame of the command line: what every command has, and what happens when things go wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from penstock import __version__
from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.main import root
from penstock.cli.params import HANDLE, SIZE
from penstock.errors import ConflictError, UsageError
from penstock.repo.settings.handle import Handle

Run = Callable[..., Result]


def commands(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands())


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_takes_json_and_shows_examples(path: tuple[str, ...], command: click.Command, run: Run) -> None:
    assert isinstance(command, Command | LazyGroup)
    names = [option for parameter in command.params for option in parameter.opts]
    assert {"--json", "--verbose"} <= set(names)
    assert len(names) == len(set(names))
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert f"Examples:\n  penstock {' '.join(path)}" in result.stdout
    for line in command.examples:
        assert line in result.stdout


def test_what_the_list_promises_is_there() -> None:
    for name, lazy in root.lazy.items():
        assert lazy.short_help.endswith(".")
        assert len(lazy.short_help) <= 60
        assert lazy.load().name == name


@pytest.mark.parametrize("asked", [["help", "ls"], ["ls", "-h"], ["ls", "--help"]])
def test_help_is_found_by_whatever_asks_for_it(asked: list[str], run: Run) -> None:
    assert run(*asked).stdout.startswith("Usage: penstock ls")


def test_without_a_command_there_is_help(run: Run) -> None:
    for arguments in ((), ("--json",), ("remote",)):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "Commands:" in result.stdout


def test_the_version(run: Run) -> None:
    assert run("--version").stdout == f"penstock {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remot"], "did you mean 'remote'?"),
        (["remote", "lst"], "did you mean 'list'?"),
        (["zzz"], "there is no command 'zzz'"),
        (["clone", "demo/x"], "penstock download DATASET DIR"),
        (["remote", "list", "--jsn"], "--json"),
        (["remote", "add", "x"], "Missing argument 'URL'"),
        (["--bogus"], "--bogus"),
        (["remote", "add", "x", "s3://b", "--sse", "rot13"], "AES256"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], words: str, run: Run) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "--help" in result.stderr
    assert result.stdout == ""
    for placed in (["--json", *arguments], [*arguments, "--json"]):
        error = json.loads(run(*placed).stderr)["error"]
        assert error["kind"] == "usage"
        assert words in error["what"]


def test_quiet_leaves_notices_out(run: Run) -> None:
    assert run("remote", "list").stderr
    assert run("remote", "list", "--quiet").stderr == ""
    assert run("remote", "remove", "x", "-q").stderr.startswith("penstock: there is no remote")


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


def test_swapped_arguments_and_paths_are_noticed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "things").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("remote", "add", "demo", "./store").exit_code == 0
    for arguments, fix in {
        ("mount", "./mnt", "demo/x"): "penstock mount demo/x ./mnt",
        ("mount", "things", "demo/x"): "penstock mount demo/x things",
        ("push", "demo/x", "./things"): "penstock push ./things demo/x",
        ("download", "things", "demo/x"): "penstock download demo/x things",
    }.items():
        told = run(*arguments)
        assert told.exit_code == 2
        assert f"fix: {fix}\n" in told.stderr
    assert "is a path of this machine" in run("mount", "things", "./mnt").stderr
    assert "penstock download" in run("pull").stderr


def test_after_two_dashes_json_is_a_word(run: Run) -> None:
    result = run("remote", "remove", "--", "--json")
    assert result.stderr.startswith("penstock: there is no remote '--json'")


def failing(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return Command("fail", callback=fail)


def test_an_expected_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(root.commands, "fail", failing(ConflictError("it moved", why="by another", fix="try again")))
    result = run("fail")
    assert result.exit_code == 4
    assert result.stderr == "penstock: it moved\n  why: by another\n  fix: try again\n"
    assert "Traceback" in run("-vv", "fail").stderr
    assert "Traceback" not in run("fail", "-v").stderr
    assert json.loads(run("fail", "--json", "-vv").stderr)["error"]["kind"] == "conflict"


def test_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setitem(root.commands, "fail", failing(KeyError("the key")))
    result = run("fail")
    assert result.exit_code == 70
    assert "KeyError" in result.stderr
    assert "Traceback" not in result.stderr
    (path,) = home.rglob("last-fault.txt")
    assert str(path) in result.stderr
    assert "the key" in path.read_text()
    assert "Traceback" in run("fail", "-v").stderr
    error = json.loads(run("fail", "--json", "-v").stderr)["error"]
    assert error["kind"] == "internal"
    assert str(path) in error["fix"]


def test_an_interrupt_in_process(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(root.commands, "fail", failing(KeyboardInterrupt()))
    result = run("fail")
    assert (result.exit_code, result.stderr) == (130, "penstock: interrupted\n")


def test_verbose_shows_the_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("penstock")
    monkeypatch.setattr(log, "level", log.level)
    levels = []
    command = Command("levels", callback=lambda: levels.append(log.getEffectiveLevel()))
    monkeypatch.setitem(root.commands, "levels", command)
    assert run("levels", "-v").exit_code == 0
    assert run("levels", "-vv").exit_code == 0
    assert run("-v", "levels", "-v").exit_code == 0
    assert levels == [logging.INFO, logging.DEBUG, logging.DEBUG]
