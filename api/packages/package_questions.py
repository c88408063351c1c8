"""What is asked about the files of a version by their metadata: filters, fields, rules. One half of `Package`.

All of it is a stream in tree order: nodes are loaded as they are reached, and no list of entries is held.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import split_path
from penstock.repo.query.query_record import Record

from .entry import Entry
from .package_entries import PackageEntries

if TYPE_CHECKING:
    from penstock.repo.query.summary import FieldSummary
    from penstock.repo.validation.problem import Problem

__all__ = ["MetadataFields", "PackageQuestions", "question"]

_MOST_DOCUMENT = 16 << 20


@dataclass(frozen=True, slots=True)
class MetadataFields:
    """What metadata files have: of `entries` files, `described` have any; `fields` by name.

    `left_out` counts how often a field was met beyond the first thousand different ones, which are those told.
    """

    entries: int
    described: int
    left_out: int
    fields: Sequence[FieldSummary]


def question(
    where: str | None, wanted: Mapping[str, Any] | None = None
) -> Callable[[Iterable[Record]], Iterator[Record]]:
    """Return what passes on records that an expression, and keyword conditions, are true for.

    UsageError: it does not parse; at the end of the stream: a field that no file has.
    """
    from penstock.repo.query.conditions import conditions
    from penstock.repo.query.expression import known_fields, matching, parse_expression

    expression = parse_expression(where) if where is not None else None
    holds = conditions(**wanted) if wanted else None
    fields = [tuple(name.split("__")) for name in wanted or ()]

    def asked(records: Iterable[Record]) -> Iterator[Record]:
        if holds is not None:
            records = filter(holds, known_fields(records, fields))
        return iter(records) if expression is None else matching(records, expression)

    return asked


class PackageQuestions(PackageEntries):
    """What a `Package` answers about the metadata of its files."""

    __slots__ = ()

    def filter(self, prefix: str = "", *, where: str | None = None, **conditions: Any) -> Iterator[Entry]:
        """Yield the files at and below a path that conditions are true for, in tree order, as they are found.

        `where` is an expression: ``label == "cat" and size > 1MB``; docs/PACKAGES.md has the language. A keyword is a
        field, ``camera__iso`` one within another, that is to be equal to a value, to one of several in a list, or such
        that a function of it is true.

        NotFoundError: there is no such path. UsageError: the expression does not parse; at the end: it asks for a field
        that no file has.

        >>> import penstock
        >>> _ = penstock.Dataset("demo/photos").set_meta("2024/cat.jpg", {"label": "cat"}, tag="labelled")
        >>> package = penstock.open("demo/photos:labelled")
        >>> [entry.key for entry in package.filter("2024", label="cat")]
        ['2024/cat.jpg']
        >>> [entry.key for entry in package.filter(where='label != "cat" and name like "*.jpg"')]
        ['2024/dog.jpg']
        """
        from penstock.repo.read.entry_records import EntryRecords

        asked = question(where, conditions)  # what does not parse is told at once
        chosen = EntryRecords(self._snapshot, prefix).chosen(asked)
        return (Entry(self, names, entry) for _, names, entry in chosen)

    def metadata_fields(self, prefix: str = "") -> MetadataFields:
        """Tell which fields the metadata of files has, of which types, how many files have each, and which values.

        >>> import penstock
        >>> _ = penstock.Dataset("demo/photos").set_meta("2024/cat.jpg", {"label": "cat"}, tag="labelled")
        >>> found = penstock.open("demo/photos:labelled").metadata_fields()
        >>> found.entries, found.described, found.fields[0].field, found.fields[0].values
        (3, 1, 'label', (('cat', 1),))
        """
        from penstock.repo.query.summary import summarize
        from penstock.repo.read.entry_records import EntryRecords

        summary = summarize(record.metadata for record in EntryRecords(self._snapshot, prefix))
        return MetadataFields(summary.entries, summary.described, summary.left_out, tuple(summary.fields()))

    def validate(
        self,
        schema: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        rules: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        prefix: str = "",
    ) -> Iterator[Problem]:
        """Yield what is not as it should be, by path, as it is found: nothing, where all is well.

        `schema` is a JSON Schema that the metadata of each file has to fit. `rules` are of folders, types by content,
        counts, pairs and more schemas, see docs/PACKAGES.md. Each may be the path of a file, in JSON or TOML.

        UsageError, at once: they are malformed, there are none, or ``penstock[validate]`` is not installed.
        NotFoundError: there is no such file; from the first step: no such path in the version.

        >>> import penstock
        >>> package = penstock.open("demo/photos")
        >>> list(package.validate(rules={"folders": ["2024"], "counts": [{"paths": "**/*.jpg", "least": 2}]}))
        []
        >>> for problem in package.validate(rules={"pairs": [{"paths": "2024/*.jpg", "with": "2024/*.json"}]}):
        ...     print(problem.path, problem.what)
        2024/cat.jpg there is no 2024/cat.json
        2024/dog.jpg there is no 2024/dog.json
        """
        from penstock.repo.read.file_heads import with_heads
        from penstock.repo.validation.validation_rules import parse_rules, validate

        if schema is None and rules is None:
            raise UsageError("there is nothing to hold the version against", fix="Give a schema, or rules.")
        document = {"metadata": [], **(_document(rules, "rules") if rules is not None else {})}
        every = [parse_rules(document)]
        if schema is not None:
            every.append(parse_rules({"metadata": _document(schema, "schema")}))
        for each in every[1:]:
            every[0].metadata += each.metadata
        snapshot = self._snapshot

        def exists(path: str) -> bool:
            try:
                snapshot.tree.resolve(split_path(path))
            except (NotFoundError, UsageError):
                return False
            return True

        return validate(with_heads(snapshot, prefix, every[0].needs_head), every[0], exists)


def _document(given: Mapping[str, Any] | str | os.PathLike[str], what: str) -> Mapping[str, Any]:
    """Return a document that is given, or lies in a file."""
    if isinstance(given, Mapping):
        return given
    import tomllib

    path = os.fspath(given)
    try:
        with open(path, "rb") as file:
            body = file.read(_MOST_DOCUMENT + 1)
    except OSError as error:
        raise NotFoundError(f"cannot read the {what} {path!r}", why=error.strerror or str(error)) from error
    if len(body) > _MOST_DOCUMENT:
        raise UsageError(f"the {what} {path!r} is too large", why=f"the most is {_MOST_DOCUMENT} bytes")
    try:
        found = tomllib.loads(body.decode()) if path.endswith(".toml") else json.loads(body)
    except (ValueError, RecursionError) as error:
        form = "TOML" if path.endswith(".toml") else "JSON"
        raise UsageError(f"the {what} {path!r} cannot be read as {form}", why=str(error)) from error
    if not isinstance(found, dict):
        raise UsageError(f"the {what} {path!r} is no table", why=f"it is a {type(found).__name__}")
    return found
