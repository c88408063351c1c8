"""A version of a dataset made anew: from the version of the commit before, by what its declaration says now.

    join       records of a version that is merged in
    reshape    fields that were renamed, removed, or have another type
    ingest     records that are new
    act        rows that are dropped or altered
    derive     fields that methods make
    check      what refuses
    publish    the version lies in the local bucket; nothing of the work tree has changed

Each step goes over rows that changed; over all of them only when its own code did. **Invariants.** When an error comes
up nothing has changed but what is remembered of work that was done (`kept_work`). No user's code runs in this process.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

from penstock.errors import AccessError
from penstock.project.declared.declaration import Declaration, Role
from penstock.project.declared.declared_source import DeclaredSource

from .changed_rows import ChangedRows
from .dataset_schema import schema_of, write_schema
from .ingested_rows import take_ingest
from .joined_records import join
from .method_calls import act, check, derive
from .published_version import publish_edits
from .reshaped_rows import reshape
from .row_edits import RowEdits
from .version_draft import Merging, VersionDraft, Workshop
from .versions import Version

__all__ = ["BuiltVersion", "build"]


@dataclass(slots=True)
class BuiltVersion:
    """What came of it. `calls`: how often each method was called; `added`, `removed`: records."""

    version: Version
    calls: dict[str, int] = field(default_factory=dict)
    added: int = 0
    removed: int = 0
    failed: dict[str, int] = field(default_factory=dict)


def build(
    shop: Workshop,
    source: DeclaredSource,
    declaration: Declaration,
    base: Version | None,
    merging: Merging | None = None,
    *,
    again: bool = False,
    only_known: bool = False,
) -> BuiltVersion:
    """Make the version that a declaration describes, of a base; the base itself if it is that already.

    With `again` ingests run that have run before. With `only_known`, no code is run: `NeedsCodeError` when it would be.

    DeclarationError, CodeError, MergeConflictError, UsageError (a value that does not fit): nothing has changed.
    """
    if base is not None and merging is None and not again and _is_made(declaration, base):
        return BuiltVersion(base)
    try:
        with closing(ChangedRows(base, shop.files.folder)) as rows:
            try:
                with closing(VersionDraft(shop, source, declaration, rows, merging, only_known)) as draft:
                    _change(draft, again=again)
                return _publish(draft)
            finally:
                shop.kept.flush()
    except sqlite3.Error as error:
        raise AccessError(
            f"{shop.files.folder} cannot be written", why=str(error), fix="Make room, and commit again."
        ) from error


def _is_made(declaration: Declaration, base: Version) -> bool:
    schema = schema_of(declaration)
    return base.metadata == write_schema(schema, declaration.title, declaration.description)


def _change(draft: VersionDraft, *, again: bool) -> None:
    """Take all steps but the last."""
    declaration, merging = draft.declaration, draft.merging
    if merging is not None:
        join(draft.rows, merging.ancestor, merging.theirs, merging.choose)
    reshape(draft)
    for method in declaration.of_role(Role.INGEST):
        take_ingest(draft, method, again=again)
    for method in (*declaration.of_role(Role.ALTER), *declaration.of_role(Role.DELETE)):
        act(draft, method)
    for method in declaration.of_role(Role.DERIVED):
        derive(draft, method)
    for method in declaration.of_role(Role.CHECK):
        check(draft, method)


def _publish(draft: VersionDraft) -> BuiltVersion:
    shop, rows, declaration = draft.shop, draft.rows, draft.declaration
    added, removed = rows.counts()
    theirs = [draft.merging.theirs] if draft.merging is not None else []
    edits = RowEdits(rows, draft.schema, draft.names, shop.kept, theirs)
    version = publish_edits(
        shop.session,
        declaration.name,
        rows.base,
        edits.edits,
        write_schema(draft.schema, declaration.title, declaration.description),
        shop.authorship,
        [each.commit for each in draft.origins],
        shop.branch,
        shop.attach,
        shop.files.make_durable,
        shop.progress,
    )
    return BuiltVersion(version, draft.calls, added, removed, draft.failed)
