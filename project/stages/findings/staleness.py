"""Why a stage is not up to date, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from penstock.project.stages.definition.lock_file import Fingerprint, LockedStage, MadeOutput
from penstock.project.stages.definition.stage import Stage

from .run_key import command_hash

__all__ = ["Reason", "StageFacts", "only_outputs", "reasons"]

ReasonKind = Literal["new", "command", "dependency", "parameter", "output", "upstream"]
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that makes a stage stale: what kind of thing, which one, and what is with it."""

    kind: ReasonKind
    subject: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What a stage finds now, by paths and names as its file has them; None: it is not there."""

    dependencies: Mapping[str, Fingerprint | None] = field(default_factory=dict)
    parameters: Mapping[str, str | None] = field(default_factory=dict)
    outputs: Mapping[str, MadeOutput | None] = field(default_factory=dict)


def reasons(stage: Stage, now: StageFacts, locked: LockedStage | None) -> list[Reason]:
    """Return why a stage has to run, or what it made has to be put back; none when it is up to date."""
    if locked is None:
        return [Reason("new", stage.where.name, "it was never run")]
    found: list[Reason] = []
    if command_hash(stage) != locked.command:
        found.append(Reason("command", stage.where.name, "its command is another"))
    found += [
        Reason("dependency", path, f"{path} {text}")
        for path in stage.read
        if (text := _dependency(now.dependencies.get(path), locked.dependencies.get(path)))
    ]
    found += [
        Reason("dependency", path, f"{path} is a dependency no more")
        for path in locked.dependencies
        if path not in stage.read
    ]
    for name in stage.parameters:
        value, before = now.parameters.get(name), locked.parameters.get(name)
        if value is None:
            found.append(Reason("parameter", name, f"{name} is not there"))
        elif before is None:
            found.append(Reason("parameter", name, f"{name} is a new parameter"))
        elif value != before:
            found.append(Reason("parameter", name, f"{name} was {_short(before)}, and is {_short(value)}"))
    found += [
        Reason("parameter", name, f"{name} is a parameter no more")
        for name in locked.parameters
        if name not in stage.parameters
    ]
    if set(stage.made) != set(locked.outputs):
        found.append(Reason("command", stage.where.name, "it is to make other outputs"))
    for path in stage.made:
        made, before_output = now.outputs.get(path), locked.outputs.get(path)
        if before_output is None:
            continue
        if made is None:
            found.append(Reason("output", path, f"{path} is not there"))
        elif (made.kind, made.hash) != (before_output.kind, before_output.hash):
            found.append(Reason("output", path, f"{path} is not what the stage made"))
    return found


def only_outputs(found: list[Reason]) -> bool:
    """Whether nothing is stale but what the stage made: it can be put back, and need not be made again."""
    return bool(found) and all(reason.kind == "output" for reason in found)


def _dependency(now: Fingerprint | None, before: Fingerprint | None) -> str:
    if now is None:
        return "is not there"
    if before is None:
        return "is a new dependency"
    if now.hash == before.hash:
        return ""
    if now.files != before.files:
        return f"had {_files(before.files)}, and has {_files(now.files)}"
    return "changed" if now.files <= 1 else f"changed, in {_files(now.files)} as before"


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
