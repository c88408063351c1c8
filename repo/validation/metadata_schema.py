"""Metadata of entries against a JSON Schema, by `jsonschema-rs`: a million small documents a second.

References lead within the schema and nowhere else: nothing is fetched from the network or the disk. Patterns are
matched in linear time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.errors import UsageError

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["MetadataSchema"]

_MOST = 20
"""Problems that are told of one entry."""
_LONGEST = 300


class MetadataSchema:
    """A JSON Schema, compiled. UsageError: it is none, or the library is not there."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._validator = _compile(schema)

    def problems(self, metadata: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong with an entry's metadata, the first twenty, each with the member that it is about."""
        if self._validator.is_valid(metadata):
            return
        for error in islice(self._validator.iter_errors(metadata), _MOST):
            member = ".".join(map(str, error.instance_path))
            message = error.message if len(error.message) <= _LONGEST else f"{error.message[:_LONGEST]}…"
            yield f"{member}: {message}" if member else message


def _compile(schema: Mapping[str, Any] | bool) -> jsonschema_rs.Validator:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise UsageError(
            "metadata cannot be held against a schema",
            why="the library jsonschema-rs is not installed",
            fix="pip install 'penstock[validate]'",
        ) from error
    try:
        # A reference that leads outside raises at once, whatever the library would do about it.
        return jsonschema_rs.validator_for(
            schema if isinstance(schema, bool) else dict(schema),
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
        )
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0][:_LONGEST] if str(error) else type(error).__name__
        raise UsageError("the schema is no JSON Schema, or refers to another", why=why) from error


def _refuse(address: str) -> NoReturn:
    raise ValueError(f"{address} is outside of the schema: put it under $defs")
