"""What says that two runs would be the same: one hash of command, dependencies, parameters and outputs. Pure.

Where the project lies, who runs it, and the order in which things were named are no part of it, so that machines that
share a remote find each other's runs. Nor is the environment: a stage depends on what its file says, and on nothing
else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from blake3 import blake3

from penstock.project.stages.definition.lock_file import Fingerprint
from penstock.project.stages.definition.stage import Stage

__all__ = ["command_hash", "input_key", "item_command_key", "run_key"]


_CONTEXT = "penstock 1 run of a stage"


def command_hash(stage: Stage) -> str:
    """Return the hash of a stage's command, and of how it is run."""
    return _hash([stage.command, bool(stage.each), stage.suffix, stage.may_skip])


def run_key(stage: Stage, dependencies: Mapping[str, Fingerprint], parameters: Mapping[str, str]) -> str:
    """Return the hash of all that a run of a stage depends on."""
    read = {path: dependencies[path].hash for path in stage.read}
    return _hash(
        ["run", command_hash(stage), read, {name: parameters[name] for name in stage.parameters}, sorted(stage.made)]
    )


def item_command_key(stage: Stage, dependencies: Mapping[str, Fingerprint], parameters: Mapping[str, str]) -> str:
    """Return the hash of all that an item of a per-file stage depends on, its own input aside."""
    read = {path: dependencies[path].hash for path in stage.dependencies}
    return _hash(
        [
            "each",
            stage.command,
            stage.suffix,
            stage.may_skip,
            read,
            {name: parameters[name] for name in stage.parameters},
        ]
    )


def input_key(stage: Stage, content: str, path: str) -> str:
    """Return what an item is known by: its content, and its path where the command is told of it."""
    named = any(f"{{{each}}}" in stage.command for each in ("path", "name", "stem"))
    return _hash([content, path]) if named else content


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake3(text.encode(), derive_key_context=_CONTEXT).hexdigest()
