"""Rows that ingests bring: each runs once for each version of its code, and what it brought is kept as it comes."""

from __future__ import annotations

from penstock.errors import UsageError
from penstock.project.declared.declaration import Method

from .code_processes import CodeError
from .data_record import DataRecord
from .version_draft import VersionDraft, form_of

__all__ = ["take_ingest"]


def take_ingest(draft: VersionDraft, method: Method, *, again: bool) -> None:
    """Take in what an ingest brings: nothing, if the version before has it. With `again` it runs that has run before.

    CodeError: it failed, or a value does not fit its field; the records that came before are kept for the next time.
    """
    kept, name = draft.shop.kept, f"{draft.declaration.name}.{method.name}"
    known = any(
        each.schema.ingests.get(method.name) == method.digest
        or (method.was and each.schema.ingests.get(method.was) == method.digest)
        for each in draft.origins
    )
    if known and not again:
        return
    if again and kept.is_finished(name, method.digest):
        kept.forget_ingest(name, method.digest)
    if kept.is_finished(name, method.digest) and not _is_here(draft, method, name):
        kept.forget_ingest(name, method.digest)
    if not kept.is_finished(name, method.digest):
        _bring(draft, method, name)
    for identity, record in kept.brought(name, method.digest):
        if not draft.rows.has(identity):
            draft.rows.put(identity, record)


def _is_here(draft: VersionDraft, method: Method, name: str) -> bool:
    """Whether the files of what an ingest brought once are there: of a version that was never made, gc takes them."""
    kept = draft.shop.kept
    return all(
        kept.has_file(file)
        for identity, record in kept.brought(name, method.digest)
        if not draft.rows.has(identity)
        for file in record.files.values()
    )


def _bring(draft: VersionDraft, method: Method, name: str) -> None:
    kept = draft.shop.kept
    fields = draft.declaration.fields
    asks = any(each.name == "done" for each in method.parameters)
    number = kept.count(name, method.digest)
    if number and not (asks and _is_here(draft, method, name)):
        kept.forget_ingest(name, method.digest)
        number = 0
    processes = draft.code(method)
    stage = draft.shop.progress.stage(method.name, unit="items")
    draft.count_call(method)
    brought = processes.ingest(method.name, tuple(form_of(each) for each in fields), number if asks else None)
    try:
        for each in brought:
            record = DataRecord(method.was or method.name)
            for column in fields:
                try:
                    record = record.with_value(column.name, draft.value(each.values[column.name], column))
                except UsageError as error:
                    raise CodeError(
                        f"{draft.declaration.file}:{method.line}: record {number} of {method.name}: {error}"
                    ) from error
            kept.bring(name, method.digest, number, method.was or method.name, record)
            number += 1
            stage.advance(1)
    finally:
        kept.flush()
    kept.finish(name, method.digest)
