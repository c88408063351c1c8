"""The console script, and ``python -m penstock``: a completion is answered at once, all else is `main`'s.

Nothing is imported here that a completion does not need: it has a quarter of a second.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["COMPLETE_VARIABLE", "main"]

COMPLETE_VARIABLE = "_PENSTOCK_COMPLETE"
"""Set by a shell that asks: to its name, with the line up to the cursor in COMP_LINE."""


def main() -> NoReturn:
    """Run the command line of this process."""
    if shell := os.environ.get(COMPLETE_VARIABLE):
        _complete(shell)
        sys.exit(0)
    from penstock.cli import main as program

    program.main()


def _complete(shell: str) -> None:
    """Print what the line can go on with, an item a line: its kind, the value, and its help, with tabs between."""
    from penstock.cli.shell.line import complete, words_of

    line = os.environ.get("COMP_LINE", "")
    cut = 0
    if shell == "bash":
        # bash ends words at colons, too: it takes a value as what follows the last of them.
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        _, word = words_of(line)
        cut = 1 + max((word.rfind(each) for each in breaks if each not in " \t\n\"'/"), default=-1)
    for item in complete(line):
        fields = (item.kind, item.value[cut:], item.help)
        print("\t".join("".join(c if c.isprintable() else "?" for c in field) for field in fields))


if __name__ == "__main__":
    main()
