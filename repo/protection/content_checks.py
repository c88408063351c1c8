"""Checks of what a version holds: rules of `validation`, sizes, contents that another data set has.

Each costs what changed since the version that passed, where the rule allows it: rules that count, and a comparison
with a data set that has moved, go through all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from penstock.errors import UsageError
from penstock.manifest.entry import display_path
from penstock.manifest.records import CheckRule
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.validation.content_types import HEAD_BYTES
from penstock.repo.validation.patterns import fill
from penstock.repo.validation.problem import Problem
from penstock.repo.validation.validation_rules import Rules, Run, parse_rules

from .proposed_version import ProposedVersion, is_content, leaves

__all__ = ["check_leak", "check_rules", "check_sizes", "is_of_same_bucket"]

_OURS = "ours"
_MOST_NAMED = 1000


def check_rules(rule: CheckRule, version: ProposedVersion) -> Iterator[Problem]:
    """Yield what does not fit rules as `penstock validate` has them."""
    rules = parse_rules(rule.settings.get("rules"))
    run = Run(rules, lambda path: version.find(path) is not None)
    everything = bool(rules.counts) or version.base is None
    for change in version.changes(all_of_it=everything):
        if change.new is not None and change.new.is_file:
            record = version.record(change)
            head = version.head(change.new, HEAD_BYTES) if rules.needs_head(record.path) else None
            yield from run.check(record, head)
        elif change.new is None and change.old is not None and change.old.is_file:
            yield from _left_alone(rules, display_path(change.path), version)
    if everything:
        yield from run.finish()
        return
    for folder in rules.folders:
        found = version.find(folder)
        if found is None or not found.entries:
            yield Problem(folder, "folders", "there is nothing in it")


def _left_alone(rules: Rules, gone: str, version: ProposedVersion) -> Iterator[Problem]:
    """Yield what has lost its partner with a file that is gone."""
    for pattern, partners in rules.pairs:
        for partner in partners:
            values = partner.match(gone)
            if values is None:
                continue
            path = fill(pattern, values)
            names = [fill(each, values) for each in partners]
            if version.find(path) is not None and not any(version.find(name) is not None for name in names):
                yield Problem(path, "pairs", f"there is no {' or '.join(names)}")


def check_sizes(rule: CheckRule, version: ProposedVersion) -> Iterator[Problem]:
    """Yield files, or the whole, that are larger than they may be."""
    most = rule.settings.get("most")
    if not isinstance(most, int):
        raise UsageError(f"the rule {rule.check!r} is malformed", why="it says no number")
    root = version.manifest.root
    if rule.check == "total" and root.size > most:
        yield Problem("", "total", f"it has {root.size} bytes, and {most} are the most")
    if rule.check == "entries" and root.entries > most:
        yield Problem("", "entries", f"it has {root.entries} entries, and {most} are the most")
    if rule.check == "size":
        for change in version.changes():
            if change.new is not None and change.new.is_file and change.new.size > most:
                what = f"it has {change.new.size} bytes, and {most} are the most"
                yield Problem(display_path(change.path), "size", what)


def is_of_same_bucket(named: str) -> bool:
    """Whether what a rule names is a data set of the bucket that the rule stands in."""
    return "/" not in named


def check_leak(rule: CheckRule, version: ProposedVersion, known: dict[str, str]) -> tuple[list[Problem], str]:
    """Return files whose content another data set has as well, and the version of that. `known`: what it was before.

    Empty files count for nothing, and those of which nobody has read the content.
    """
    named = rule.settings.get("of")
    if not isinstance(named, str):
        raise UsageError("the rule 'leak' is malformed", why="it names no data set")
    text = f"{version.session.bucket.rstrip('/')}/{named}" if is_of_same_bucket(named) else named
    other = open_snapshot(str(parse_handle(text)), version.session.settings)
    try:
        top = other.top_hash.hex()
        everything = known.get(named) != top
        with Marks() as marks:
            marks.hold(
                _OURS,
                (
                    (change.new.hash, 0)
                    for change in version.changes(all_of_it=everything)
                    if change.new is not None and change.new.is_file and change.new.size and not change.new.is_identity
                ),
            )
            leaked = {
                leaf.hash(at)
                for leaf in leaves(other.session, other.manifest.root)
                for at in range(len(leaf))
                if is_content(leaf, at) and marks.is_held(_OURS, leaf.hash(at))
            }
        if not leaked:
            return [], top
        named_paths = (
            Problem(display_path(change.path), "leak", f"{named} has the same content")
            for change in version.changes(all_of_it=everything)
            if change.new is not None and change.new.is_file and change.new.hash in leaked
        )
        return list(islice(named_paths, _MOST_NAMED)), top
    finally:
        other.close()
