"""What a command line that somebody is typing can go on with. Quick: imports nothing of Penstock but what it remembers.

`complete` takes the line up to the cursor, and answers with items: a value with its help, or that files or directories
are due, which the shell itself knows. Which commands and options there are is remembered as well (`answer`).
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from .memory import ask

__all__ = ["CompletionItem", "complete", "words_of"]

_OURS = re.compile(rb"^\d+ \d+ \S+ \S+ (\S+) .*? - fuse\.penstock ")
_OCTAL = re.compile(rb"\\([0-7]{3})")


class CompletionItem(NamedTuple):
    """A value and its help; or of kind ``file`` or ``dir``, that those are due."""

    value: str
    help: str = ""
    kind: str = "plain"


def words_of(line: str) -> tuple[list[str], str]:
    """Return the words of a line before the one that is typed, and that, as far as it is there."""
    words, word, quote, begun = [], [], "", False
    at = 0
    while at < len(line):
        letter = line[at]
        if quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and quote == '"' and at + 1 < len(line):
                at += 1
                word.append(line[at])
            else:
                word.append(letter)
        elif letter in "'\"":
            quote, begun = letter, True
        elif letter == "\\" and at + 1 < len(line):
            at += 1
            word.append(line[at])
        elif letter in " \t\n":
            if word or begun:
                words.append("".join(word))
            word, begun = [], False
        else:
            word.append(letter)
        at += 1
    return words, "".join(word)


def complete(line: str) -> list[CompletionItem]:
    """Return what the last word of a line can become."""
    words, text = words_of(line)
    known = ask(["commands"])
    if known is None:
        return []
    command, rest = known, words[1:]
    while command["commands"] and (at := _first_word(command, rest)) is not None:
        found = command["commands"].get(rest[at])
        if found is None:
            return []
        command, rest = found, rest[at + 1 :]
    return [item for item in _items(command, rest, text) if item.kind != "plain" or item.value.startswith(text)]


def _first_word(command: dict[str, Any], words: list[str]) -> int | None:
    """Return the place of the first word that is no option, nor an option's value."""
    at = 0
    while at < len(words):
        if not words[at].startswith("-"):
            return at
        option = command["options"].get(words[at])
        at += 2 if option is not None and option["kind"] else 1
    return None


def _items(command: dict[str, Any], words: list[str], text: str) -> list[CompletionItem]:
    options, positions, at = command["options"], 0, 0
    while at < len(words):
        option = options.get(words[at])
        if option is None or not words[at].startswith("-"):
            positions += 1
            at += 1
            continue
        if option["kind"] and at + 1 == len(words):
            return _of_kind(option["kind"], text)
        at += 2 if option["kind"] else 1
    if text.startswith("-"):
        name, equals, value = text.partition("=")
        if equals and name in options:
            return [each._replace(value=f"{name}={each.value}") for each in _of_kind(options[name]["kind"], value)]
        return [CompletionItem(each, option["help"]) for each, option in options.items()]
    if command["commands"]:
        return [CompletionItem(name, each["help"]) for name, each in command["commands"].items()]
    arguments = command["arguments"]
    if not arguments or (positions >= len(arguments) and not command["many"]):
        return []
    return _of_kind(arguments[min(positions, len(arguments) - 1)], text)


def _of_kind(kind: str, text: str) -> list[CompletionItem]:
    if kind.startswith("choice:"):
        return [CompletionItem(each) for each in kind.removeprefix("choice:").split("|")]
    if kind in ("file", "dir"):
        return [CompletionItem("", kind=kind)]
    if kind == "remote":
        return _known(["remotes"])
    if kind == "mount":
        # Not both: zsh takes away what was typed where mounts and directories can follow.
        return [each for each in _mounts() if each.value.startswith(text)] or [CompletionItem("", kind="dir")]
    if kind == "handle":
        return _handles(text)
    if kind == "version":
        found = [] if text.startswith(("/", ".", "~")) else _handles(text)
        return found or [CompletionItem("", kind="file")]
    return []


def _known(question: list[str]) -> list[CompletionItem]:
    found = ask(question)
    return [CompletionItem(str(value), str(told)) for value, told in found] if found else []


def _handles(text: str) -> list[CompletionItem]:
    scheme = "s3://" if text.startswith("s3://") else ""
    bucket, slash, rest = text.removeprefix(scheme).partition("/")
    bucket = scheme + bucket
    if not slash:
        return [] if scheme else [CompletionItem(f"{each.value}/", each.help) for each in _known(["remotes"])]
    component, inner, path = rest.partition("/")
    dataset, colon, _ = component.partition(":")
    if inner:
        folder, _, _ = path.rpartition("/")
        above = f"{bucket}/{component}/{folder}/" if folder else f"{bucket}/{component}/"
        return [CompletionItem(above + each.value, each.help) for each in _known(["paths", above])]
    if colon:
        return [
            CompletionItem(f"{bucket}/{dataset}:{each.value}", each.help)
            for each in _known(["refs", f"{bucket}/{dataset}"])
        ]
    return [CompletionItem(f"{bucket}/{each.value}", each.help) for each in _known(["datasets", bucket])]


def _mounts() -> list[CompletionItem]:
    """Return the mountpoints of Penstock's mounts, as the kernel lists them."""
    try:
        with open("/proc/self/mountinfo", "rb") as stream:
            found = [match.group(1) for line in stream if (match := _OURS.match(line))]
    except OSError:
        return []
    plain = (_OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), each) for each in found)
    return [CompletionItem(os.fsdecode(each), "mounted") for each in plain]
