"""``penstock stage``: stages are added, listed and removed. What `run` takes to define one is here too."""

from __future__ import annotations

import glob
import os
import posixpath
import re
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.command_classes import Command, LazyGroup
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import UsageError
from penstock.project.project import Project, find_project
from penstock.project.stages.definition.pipeline import load_pipeline
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.stage_tasks import define_stage

__all__ = ["definition", "folder_here", "stage", "stage_of"]

T = TypeVar("T", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-n", "--name", required=True, metavar="NAME", help="Name of the stage."),
    click.option(
        "-d",
        "--dep",
        "dependencies",
        multiple=True,
        metavar="PATH",
        help="Path or pattern that the command reads; can be repeated.",
    ),
    click.option(
        "-o",
        "--out",
        "outputs",
        multiple=True,
        metavar="PATH",
        help="File or directory that the command writes; can be repeated.",
    ),
    click.option(
        "-p",
        "--param",
        "parameters",
        multiple=True,
        metavar="[FILE:]KEY[,KEY…]",
        help="Parameters that the stage depends on.",
    ),
    click.option(
        "-m", "--metric", "metrics", multiple=True, metavar="FILE", help="File with numbers that the command writes."
    ),
    click.option(
        "--plot", "plots", multiple=True, metavar="FILE", help="Table that the command writes, for `penstock plots`."
    ),
    click.option(
        "--each", default="", metavar="PATH", help="Run the command for each file below PATH, as {input} and {output}."
    ),
    click.option("--suffix", default="", metavar=".EXT", help="With --each: the suffix of output files."),
    click.option("--may-skip", is_flag=True, help="With --each: allow inputs without an output."),
    click.option("--force", is_flag=True, help="Replace an existing stage."),
    click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD…"),
)


def definition(function: T) -> T:
    """Give a command the options that define a stage."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def folder_here(project: Project) -> str:
    """Return the working directory from the project's root: empty at the root."""
    folder = os.path.relpath(os.path.realpath("."), project.root)
    return "" if folder == "." else folder


def stage_of(
    project: Project,
    name: str,
    dependencies: tuple[str, ...],
    outputs: tuple[str, ...],
    parameters: tuple[str, ...],
    metrics: tuple[str, ...],
    plots: tuple[str, ...],
    each: str,
    suffix: str,
    may_skip: bool,
    command: tuple[str, ...],
) -> Stage:
    """Return the stage that options define. One argument is a command as the shell takes it; several are its words."""
    return Stage(
        StageName(folder_here(project), name),
        command[0] if len(command) == 1 else " ".join(_word(word, is_filled=bool(each)) for word in command),
        _unique(map(_read_path, dependencies)),
        _unique(map(posixpath.normpath, outputs)),
        _unique(key for each in parameters for key in _keys(each)),
        _unique(map(posixpath.normpath, metrics)),
        _unique(map(posixpath.normpath, plots)),
        _read_path(each) if each else "",
        suffix,
        may_skip,
    )


def _word(word: str, *, is_filled: bool) -> str:
    """Quote a word for the shell, but not what is filled in later: that comes with quotes of its own."""
    if not is_filled:
        return shlex.quote(word)
    parts = re.split(r"(\{\w+\})", word)
    return "".join(part if at % 2 else shlex.quote(part) for at, part in enumerate(parts) if part) or "''"


def _unique(values: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _read_path(path: str) -> str:
    """Return a path that is read; one that is there as it is spelt is no pattern."""
    plain = posixpath.normpath(path)
    return glob.escape(plain) if plain != glob.escape(plain) and os.path.lexists(plain) else plain


def _keys(text: str) -> list[str]:
    file, mark, keys = text.rpartition(":")
    if not mark:
        file = "params.yaml"
    if not file:
        raise UsageError(f"{text!r} names no file", fix="Write FILE:KEY, as params.yaml:lr.")
    path = posixpath.normpath(file)
    return [f"{path}:{key.strip()}" for key in keys.split(",")]


@click.group(
    cls=LazyGroup,
    examples=(
        "penstock stage add -n clean -d clean.py -d raw -o data/clean python clean.py raw data/clean",
        "penstock stage add -n thumbs --each 'data/inputs/*' -o data/thumbs --suffix .png 'convert {input} {output}'",
        "penstock stage list",
    ),
)
def stage() -> None:
    """Add a stage to this folder, or list stages."""


@stage.command(
    "add",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples=("penstock stage add -n count -d data -o counts.csv -p params.yaml:min_size python count.py",),
)
@definition
@pass_invocation
def add(invocation: Invocation, /, command: tuple[str, ...], force: bool, **fields: Any) -> None:
    """Add a stage to penstock.stages.toml in this folder. `penstock repro` runs it.

    Paths are relative to this folder. CMD is run by the shell in this folder; several words are passed on as they are,
    a single word is a shell command line.
    """
    project = find_project()
    made = stage_of(project, command=command, **fields)
    define_stage(project, made, replace=force)
    output = invocation.output
    if output.json:
        output.document({"stage": str(made.where), "command": made.command})
        return
    output.line(f"stage {made.where} was added")
    output.notice("to run it: penstock repro")


@stage.command("list", cls=Command, examples=("penstock stage list", "penstock stage list --json"))
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the stages of the project in the order in which they run."""
    graph = load_pipeline(find_project()).graph
    output = invocation.output
    stages = [graph.stages[name] for name in graph.order()]
    if output.json:
        for each in stages:
            output.record(
                {
                    "stage": str(each.where),
                    "command": each.command,
                    "reads": each.read,
                    "parameters": each.parameters,
                    "makes": each.made,
                    "each": bool(each.each),
                }
            )
    else:
        output.table([(str(each.where), ", ".join(each.made), each.command) for each in stages])
