"""The inputs of a task: which files each call of the function is given, as a directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.manifest.entry import Metadata, TreeEntry, display_path
from penstock.manifest.hashing import content_hash
from penstock.manifest.metadata import parse_metadata
from penstock.repo.read.shard_files import record_of
from penstock.repo.read.snapshot import Snapshot

from .transform_job import By, InputRecord

__all__ = ["InputFile", "TaskInput", "inputs_hash", "task_inputs"]

_Names = tuple[bytes, ...]
InputFile = tuple[_Names, TreeEntry]


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What one call gets. `key` says which it is; `folder` is where its outputs lie, `within` where its files do."""

    key: str
    folder: _Names
    within: _Names
    files: tuple[InputFile, ...]

    def digest(self, snapshot: Snapshot, *, metadata: bool, shard: tuple[int, int] | None) -> bytes:
        """Return the hash of all that the call sees: names and contents, and `metadata` if that is asked for."""
        if len(self.files) == 1 and not metadata and shard is None:
            return self.files[0][1].hash
        rows = tuple(
            (b"/".join(names), entry.hash, _hash(snapshot, entry.metadata) if metadata else b"")
            for names, entry in self.files
        )
        return InputRecord(rows, shard).digest()

    def metadata(self, snapshot: Snapshot, by: By) -> dict[str, Any]:
        """Return the metadata of its file; of a record or a shard, by name."""
        found = {
            display_path(names[len(self.within) :]): parse_metadata(snapshot.read_metadata(entry.metadata))
            for names, entry in self.files
        }
        return found if by != "file" else next(iter(found.values()))

    def write(self, directory: str, contents: Iterator[bytes]) -> None:
        """Write its files into a directory, each with the next of `contents`."""
        for names, _ in self.files:
            path = os.path.join(os.fsencode(directory), *names[len(self.within) :])
            if len(names) > len(self.within) + 1:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(next(contents))


def _hash(snapshot: Snapshot, metadata: Metadata) -> bytes:
    return content_hash(snapshot.read_metadata(metadata))


def task_inputs(files: Iterable[InputFile], by: By, number: int) -> Iterator[TaskInput]:
    """Group the files of a task, which come in tree order."""
    if by == "shard":
        yield TaskInput(f"shard {number}", (), (), tuple(files))
        return
    group: list[InputFile] = []
    for names, entry in files:
        if group and not (by == "record" and _is_one(group[-1][0], names)):
            yield _input(group, by)
            group = []
        group.append((names, entry))
    if group:
        yield _input(group, by)


def _is_one(one: _Names, other: _Names) -> bool:
    return b"." in one[-1] and b"." in other[-1] and record_of(one) == record_of(other)


def _input(files: list[InputFile], by: By) -> TaskInput:
    names = files[0][0]
    return TaskInput(display_path(record_of(names) if by == "record" else names), names[:-1], names[:-1], tuple(files))


def inputs_hash(inputs: Iterable[TaskInput], digests: Iterable[bytes]) -> bytes:
    """Return the hash of all inputs of a task, which calls they are and what each sees: what its part is called."""
    named = zip(inputs, digests, strict=True)
    return content_hash(
        b"".join(content_hash(each.key.encode("utf-8", "surrogateescape")) + seen for each, seen in named)
    )
