"""Methods called for rows: actions that drop or alter them, fields that are derived, checks that refuse."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from blake3 import blake3

from penstock.errors import UsageError
from penstock.project.declared.declaration import Field, Method

from .code_processes import CodeError
from .data_record import DataRecord, FileValue, Lineage, file_name, plain_json
from .kept_work import KeptValue
from .messages import CallAnswer, FieldForm, MethodCall
from .version_draft import VersionDraft, form_of

__all__ = ["act", "check", "derive"]

_Rows = Iterator[tuple[str, DataRecord]]
_LONGEST_ERROR = 2000
_PAGE = 256
"""Rows for which it is asked at once what is remembered."""


def act(draft: VersionDraft, method: Method) -> None:
    """Let a method drop or alter rows. CodeError: it failed for one."""
    column = draft.declaration.column(method.alters) if method.alters else None
    form = form_of(column) if column is not None else None
    for record, answer in _answers(draft, method, form, draft.considered(method)):
        _refuse(draft, method, answer)
        assert answer.value is not None
        if column is not None:
            value = _checked(draft, method, answer, column)
            if value != record.value(column.name):
                draft.rows.put(answer.record, record.with_value(column.name, value), record)
        elif getattr(answer.value, "value", None) is True:
            draft.rows.put(answer.record, None, record)


def check(draft: VersionDraft, method: Method) -> None:
    """Let a method look at rows. CodeError: it raised for one."""
    changed = ((identity, new) for identity, _, new in draft.rows.changed() if new is not None)
    for _, answer in _answers(draft, method, None, draft.rows.all() if draft.is_changed(method) else changed):
        _refuse(draft, method, answer)


def derive(draft: VersionDraft, method: Method) -> None:
    """Make a field, of the rows for which that was not done before. CodeError: it failed for one.

    Where errors are kept, such a row has none, and the error.
    """
    if method.name in draft.stuck:
        return
    column = draft.declaration.column(method.name)
    assert column is not None
    shop, form = draft.shop, form_of(column)
    stage = shop.progress.stage(method.name, unit="items")
    works: dict[str, tuple[Lineage, str]] = {}
    for record, answer in _answers(draft, method, form, _needing(draft, method, form, works)):
        made, work = works.pop(answer.record)
        error = answer.error
        value: Any = None
        if not error:
            assert answer.value is not None
            try:
                value = draft.value(answer.value, column)
            except UsageError as caught:
                error = str(caught)
        if error:
            if not shop.keep_errors:
                _refuse(draft, method, msgspec.structs.replace(answer, error=error))
            draft.failed[method.name] = draft.failed.get(method.name, 0) + 1
        else:
            kept = KeptValue(value) if isinstance(value, FileValue) else KeptValue(None, value)
            shop.kept.keep(work, kept)
        draft.rows.put(answer.record, record.with_value(method.name, value, made, error[:_LONGEST_ERROR]), record)
        stage.advance(1)


def _needing(draft: VersionDraft, method: Method, form: FieldForm, works: dict[str, tuple[Lineage, str]]) -> _Rows:
    """Yield the rows that a method has to be called for; what is remembered of earlier calls is taken.

    `works` is given what stands for each call that is to be made.
    """
    needs = _inputs(draft, method)
    rows = draft.considered(method)
    while page := list(islice(rows, _PAGE)):
        asked: list[tuple[str, DataRecord, Lineage, str]] = []
        for identity, record in page:
            made = _lineage(method, record)
            if record.made.get(method.name) == made:
                continue
            if _has(record, needs):
                asked.append((identity, record, made, _work(made, form)))
            elif record.value(method.name) is not None or method.name in record.error:
                draft.rows.put(identity, record.with_value(method.name, None), record)
        known = draft.shop.kept.find([work for *_, work in asked])
        for identity, record, made, work in asked:
            kept = known.get(work)
            if kept is not None:
                value = kept.file if kept.file is not None else kept.plain
                draft.rows.put(identity, record.with_value(method.name, value, made), record)
            else:
                works[identity] = made, work
                yield identity, record


def _answers(
    draft: VersionDraft, method: Method, form: FieldForm | None, rows: _Rows
) -> Iterator[tuple[DataRecord, CallAnswer]]:
    """Call a method for rows, and yield each with its answer; no process is started where there is nothing to call."""
    inflight: dict[str, DataRecord] = {}
    needs = _inputs(draft, method)

    def calls() -> Iterator[MethodCall]:
        for identity, record in rows:
            if _has(record, needs):
                inflight[identity] = record
                yield _call(draft, method, identity, record)

    made = calls()
    first = next(made, None)
    if first is None:
        return

    def counted() -> Iterator[MethodCall]:
        draft.count_call(method)
        assert first is not None
        yield first
        for call in made:
            draft.count_call(method)
            yield call

    for answer in draft.code(method).call(method.name, form, counted()):
        yield inflight.pop(answer.record), answer


def _inputs(draft: VersionDraft, method: Method) -> list[str]:
    """Return the fields that a method cannot do without."""
    needed = []
    for each in method.parameters:
        column = draft.declaration.column(each.name)
        if not each.has_default and each.name != "id" and (column is None or not column.type.optional):
            needed.append(each.name)
    return needed


def _has(record: DataRecord, needs: list[str]) -> bool:
    return all(record.value(name) is not None for name in needs)


def _call(draft: VersionDraft, method: Method, identity: str, record: DataRecord) -> MethodCall:
    """Return what a method is called with for a record that has what it needs."""
    values: dict[str, Any] = {}
    files: dict[str, tuple[str, str]] = {}
    for parameter in method.parameters:
        value = identity if parameter.name == "id" else record.value(parameter.name)
        if isinstance(value, FileValue):
            files[parameter.name] = (draft.path(value, parameter.name, identity), file_name(identity, value))
        elif value is not None or not parameter.has_default:
            values[parameter.name] = value
    return MethodCall(identity, values, files)


def _refuse(draft: VersionDraft, method: Method, answer: CallAnswer) -> None:
    if answer.error:
        raise CodeError(
            f"{draft.declaration.file}:{method.line}: {method.name} failed for record {answer.record}: {answer.error}",
            fix="Correct it, and commit again: what was done is kept.",
        )


def _checked(draft: VersionDraft, method: Method, answer: CallAnswer, column: Field) -> Any:
    assert answer.value is not None
    try:
        return draft.value(answer.value, column)
    except UsageError as error:
        _refuse(draft, method, msgspec.structs.replace(answer, error=str(error)))
        raise


def _lineage(method: Method, record: DataRecord) -> Lineage:
    return Lineage(method.digest, {name: record.stamp(name) for name in method.inputs if name != "id"})


def _work(made: Lineage, form: FieldForm) -> str:
    """Return what stands for a call: the same code, the same inputs, the same types of what is to come of it."""
    body = plain_json({"by": made.by, "of": made.of, "formats": list(form.formats)}, made.of)
    return blake3(body, derive_key_context="penstock 1 declared work").hexdigest()
