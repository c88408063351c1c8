"""One run of the command line: the options that every command has, and what is made from them.

`Invocation` is made before anything is parsed, so that an error in parsing is already told in the wanted form, and
travels as click's context object; commands take it with `pass_invocation`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Output

if TYPE_CHECKING:
    from penstock.api.settings import Settings

    from .progress import ProgressDisplay

__all__ = ["Invocation", "pass_invocation"]


@dataclass(slots=True)
class Invocation:
    """State of one run. Changes only while options are parsed."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    config: Path | None = None

    @property
    def output(self) -> Output:
        """Where to write."""
        return Output(self.json, sys.stdout, sys.stderr, quiet=self.quiet)

    def settings(self, *, cache_directory: Path | None = None, cache_size: int | None = None) -> Settings:
        """Read the settings; the arguments are the command's own options, `cache_size` in bytes."""
        # Not at the top: it brings the stores along, and --help needs none.
        from penstock.api.settings import load_settings

        return load_settings(config=self.config, cache_directory=cache_directory, cache_size=cache_size)

    def progress(self) -> ProgressDisplay:
        """Return a progress display, to be entered; it shows on a terminal only, not with ``--json`` or ``--quiet``."""
        from .progress import ProgressDisplay

        return ProgressDisplay(sys.stderr, shown=not self.json and not self.quiet)


pass_invocation = click.make_pass_decorator(Invocation)
