"""Rules for a version, read from one document, and run over its entries in tree order.

    metadata  a JSON Schema, or a list of {paths, schema}: of each entry (that the pattern fits)
    folders   ["train/", "val/"]: there is something in each
    types     [{paths = "images/**", types = ["image/jpeg", "image/png"]}]: by content
    counts    [{paths = "train/*/*.jpg", least = 1, most = 1000000}]
    pairs     [{paths = "labels/*.json", with = "images/*.jpg"}]: each has its partner, the stars standing for the same;
              `with` may be a list, of which one is enough

A document that has none of these members is a JSON Schema itself. Memory does not grow with the entries: partners are
looked up in the tree. What has to be read of files is the first bytes of those that `types` is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penstock.errors import UsageError
from penstock.repo.query.query_record import Record

from .content_types import content_type, fits
from .metadata_schema import MetadataSchema
from .patterns import PathPattern, fill
from .problem import Problem

__all__ = ["Rules", "Run", "parse_rules", "validate"]

_MEMBERS = frozenset({"metadata", "folders", "types", "counts", "pairs"})
_EVERYTHING = PathPattern("**")


class Rules:
    """What has to hold. Made by `parse_rules`; any number of runs."""

    def __init__(self) -> None:
        self.metadata: list[tuple[PathPattern, MetadataSchema]] = []
        self.folders: list[str] = []
        self.types: list[tuple[PathPattern, list[str]]] = []
        self.counts: list[tuple[PathPattern, int, int | None]] = []
        self.pairs: list[tuple[PathPattern, list[PathPattern]]] = []

    def needs_head(self, path: str) -> bool:
        """Whether the first bytes of a file have to be known."""
        return any(pattern.match(path) is not None for pattern, _ in self.types)


def parse_rules(document: object) -> Rules:
    """Read rules. UsageError names the member that is malformed."""
    if not isinstance(document, Mapping):
        raise UsageError("rules are a table, or a JSON Schema", why=f"this is a {type(document).__name__}")
    rules = Rules()
    if not document.keys() & _MEMBERS:
        rules.metadata.append((_EVERYTHING, MetadataSchema(document)))
        return rules
    if unknown := document.keys() - _MEMBERS:
        raise UsageError(
            f"rules have no member {min(map(str, unknown))!r}", fix=f"There are: {', '.join(sorted(_MEMBERS))}."
        )
    found = document.get("metadata", [])
    if isinstance(found, Mapping):
        rules.metadata.append((_EVERYTHING, MetadataSchema(found)))
    else:
        for row in _rows(found, "metadata", {"schema"}):
            rules.metadata.append((_pattern(row), MetadataSchema(row["schema"])))
    rules.folders = [folder.strip("/") + "/" for folder in _texts(document.get("folders", []), "folders")]
    for row in _rows(document.get("types", []), "types", {"types"}):
        rules.types.append((_pattern(row), _texts(row["types"], "types")))
    for row in _rows(document.get("counts", []), "counts", set(), {"least", "most"}):
        least, most = row.get("least", 0), row.get("most")
        if not isinstance(least, int) or not isinstance(most, int | None):
            raise UsageError("a rule of counts is malformed", why="`least` and `most` are whole numbers")
        rules.counts.append((_pattern(row), least, most))
    for row in _rows(document.get("pairs", []), "pairs", {"with"}):
        pattern, partners = _pattern(row), [PathPattern(text) for text in _texts(row["with"], "pairs")]
        if any(partner.stars != pattern.stars for partner in partners):
            raise UsageError(
                f"{pattern.text!r} and its partner have different stars", why="each stands for the same in both"
            )
        rules.pairs.append((pattern, partners))
    return rules


def _rows(found: object, member: str, needed: set[str], more: set[str] = frozenset()) -> list[Mapping[str, Any]]:  # type: ignore[assignment]
    if not isinstance(found, list):
        raise UsageError(f"the rules of {member} are malformed", why="they are a list")
    for row in found:
        if not isinstance(row, Mapping) or not needed <= row.keys() or row.keys() - needed - more - {"paths"}:
            why = f"each has `paths` and {', '.join(f'`{name}`' for name in sorted(needed | more))}"
            raise UsageError(f"a rule of {member} is malformed", why=why)
    return found


def _texts(found: object, member: str) -> list[str]:
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise UsageError(f"the rules of {member} are malformed", why="a text, or a list of texts, is wanted")
    return texts


def _pattern(row: Mapping[str, Any]) -> PathPattern:
    return PathPattern(row.get("paths", "**"))


class Run:
    """One pass over the entries of a version: `check` each, then `finish`."""

    def __init__(self, rules: Rules, exists: Callable[[str], bool]) -> None:
        self._rules = rules
        self._exists = exists
        self._missing = set(rules.folders)
        self._counts = [0] * len(rules.counts)

    def check(self, record: Record, head: bytes | None = None) -> Iterator[Problem]:
        """Yield what is wrong with an entry. `head`: its first HEAD_BYTES, where `Rules.needs_head` says so."""
        path, rules = record.path, self._rules
        for folder in [each for each in self._missing if path.startswith(each)]:
            self._missing.discard(folder)
        for pattern, schema in rules.metadata:
            if pattern.match(path) is not None:
                for what in schema.problems(record.metadata):
                    yield Problem(path, "metadata", what)
        if head is not None:
            for pattern, wanted in rules.types:
                kind = content_type(head)
                if pattern.match(path) is not None and not any(fits(kind, each) for each in wanted):
                    yield Problem(path, "types", f"it is {kind}, not {' or '.join(wanted)}")
        for at, (pattern, _, _) in enumerate(rules.counts):
            self._counts[at] += pattern.match(path) is not None
        for pattern, partners in rules.pairs:
            values = pattern.match(path)
            if values is not None:
                names = [fill(partner, values) for partner in partners]
                if not any(map(self._exists, names)):
                    yield Problem(path, "pairs", f"there is no {' or '.join(names)}")

    def finish(self) -> Iterator[Problem]:
        """Yield what is wrong with the whole."""
        for folder in self._rules.folders:
            if folder in self._missing:
                yield Problem(folder, "folders", "there is nothing in it")
        for (pattern, least, most), count in zip(self._rules.counts, self._counts, strict=True):
            if count < least or (most is not None and count > most):
                bounds = f"at least {least}" if count < least else f"at most {most}"
                yield Problem("", "counts", f"{count} entries are {pattern.text}, {bounds} should be")


def validate(
    records: Iterable[tuple[Record, Callable[[], bytes] | None]], rules: Rules, exists: Callable[[str], bool]
) -> Iterator[Problem]:
    """Yield what is wrong with files, in tree order, and then with the whole.

    `exists` says whether there is an entry at a path. With each record comes what gives the first HEAD_BYTES of the
    file, where `Rules.needs_head` says so.
    """
    run = Run(rules, exists)
    for record, head in records:
        yield from run.check(record, head() if head is not None else None)
    yield from run.finish()
