"""The file of a folder's stages, ``penstock.stages.toml``: read strictly, and changed so that the rest stays as it is.

What is read may come from anybody's clone: size, number and kinds of everything are bounded, and an error names the
line. Reading takes the standard library's parser, which is quick; adding takes tomlkit, which keeps comments.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from penstock.errors import ConflictError, FormatTooNewError, IntegrityError, PenstockError

from .stage import FIELDS, Stage, StageName, check_stage

__all__ = ["FORMAT", "STAGES_FILE", "parse_stages", "with_stage"]

STAGES_FILE = "penstock.stages.toml"
FORMAT = 1
MOST_BYTES = 4 << 20
_MOST_STAGES = 10_000
_LISTS = frozenset(("dependencies", "outputs", "parameters", "metrics", "plots"))
_TEXTS = frozenset(("command", "each", "suffix"))
_HEAD = "# Stages of this folder: see `penstock stage --help`. Paths are relative to the folder.\n"


def parse_stages(body: bytes, folder: str, name: str) -> dict[str, Stage]:
    """Return the stages in a file, by name. `name` is how errors call the file.

    IntegrityError: it is not what such a file is; FormatTooNewError: a later Penstock wrote it.
    """
    text, table = parse_table(body, name, MOST_BYTES)
    stages = table.pop("stages", {})
    if table:
        raise _wrong(name, f"there is no {min(table)!r} in such a file", _line(text, None, min(table)))
    if not isinstance(stages, dict) or len(stages) > _MOST_STAGES:
        raise _wrong(name, f"stages is no table, or has more than {_MOST_STAGES}")
    return {each: _stage(StageName(folder, each), value, text, name) for each, value in stages.items()}


def parse_table(body: bytes, name: str, most: int) -> tuple[str, dict[str, Any]]:
    """Return text and content of a file of ours in TOML, its format number checked and taken out. Raises as above."""
    if len(body) > most:
        raise _wrong(name, f"it has more than {most >> 20} MiB")
    try:
        text = body.decode()
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(name, _conflict(body) or str(error) or "it is nested too deeply") from error
    number = table.pop("format", None)
    if isinstance(number, int) and not isinstance(number, bool) and number > FORMAT:
        raise FormatTooNewError(
            f"{name} was written by a later Penstock", why=f"format {number}", fix="Upgrade this one to read it."
        )
    if number != FORMAT or isinstance(number, bool):
        raise _wrong(name, f"its first line is no `format = {FORMAT}`")
    return text, table


def _conflict(body: bytes) -> str:
    """Say that git left its marks in a file, if that is what keeps it from being read."""
    for number, line in enumerate(body.splitlines(), 1):
        if line.startswith((b"<<<<<<< ", b">>>>>>> ")):
            return f"git left a conflict in it, at line {number}"
    return ""


def _stage(where: StageName, value: Any, text: str, name: str) -> Stage:
    if not isinstance(value, dict):
        raise _wrong(name, f"stage {where.name!r} is no table", _line(text, None, where.name))
    given: dict[str, Any] = {}
    for key, each in value.items():
        at = _line(text, where.name, key)
        if key in _LISTS:
            if not isinstance(each, list) or not all(isinstance(one, str) for one in each):
                raise _wrong(name, f"{key} of stage {where.name!r} is no list of texts", at)
            given[key] = tuple(each)
        elif key in _TEXTS:
            if not isinstance(each, str):
                raise _wrong(name, f"{key} of stage {where.name!r} is no text", at)
            given[key] = each
        elif key == "may_skip" and isinstance(each, bool):
            given[key] = each
        else:
            raise _wrong(name, f"stage {where.name!r} has {key!r}: there are {', '.join(FIELDS)}", at)
    if "command" not in given:
        raise _wrong(name, f"stage {where.name!r} has no command", _line(text, where.name, ""))
    stage = Stage(where, **given)
    try:
        check_stage(stage)
    except PenstockError as error:
        raise _wrong(name, error.reason, _line(text, where.name, ""), error.fix) from error
    return stage


def _line(text: str, stage: str | None, key: str) -> int | None:
    """Return the number of the line that gives a key, of a stage or of the file; None where it cannot be told."""
    inside = stage is None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            head = re.match(r"\[\s*stages\s*\.\s*(?:\"(.*)\"|'(.*)'|([\w-]+))\s*\]", stripped)
            found = next(filter(None, head.groups()), None) if head else None
            inside = found == stage if stage is not None else False
            if found is not None and ((found == stage and not key) or (stage is None and found == key)):
                return number
        elif inside and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*=", stripped) and key:
            return number
    return None


def _wrong(name: str, why: str, line: int | None = None, fix: str = "") -> IntegrityError:
    place = f"{name}, line {line}" if line is not None else name
    return IntegrityError(f"{place} cannot be used", why=why, fix=fix or "Mend it, or take it from git again.")


def with_stage(body: bytes | None, stage: Stage, name: str, *, replace: bool, comment: str = "") -> bytes:
    """Return the file with a stage added, the rest of it as it was. `body` None: there is none yet.

    `comment` is written above what a stage says that is new.

    ConflictError: there is another stage of that name, and it is not to be replaced. Else as `parse_stages`.
    """
    import tomlkit

    known = parse_stages(body, stage.where.folder, name) if body is not None else {}
    if known.get(stage.where.name) == stage:
        assert body is not None
        return body
    if stage.where.name in known and not replace:
        raise ConflictError(
            f"there is a stage {stage.where.name!r} already",
            why=f"in {name}, with another definition",
            fix="Give this one another name, or say --force to replace it.",
        )
    document = tomlkit.parse(body if body is not None else f"{_HEAD}format = {FORMAT}\n")
    stages = document.setdefault("stages", tomlkit.table(is_super_table=True))
    table = tomlkit.table()
    for line in comment.splitlines():
        table.add(tomlkit.comment(line))
    for key in FIELDS:
        value = getattr(stage, key)
        if isinstance(value, tuple):
            if value:
                table.add(key, _array(value))
        elif value:
            table.add(key, value)
    if stage.where.name in stages:
        stages[stage.where.name] = table
    else:
        stages.add(stage.where.name, table)
    made = tomlkit.dumps(document).encode()
    parse_stages(made, stage.where.folder, name)
    return made


def _array(values: tuple[str, ...]) -> Any:
    import tomlkit

    array = tomlkit.array()
    array.extend(values)
    array.multiline(len(values) > 1)
    return array
