"""What this process and those that run a user's code say to each other: lines of JSON, through pipes.

us -> child       Setup, then Ingest, or MethodCalls, one after another
child -> us       Ready; of an ingest Brought… and IngestEnded; of calls one CallAnswers each; or Broken, and it ends
"""

from __future__ import annotations

from typing import Any

import msgspec

from .data_record import FileValue

__all__ = [
    "Broken",
    "Brought",
    "CallAnswer",
    "CallAnswers",
    "FieldForm",
    "FileForm",
    "FromChild",
    "Ingest",
    "IngestEnded",
    "MethodCall",
    "MethodCalls",
    "Ready",
    "Setup",
    "ToChild",
    "decode_from_child",
    "decode_to_child",
    "encode",
]


class FieldForm(msgspec.Struct, frozen=True):
    """A field, as far as a child has to know it: its name, its file types if it is one of files."""

    name: str
    formats: tuple[str, ...]
    optional: bool


class FileForm(msgspec.Struct, frozen=True, tag="file"):
    """A file of a record: the object that holds it, the hashes of its blocks."""

    value: FileValue
    object: str
    blocks: str


class PlainForm(msgspec.Struct, frozen=True, tag="plain"):
    """A value that is no file."""

    value: Any


ValueForm = FileForm | PlainForm


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """What code to load, and where files go. `source`: the folder that holds it; `file`: its path there."""

    source: str
    file: str
    table: str
    place: str
    bucket: str
    folder: str


class Ingest(msgspec.Struct, frozen=True, tag="ingest"):
    """Run an ingest. `fields`: what its records have, in order; `done`: given to it if it asks, None: it does not."""

    method: str
    fields: tuple[FieldForm, ...]
    done: int | None


class MethodCall(msgspec.Struct, frozen=True):
    """One call for one record: values by parameter; `files` are objects, and the names that they are given."""

    record: str
    values: dict[str, Any]
    files: dict[str, tuple[str, str]]


class MethodCalls(msgspec.Struct, frozen=True, tag="calls"):
    """Calls of one method. `field`: what becomes of what it returns; None: it is looked at only (`True`, or not)."""

    method: str
    field: FieldForm | None
    calls: tuple[MethodCall, ...]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The code is loaded."""


class Brought(msgspec.Struct, frozen=True, tag="brought"):
    """A record of an ingest, values by field."""

    values: dict[str, ValueForm]


class IngestEnded(msgspec.Struct, frozen=True, tag="ended"):
    """The ingest has ended."""


class CallAnswer(msgspec.Struct, frozen=True):
    """What came of a call: a value, or what went wrong."""

    record: str
    value: ValueForm | None = None
    error: str = ""


class CallAnswers(msgspec.Struct, frozen=True, tag="answers"):
    """What came of calls, in their order."""

    answers: tuple[CallAnswer, ...]


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The code cannot be loaded, or an ingest failed. `missing`: the library that is not there, if that is why."""

    what: str
    trace: str
    missing: str = ""


ToChild = Setup | Ingest | MethodCalls
FromChild = Ready | Brought | IngestEnded | CallAnswers | Broken

encode = msgspec.json.Encoder().encode
decode_to_child = msgspec.json.Decoder(ToChild).decode
decode_from_child = msgspec.json.Decoder(FromChild).decode
