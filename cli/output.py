r"""What a command writes: data on standard output, all else on standard error.

With ``--json`` standard output is one JSON document, or one a line for listings (`record`), and an error is one JSON
line on standard error. Sizes are exact there and times are seconds since 1970; in text they are for people. JSON is
written in ASCII, so no name can reach the terminal raw; a name that is not UTF-8 has its odd bytes as lone
surrogates ``\udc80`` to ``\udcff``, which Python reads back with ``os.fsencode``.

A command has it as `Invocation.output`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO, TypeAlias

import msgspec

from penstock.error_form import ErrorForm
from penstock.errors import AccessError

from .text import escape, quote_name, table_lines
from .waiting import can_draw, clear

__all__ = ["JsonValue", "Output", "Painted"]

_KEPT = re.compile(r"(\x1b\[[0-9;]{0,40}m|\t)")

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


class Painted(NamedTuple):
    """Text in a colour, where a terminal shows colours: ``red``, ``green``, ``yellow``, ``cyan``."""

    text: str
    colour: str


_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Output:
    """Both streams of one run. `json` says which of the two forms is wanted; commands ask it."""

    json: bool
    stdout: TextIO
    stderr: TextIO
    quiet: bool = False

    def document(self, value: JsonValue) -> None:
        """Write the one JSON document that is the whole answer."""
        self._write(_dump(value))

    def record(self, value: JsonValue) -> None:
        """Write one JSON line of many."""
        self._write(_dump(value))

    def line(self, *parts: str | Painted) -> None:
        """Write one line of text; what is not printable in it is escaped."""
        self._write("".join(map(self._shown, parts)))

    def _shown(self, part: str | Painted) -> str:
        if isinstance(part, str):
            return escape(part)
        return f"\x1b[{_COLOURS[part.colour]}m{escape(part.text)}\x1b[0m" if self.coloured else escape(part.text)

    @property
    def coloured(self) -> bool:
        """Whether the answer goes to a terminal that shows colours, and nobody has said NO_COLOR."""
        return can_draw(self.stdout) and not os.environ.get("NO_COLOR")

    def table(self, rows: Iterable[Sequence[str]], *, headers: Sequence[str] = (), right: Collection[int] = ()) -> None:
        """Write `rows` in columns; the columns whose index is in `right` are flush right."""
        for line in table_lines((tuple(map(escape, row)) for row in rows), headers=headers, right=right):
            self._write(line)

    def notice(self, text: str) -> None:
        """Tell people, on standard error, what is no part of the answer. Not programs, nor with ``--quiet``."""
        if not self.json and not self.quiet:
            clear()
            print(f"penstock: {escape(text)}", file=self.stderr, flush=True)

    def passed_on(self, whose: str, text: str) -> None:
        """Pass a line on that a command of the user's wrote, on standard error: its colours and tabs are left in it."""
        clear()
        parts = _KEPT.split(text)
        shown = "".join(part if at % 2 else escape(part) for at, part in enumerate(parts))
        reset = "\x1b[0m" if len(parts) > 1 and "\x1b" in text else ""
        print(f"{escape(whose)} | {shown}{reset}", file=self.stderr, flush=True)

    def failure(self, failure: ErrorForm) -> None:
        """Tell what went wrong, on standard error."""
        clear()
        if self.json:
            lines = [_dump({"error": msgspec.structs.asdict(failure)})]
        else:
            lines = [f"penstock: {escape(failure.what)}"]
            # Click's messages and some causes have several lines.
            for label, text in (("why", failure.why), ("fix", failure.fix)):
                lines += [f"  {label}: {escape(' '.join(text.split()))}"] if text else []
            lines += [f"    {quote_name(candidate)}" for candidate in failure.candidates]
        print("\n".join(lines), file=self.stderr, flush=True)

    def finish(self) -> None:
        """Push out what is buffered. Raises AccessError when it cannot be written, as on a full disk."""
        try:
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error

    def _write(self, line: str) -> None:
        clear()
        try:
            self.stdout.write(line + "\n")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error


def _unwritable(error: OSError) -> AccessError:
    return AccessError(
        "standard output cannot be written", why=error.strerror or str(error), fix="Look where it is sent"
    )


_ENCODE = json.JSONEncoder(allow_nan=False).encode
"""Made once: `json.dumps` with an option of its own makes an encoder for every line of a listing."""


def _dump(value: JsonValue) -> str:
    # json writes every character above ~ as an escape, but not DEL.
    return _ENCODE(value).replace("\x7f", "\\u007f")
