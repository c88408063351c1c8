"""A record: one row of a dataset, and the names of its files. Pure values, kept as the metadata of entries.

    .records/<id>                          an empty file whose metadata is the `DataRecord`
    <field>/<id>.<checksum>.<suffix>       a file of it

**Invariant:** a record's id depends on what its ingest brought alone, so that it is the same on every branch and
machine; it stays when fields are made, renamed or removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from blake3 import blake3

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.entry import MAX_METADATA
from penstock.manifest.metadata import canonical_json

__all__ = [
    "RECORDS",
    "DataRecord",
    "FileValue",
    "Lineage",
    "check_id",
    "decode_record",
    "encode_record",
    "file_name",
    "plain_json",
    "record_id",
]

RECORDS = b".records"
"""The folder of the records themselves."""
_ID_DIGITS = 20
_CHECKSUM_DIGITS = 16


class FileValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a field of a record has. `hash`: of its content, in hex; `suffix` without the dot."""

    hash: str
    size: int
    suffix: str

    @property
    def checksum(self) -> str:
        """What of the hash stands in the file's name."""
        return self.hash[:_CHECKSUM_DIGITS]


class Lineage(msgspec.Struct, frozen=True):
    """What a derived value was made by: the hash of the code, and of each input the checksum or value."""

    by: str
    of: dict[str, Any] = {}


class DataRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record. `error`, of a field that could not be made: what went wrong."""

    ingest: str
    files: dict[str, FileValue] = {}
    values: dict[str, Any] = {}
    made: dict[str, Lineage] = {}
    error: dict[str, str] = {}

    def value(self, name: str) -> Any:
        """Return the value of a field: a `FileValue`, what JSON can say, or None."""
        return self.files.get(name, self.values.get(name))

    def stamp(self, name: str) -> Any:
        """Return what stands for the value of a field where it is an input: equal when the values are."""
        found = self.files.get(name)
        return found.hash if found is not None else self.values.get(name)

    def with_value(self, name: str, value: Any, made: Lineage | None = None, error: str = "") -> DataRecord:
        """Return it with another value of a field, None: it has none."""
        files = {key: each for key, each in self.files.items() if key != name}
        values = {key: each for key, each in self.values.items() if key != name}
        if isinstance(value, FileValue):
            files[name] = value
        elif value is not None:
            values[name] = value
        mades = {key: each for key, each in self.made.items() if key != name}
        if made is not None:
            mades[name] = made
        errors = {key: each for key, each in self.error.items() if key != name}
        if error:
            errors[name] = error
        return DataRecord(self.ingest, files, values, mades, errors)

    def renamed(self, names: dict[str, str]) -> DataRecord:
        """Return it with fields called otherwise."""
        return DataRecord(
            self.ingest,
            {names.get(key, key): each for key, each in self.files.items()},
            {names.get(key, key): each for key, each in self.values.items()},
            {
                names.get(key, key): Lineage(each.by, {names.get(name, name): of for name, of in each.of.items()})
                for key, each in self.made.items()
            },
            {names.get(key, key): each for key, each in self.error.items()},
        )

    def only(self, names: frozenset[str]) -> DataRecord:
        """Return it without fields that are not among the names."""
        return DataRecord(
            self.ingest,
            {key: each for key, each in self.files.items() if key in names},
            {key: each for key, each in self.values.items() if key in names},
            {key: each for key, each in self.made.items() if key in names},
            {key: each for key, each in self.error.items() if key in names},
        )


_decoder = msgspec.json.Decoder(DataRecord)
_encoder = msgspec.json.Encoder(order="sorted")
_ALIKE = (str, int, type(None))  # and bool, which is an int


def plain_json(value: dict[str, Any], *given: Mapping[str, Any]) -> bytes:
    """Write an object as canonical JSON, in a tenth of the time where what is in `given` is text and whole numbers.

    `given` are the mappings in it whose values are not ours. UsageError: as of `canonical_json`.
    """
    return _written(value, given) or canonical_json(msgspec.to_builtins(value))


def encode_record(record: DataRecord) -> bytes:
    """Write a record as canonical JSON: equal records are equal bytes. UsageError: metadata cannot hold a value."""
    given = (record.values, *[each.of for each in record.made.values()])
    return _written(record, given) or canonical_json(msgspec.to_builtins(record))


def _written(value: object, given: Iterable[Mapping[str, Any]]) -> bytes | None:
    """Write what both writers of JSON write alike, which floats are not; None: it is something else, or too much."""
    for mapping in given:
        for each in mapping.values():
            if not isinstance(each, _ALIKE):
                return None
    try:
        body = _encoder.encode(value)
    except (OverflowError, msgspec.MsgspecError, UnicodeEncodeError):
        return None
    return body if len(body) <= MAX_METADATA else None


def decode_record(body: bytes, name: str) -> DataRecord:
    """Read a record. IntegrityError: it is none."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"the record {name} is malformed", why=str(error)) from error


def record_id(ingest: str, files: dict[str, FileValue], values: dict[str, Any], occurrence: int) -> str:
    """Return the id of what an ingest brought for the `occurrence`-th time, counted from 0."""
    content = {"ingest": ingest, "occurrence": occurrence, "values": values}
    content["files"] = {name: each.hash for name, each in files.items()}
    body = plain_json(content, values)
    return blake3(body, derive_key_context="penstock 1 declared record").hexdigest()[:_ID_DIGITS]


def file_name(identity: str, value: FileValue) -> str:
    """Return the name of a record's file in its field's folder."""
    return f"{identity}.{value.checksum}.{value.suffix}"


def check_id(text: str) -> str:
    """Return the text, if it can be a record's id. UsageError: it cannot."""
    if len(text) != _ID_DIGITS or not set(text) <= set("0123456789abcdef"):
        raise UsageError(f"{text!r} is no id of a record", why=f"an id has {_ID_DIGITS} hex digits")
    return text
