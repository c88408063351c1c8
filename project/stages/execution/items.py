"""The items of a per-file stage: which input makes which output, and what has to be done for each. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from penstock.errors import ConflictError
from penstock.project.stages.definition.path_patterns import fixed_part, is_pattern
from penstock.project.stages.definition.stage import Stage
from penstock.project.stages.findings.run_key import input_key

from .runs import MadeItem

__all__ = ["Item", "ItemPlan", "fill_command", "make_items", "plan_items"]


class Item(NamedTuple):
    """One input: its path from the root, the path of its output in the stage's directory, and what it is known by."""

    input: str
    output: str
    key: str


class ItemPlan(NamedTuple):
    """What is to be done: items that are in place, that can be taken from earlier runs, that have to run.

    `remove` are paths of the output directory that no item makes; `skipped` are items that have no output.
    """

    ready: list[Item]
    take: list[tuple[Item, MadeItem]]
    run: list[Item]
    skipped: list[Item]
    remove: list[str]


def make_items(stage: Stage, files: Iterable[tuple[str, bytes]]) -> list[Item]:
    """Return the items of a stage's input files, paths from the root with the hashes of their contents.

    ConflictError: two inputs would have one output.
    """
    pattern = stage.placed(stage.each)
    above = fixed_part(pattern) if is_pattern(pattern) else pattern
    made: dict[str, str] = {}
    items = []
    for path, digest in files:
        rest = path[len(above) + 1 :] if path.startswith(f"{above}/") else posixpath.basename(path)
        output = posixpath.splitext(rest)[0] + stage.suffix if stage.suffix else rest
        if output in made:
            if made[output] == path:  # two ways of one pattern led to it
                continue
            raise ConflictError(
                f"{made[output]!r} and {path!r} would both become {output!r}",
                why=f"stage {str(stage.where)!r} makes one file of each input",
                fix="Rename one of them, or divide the stage.",
            )
        made[output] = path
        items.append(Item(path, output, input_key(stage, digest.hex(), rest)))
    return items


def plan_items(
    items: Iterable[Item], known: Mapping[str, MadeItem], there: Mapping[str, tuple[str, bool]], *, force: bool = False
) -> ItemPlan:
    """Say what has to be done. `there`: hash and executable bit of each file of the output directory."""
    plan = ItemPlan([], [], [], [], [])
    wanted = set()
    for item in items:
        made = known.get(item.key) if not force else None
        if made is None:
            plan.run.append(item)
            wanted.add(item.output)
        elif not made.path:
            plan.skipped.append(item)
        elif there.get(item.output) == (made.hash, made.is_executable):
            plan.ready.append(item)
            wanted.add(item.output)
        else:
            plan.take.append((item, made))
            wanted.add(item.output)
    plan.remove.extend(path for path in there if path not in wanted)
    return plan


def fill_command(stage: Stage, item: Item, source: str, target: str) -> str:
    """Return the command for an item, as the shell takes it: `source` and `target` from the stage's folder."""
    rest = item.output
    name = posixpath.basename(item.input)
    values = {
        "input": source,
        "output": target,
        "path": posixpath.join(posixpath.dirname(rest), name),
        "name": name,
        "stem": posixpath.splitext(name)[0],
    }
    return stage.command.format(**{key: _argument(value) for key, value in values.items()})


def _argument(value: str) -> str:
    """Quote for the shell; what begins with a dash, so that no command takes it for an option."""
    return shlex.quote(f"./{value}" if value.startswith("-") else value)
