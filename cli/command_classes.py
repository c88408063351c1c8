"""The two click classes that every command is made of.

`Command` gives each command ``--json``, ``-v`` and examples in its help. `LazyGroup` knows its commands by name, help
and the place of their code, and imports only the one that runs: ``penstock --help`` loads no store, no cache and no
file system.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .invocation import Invocation
from .meant import MEANT

__all__ = ["Command", "LazyCommand", "LazyGroup"]


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is (``room.module:attribute`` in penstock.cli) and the line that help shows for it."""

    place: str
    short_help: str
    of_project: str = ""
    """Where the command of that name is for what a project tracks; which one is meant, its arguments decide."""

    def load(self, *, of_project: bool = False) -> click.Command:
        """Import and return the command."""
        module, _, attribute = (self.of_project if of_project else self.place).partition(":")
        command = getattr(importlib.import_module(f"penstock.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


class Command(click.Command):
    """A command with the common options. `examples` are command lines, shown in its help as they are."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)
        self.of_project: Command | None = None
        """The command of the same name for what a project tracks: its help is shown with this one's."""
        self.params += common_options()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples under the options."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)
        other = self.of_project
        if other is not None:
            formatter.write(f"\nOf what a project tracks:\n\n  penstock {other.name} [OPTIONS] ")
            formatter.write(f"{' '.join(piece for param in other.params for piece in param.get_usage_pieces(ctx))}\n")
            other.format_help_text(ctx, formatter)
            other.format_options(ctx, formatter)
            write_examples(formatter, other.examples)


class LazyGroup(click.Group):
    """A group that imports a command when it is run."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, LazyCommand] | None = None,
        words: Mapping[str, str] | None = None,
        examples: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.lazy = dict(lazy or {})
        self.words = dict(words or {})
        self.examples = tuple(examples)
        self.params += common_options()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self.lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported; None when there is none."""
        lazy = self.lazy.get(cmd_name)
        return lazy.load() if lazy else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` starts with. Raises click.UsageError with the nearest name."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            if name in self.words:
                raise click.UsageError(f"there is no command {name!r}: {self.words[name]}", ctx)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        lazy = self.lazy.get(name)
        if lazy is not None and lazy.of_project:
            if "--help" in args:
                command = lazy.load()
                assert isinstance(command, Command)
                of_project = lazy.load(of_project=True)
                assert isinstance(of_project, Command)
                command.of_project = of_project
                return name, command, args[1:]
            if MEANT[name](args[1:]):
                return name, lazy.load(of_project=True), args[1:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        rows = []
        for name in self.list_commands(ctx):
            lazy = self.lazy.get(name)
            command = None if lazy else super().get_command(ctx, name)
            rows.append((name, lazy.short_help if lazy else command.get_short_help_str(80) if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples under the commands."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)


def common_options() -> list[click.Parameter]:
    """Return the options that every command and group takes."""
    return [
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set_json,
            help="Print answers and errors as JSON.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_set_verbose,
            help="Print more; give it twice for everything.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Print only the answer and errors, no progress or notices.",
        ),
    ]


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write `examples` as a section of a command's help."""
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    invocation = ctx.find_object(Invocation)
    if invocation is not None and value:
        invocation.json = True


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    invocation = ctx.find_object(Invocation)
    if invocation is not None and value:
        invocation.quiet = True


def _set_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    invocation = ctx.find_object(Invocation)
    if invocation is None or not value:
        return
    invocation.verbose += value

    import logging

    level = logging.INFO if invocation.verbose == 1 else logging.DEBUG
    logging.basicConfig(format="penstock: %(name)s: %(message)s")
    logging.getLogger("penstock").setLevel(level)
