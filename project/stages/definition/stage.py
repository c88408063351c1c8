"""A stage: a command, what it reads, and what it makes. Pure.

Paths of a stage are relative to the folder of its file, as people wrote them; `Stage.placed` says where such a path
lies from the project's root. A dependency may be a pattern (`*`, `?`, `[…]`, `**`). A stage with `each` runs its
command once a file that this pattern leads to, and its one output is the directory of what comes out.
"""

from __future__ import annotations

import posixpath
import string
from dataclasses import dataclass

from penstock.errors import UsageError

__all__ = ["FIELDS", "Stage", "StageName", "check_stage", "place"]

_MOST_NAME = 100
_MOST_COMMAND = 64 << 10
_MOST_PATH = 4096
_MOST_PATHS = 10_000
_OF_EACH = frozenset(("input", "output", "path", "name", "stem"))


@dataclass(frozen=True, slots=True, order=True)
class StageName:
    """The name of a stage, and the folder of its file from the project's root: empty for the root."""

    folder: str
    name: str

    def __str__(self) -> str:
        return f"{self.folder}:{self.name}" if self.folder else self.name


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as its file has it, checked.

    `metrics` and `plots` are outputs too, beside `outputs`. `parameters` are ``FILE:KEY``. With `each`, `suffix` takes
    the place of that of the inputs, and `may_skip` lets an input have no output.
    """

    where: StageName
    command: str
    dependencies: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    each: str = ""
    suffix: str = ""
    may_skip: bool = False

    @property
    def made(self) -> tuple[str, ...]:
        """All that it makes: outputs, metrics and plots, as written."""
        return (*self.outputs, *self.metrics, *self.plots)

    @property
    def read(self) -> tuple[str, ...]:
        """All paths and patterns that it reads, parameter files aside, as written."""
        return (*self.dependencies, self.each) if self.each else self.dependencies

    def placed(self, path: str) -> str:
        """Return where a path of this stage lies from the project's root."""
        return place(self.where.folder, path)


FIELDS = ("command", "each", "dependencies", "parameters", "outputs", "metrics", "plots", "suffix", "may_skip")
"""What a stage's table may have, in the order in which it is written."""


def place(folder: str, path: str) -> str:
    """Return a path of a folder as one from the project's root. UsageError: it cannot be one inside of the project."""
    if not path or len(path) > _MOST_PATH or any(ord(sign) < 32 or ord(sign) == 127 for sign in path):
        raise UsageError(f"{path[:80]!r} cannot be a path of a stage", why="it is empty, too long, or has line breaks")
    if posixpath.isabs(path):
        raise UsageError(
            f"{path!r} is an absolute path",
            why="others, who have the project elsewhere, do not have it",
            fix="Name it from the folder of the stage.",
        )
    whole = posixpath.normpath(posixpath.join(folder, path))
    first = whole.split("/", 1)[0]
    if first in {"..", "."}:
        raise UsageError(
            f"{path!r} is not in the project" if first == ".." else f"{path!r} is the whole project",
            why="a stage reads and makes what lies in its project",
            fix="Bring it into the project with `penstock import` or `penstock add`, or name what is meant in it.",
        )
    if first in {".git", ".penstock"}:
        raise UsageError(f"{path!r} lies in {first}", why="what is there is nobody's data")
    return whole


def check_stage(stage: Stage) -> None:
    """Raise UsageError for what no stage can be; what has to do with other stages is the graph's."""
    name, told = stage.where.name, f"stage {stage.where.name!r}"
    odd = set(name) & set('/:\\"') or not name.isprintable()
    if not name or len(name) > _MOST_NAME or odd or name.startswith("-") or name != name.strip():
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a stage",
            why=f"names are printable, of at most {_MOST_NAME} signs, without / : \\ and quotes, and begin with no -",
        )
    if not stage.command.strip() or len(stage.command) > _MOST_COMMAND or "\0" in stage.command:
        raise UsageError(f"{told} has no command that can be run", why="it is empty, or of more than 64 KiB")
    if not stage.made:
        raise UsageError(f"{told} makes nothing", fix="Name what it makes with -o, --metric or --plot.")
    if len(stage.made) + len(stage.read) + len(stage.parameters) > _MOST_PATHS:
        raise UsageError(f"{told} names more than {_MOST_PATHS} paths", fix="Name directories, or patterns.")
    for path in (*stage.made, *stage.read):
        stage.placed(path)
    for path in stage.made:
        if any(sign in path for sign in "*?["):
            raise UsageError(f"{told} makes {path!r}", why="an output is one path, no pattern", fix="Name its folder.")
    _check_each(stage, told)


def _check_each(stage: Stage, told: str) -> None:
    fields = _placeholders(stage.command) if stage.each else frozenset()
    if not stage.each:
        if stage.suffix or stage.may_skip:
            raise UsageError(f"{told} has suffix or may_skip without each", fix="Add each, or leave them out.")
        return
    if len(stage.made) != 1 or not stage.outputs:
        raise UsageError(
            f"{told} has {len(stage.made)} outputs",
            why="a stage that runs for each file makes one directory, with a file for each",
            fix="Name that directory with -o.",
        )
    if "input" not in fields or "output" not in fields:
        raise UsageError(
            f"the command of {told} has no {{input}} or no {{output}}",
            why="it is run for each file, and has to be told of which",
            fix="Write them where the command takes the file that it reads and the one that it makes.",
        )
    if unknown := fields - _OF_EACH:
        raise UsageError(
            f"the command of {told} has {{{min(unknown)}}}",
            why=f"there are {', '.join('{' + each + '}' for each in sorted(_OF_EACH))}",
            fix="A brace that is meant as one is written twice: {{ }}.",
        )
    if stage.suffix and (not stage.suffix.startswith(".") or "/" in stage.suffix or len(stage.suffix) > 40):
        raise UsageError(f"{stage.suffix!r} is no suffix", fix="Write one such as .png.")


def _placeholders(command: str) -> frozenset[str]:
    try:
        parts = list(string.Formatter().parse(command))
    except ValueError as error:
        raise UsageError(
            f"the command {command[:80]!r} cannot be filled in",
            why=str(error),
            fix="A brace that is meant as one is written twice: {{ }}.",
        ) from error
    if any(form or conversion for _, name, form, conversion in parts if name is not None):
        raise UsageError(f"the command {command[:80]!r} cannot be filled in", why="no formats, only names in braces")
    return frozenset(name for _, name, _, _ in parts if name is not None)
