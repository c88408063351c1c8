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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from blake3 import blake3

from penstock.errors import AccessError, UsageError
from penstock.manifest.metadata import canonical_json
from penstock.progress import SILENT, Progress
from penstock.project.declared.declaration import Declaration, Field, Method, Role
from penstock.project.declared.declared_source import DeclaredSource
from penstock.project.declared.file_types import LOOKED_AT, check_format
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.publish import Authorship

from .changed_rows import ChangedRows
from .code_processes import CodeError, CodeProcesses
from .data_record import DataRecord, FileValue, Lineage, file_name
from .dataset_schema import Schema, check_inputs, convert, plain_type, renames, schema_of, write_schema
from .file_store import FileStore, StoredFile
from .joined_records import Choose, join
from .kept_work import KeptValue, KeptWork
from .messages import CallAnswer, FieldForm, FileForm, MethodCall, ValueForm
from .row_edits import RowEdits
from .versions import Version, publish_edits

__all__ = ["BuiltVersion", "Merging", "Workshop", "build"]

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Merging:
    """A version that is merged in: `ancestor` is what both sides come from; `choose` settles conflicts."""

    ancestor: Version | None
    theirs: Version
    choose: Choose


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where versions are made: the local bucket and what lies beside it, and how errors of single records are taken.

    `place`: the folder that a user's code runs in. With `keep_errors`, a record whose field cannot be made has none,
    and the error is kept; else it refuses the version. `run` is asked before any code is run, and raises if it may not.
    """

    session: BucketSession
    files: FileStore
    kept: KeptWork
    place: str
    authorship: Authorship
    branch: str
    permit: Callable[[str], None]
    keep_errors: bool = False
    progress: Progress = SILENT


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
        rows = ChangedRows(base, shop.files.folder)
        try:
            return _Making(shop, source, declaration, rows, merging, only_known).make(again)
        finally:
            rows.close()
            shop.kept.flush()
    except sqlite3.Error as error:
        raise AccessError(
            f"{shop.files.folder} cannot be written", why=str(error), fix="Make room, and commit again."
        ) from error


class NeedsCodeError(UsageError):
    """A version cannot be made without running code."""


def _is_made(declaration: Declaration, base: Version) -> bool:
    schema = schema_of(declaration)
    return base.metadata == write_schema(schema, declaration.title, declaration.description)


class _Making:
    def __init__(
        self,
        shop: Workshop,
        source: DeclaredSource,
        declaration: Declaration,
        rows: ChangedRows,
        merging: Merging | None,
        only_known: bool,
    ) -> None:
        self._shop = shop
        self._source = source
        self._declaration = declaration
        self._rows = rows
        self._merging = merging
        self._only_known = only_known
        self._before: Schema | None = rows.base.schema if rows.base is not None else None
        self._names = renames(declaration, self._before) if self._before is not None else {}
        self._stuck = check_inputs(declaration, self._before)
        self._schema = schema_of(declaration)
        self._processes: CodeProcesses | None = None
        self._built: BuiltVersion | None = None
        self._calls: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def make(self, again: bool) -> BuiltVersion:
        shop, rows, declaration = self._shop, self._rows, self._declaration
        try:
            if self._merging is not None:
                join(rows, self._merging.ancestor, self._merging.theirs, self._merging.choose)
            self._reshape()
            for method in declaration.of_role(Role.INGEST):
                self._ingest(method, again)
            for method in (*declaration.of_role(Role.ALTER), *declaration.of_role(Role.DELETE)):
                self._act(method)
            for method in declaration.of_role(Role.DERIVED):
                self._derive(method)
            for method in declaration.of_role(Role.CHECK):
                self._check(method)
        finally:
            if self._processes is not None:
                self._processes.close()
        added, removed = self._count()
        theirs = [self._merging.theirs] if self._merging is not None else []
        edits = RowEdits(rows, self._schema, self._names, shop.kept, theirs)
        edits.plan()
        parents = [each.commit for each in (rows.base, *theirs) if each is not None]
        version = publish_edits(
            shop.session,
            declaration.name,
            rows.base,
            edits.edits,
            write_schema(self._schema, declaration.title, declaration.description),
            shop.authorship,
            parents,
            shop.branch,
            shop.files.make_durable,
            shop.progress,
        )
        return BuiltVersion(version, self._calls, added, removed, self._failed)

    def _count(self) -> tuple[int, int]:
        added = removed = 0
        for _, old, new in self._rows.changed():
            added += old is None
            removed += new is None
        return added, removed

    # Running code

    def _code(self, method: Method) -> CodeProcesses:
        if self._processes is None:
            if self._only_known:
                raise NeedsCodeError(f"{method.name} has to run")
            self._shop.permit(f"{self._declaration.file}: {self._declaration.table}.{method.name}")
            self._processes = CodeProcesses(
                self._source,
                self._declaration.table,
                self._shop.place,
                self._shop.files.bucket,
                self._shop.files.folder,
            )
        return self._processes

    def _old_name(self, name: str) -> str:
        return next((old for old, new in self._names.items() if new == name), name)

    def _is_changed(self, method: Method) -> bool:
        """Whether a method's code is another one than in any version that this one is made of."""
        befores = [each for each in (self._before, self._merging.theirs.schema if self._merging else None) if each]
        digests = {each.methods.get(self._old_name(method.name)) for each in befores}
        return digests != {method.digest}

    def _considered(self, method: Method) -> Iterator[tuple[str, DataRecord]]:
        return self._rows.all() if self._is_changed(method) else self._rows.touched()

    # Reshape

    def _reshape(self) -> None:
        if self._before is None:
            return
        columns = {each.name: each for each in self._declaration.columns}
        gone = {each.name for each in self._before.fields} - set(columns) - set(self._names)
        changed = [
            column
            for each in self._before.fields
            if (column := columns.get(self._names.get(each.name, each.name))) is not None
            and plain_type(column.type) != plain_type(each.type)
        ]
        is_merged = self._merging is not None
        if not (gone or changed or self._names or is_merged):
            return
        kept = frozenset(columns)
        everything = bool(gone or changed or self._names)
        for identity, record in self._rows.all() if everything else self._rows.touched():
            new = record.renamed(self._names).only(kept)
            for column in changed:
                new = self._fitted(identity, new, column)
            if new != record:
                self._rows.put(identity, new, record)

    def _fitted(self, identity: str, record: DataRecord, column: Field) -> DataRecord:
        """Return a record whose field has another type now. UsageError: its value does not fit that."""
        value = record.value(column.name)
        if value is None:
            return record
        try:
            if column.type.is_file != isinstance(value, FileValue):
                raise UsageError(
                    f"{column.name} is {column.type}", why="files and values are not turned into each other"
                )
            if not isinstance(value, FileValue):
                return record.with_value(column.name, convert(value, column), record.made.get(column.name))
            stored = self._shop.kept.stored(value)
            if stored is not None:
                with open(self._shop.files.path_of(stored.object), "rb") as stream:
                    check_format(stream.read(LOOKED_AT), column.type.formats)
        except (UsageError, OSError) as error:
            if column.name in record.made:
                return record.with_value(column.name, None)  # it is made again
            raise UsageError(
                f"{self._declaration.file}:{column.line}: record {identity} does not fit: {error}",
                why=f"{column.name} is {column.type} now",
                fix="Give the field a type that its records fit, or add a field of another name.",
            ) from error
        return record

    # Ingest

    def _ingest(self, method: Method, again: bool) -> None:
        kept, name = self._shop.kept, f"{self._declaration.name}.{method.name}"
        merged = [self._merging.theirs.schema] if self._merging is not None else []
        befores = [each for each in (self._before, *merged) if each is not None]
        known = any(
            each.ingests.get(method.name) == method.digest
            or (method.was and each.ingests.get(method.was) == method.digest)
            for each in befores
        )
        if known and not again:
            return
        if again and kept.is_finished(name, method.digest):
            kept.forget_ingest(name, method.digest)
        if not kept.is_finished(name, method.digest):
            self._bring(method, name)
        for identity, record in kept.brought(name, method.digest):
            if not self._rows.has(identity):
                self._rows.put(identity, record)

    def _bring(self, method: Method, name: str) -> None:
        kept = self._shop.kept
        fields = self._declaration.fields
        asks = any(each.name == "done" for each in method.parameters)
        number = kept.count(name, method.digest)
        if number and not asks:
            kept.forget_ingest(name, method.digest)
            number = 0
        processes = self._code(method)
        stage = self._shop.progress.stage(method.name, unit="items")
        forms = tuple(_form(each) for each in fields)
        self._calls[method.name] = self._calls.get(method.name, 0) + 1
        brought = processes.ingest(method.name, forms, number if asks else None)
        try:
            for each in brought:
                record = DataRecord(method.was or method.name)
                for column in fields:
                    try:
                        record = record.with_value(column.name, self._value(each.values[column.name], column))
                    except UsageError as error:
                        raise CodeError(
                            f"{self._declaration.file}:{method.line}: record {number} of {method.name}: {error}"
                        ) from error
                kept.bring(name, method.digest, number, method.was or method.name, record)
                number += 1
                stage.advance(1)
        finally:
            kept.flush()
        kept.finish(name, method.digest)

    def _value(self, found: ValueForm, column: Field) -> Any:
        if isinstance(found, FileForm):
            self._shop.kept.store(StoredFile(found.value, bytes.fromhex(found.object), bytes.fromhex(found.blocks)))
            return found.value
        if column.type.is_file:
            return None
        return convert(found.value, column)

    # MethodCalls

    def _calls_of(
        self, method: Method, rows: Iterator[tuple[str, DataRecord]], inflight: dict[str, DataRecord]
    ) -> Iterator[MethodCall]:
        for identity, record in rows:
            call = self._call(method, identity, record)
            if call is not None:
                inflight[identity] = record
                yield call

    def _call(self, method: Method, identity: str, record: DataRecord) -> MethodCall | None:
        """Return what a method is called with for a record; None: an input is missing that it cannot do without."""
        values: dict[str, Any] = {}
        files: dict[str, tuple[str, str]] = {}
        for parameter in method.parameters:
            if parameter.name == "id":
                values["id"] = identity
                continue
            column = self._declaration.column(parameter.name)
            value = record.value(parameter.name)
            if isinstance(value, FileValue):
                files[parameter.name] = (self._path(value, parameter.name, identity), file_name(identity, value))
            elif value is not None:
                values[parameter.name] = value
            elif parameter.has_default:
                continue
            elif column is not None and column.type.optional:
                values[parameter.name] = None
            else:
                return None
        return MethodCall(identity, values, files)

    def _path(self, value: FileValue, field_name: str, identity: str) -> str:
        stored = self._shop.kept.stored(value)
        digest = stored.object if stored is not None else None
        if digest is None:
            name = file_name(identity, value).encode()
            versions = [self._rows.base, self._merging.theirs if self._merging is not None else None]
            for version in versions:
                folders = (field_name, self._old_name(field_name))
                found = next(
                    (each for folder in folders if version and (each := version.find(folder.encode(), name))), None
                )
                if found is not None and isinstance(found.extents[0].object, bytes):
                    digest = found.extents[0].object
        if digest is None:
            raise UsageError(f"the file of {field_name} of record {identity} is not here", fix="git datasets pull")
        return self._shop.files.path_of(digest)

    def _act(self, method: Method) -> None:
        column = self._declaration.column(method.alters) if method.alters else None
        form = _form(column) if column is not None else None
        inflight: dict[str, DataRecord] = {}
        for answer in self._answers(method, form, self._considered(method), inflight):
            record = inflight.pop(answer.record)
            self._refuse(method, answer)
            assert answer.value is not None
            if column is not None:
                value = self._checked(method, answer, column)
                if value != record.value(column.name):
                    self._rows.put(answer.record, record.with_value(column.name, value), record)
            elif getattr(answer.value, "value", None) is True:
                self._rows.put(answer.record, None, record)

    def _check(self, method: Method) -> None:
        inflight: dict[str, DataRecord] = {}
        changed = self._rows.all() if self._is_changed(method) else self._changed_rows()
        for answer in self._answers(method, None, changed, inflight):
            inflight.pop(answer.record)
            self._refuse(method, answer)

    def _changed_rows(self) -> Iterator[tuple[str, DataRecord]]:
        return ((identity, new) for identity, _, new in self._rows.changed() if new is not None)

    def _answers(
        self,
        method: Method,
        form: FieldForm | None,
        rows: Iterator[tuple[str, DataRecord]],
        inflight: dict[str, DataRecord],
    ) -> Iterator[CallAnswer]:
        calls = self._calls_of(method, rows, inflight)
        first = next(calls, None)
        if first is None:
            return

        def counted() -> Iterator[MethodCall]:
            self._calls[method.name] = self._calls.get(method.name, 0) + 1
            assert first is not None
            yield first
            for call in calls:
                self._calls[method.name] += 1
                yield call

        yield from self._code(method).call(method.name, form, counted())

    def _refuse(self, method: Method, answer: CallAnswer) -> None:
        if answer.error:
            raise CodeError(
                f"{self._declaration.file}:{method.line}: {method.name} failed for record {answer.record}: "
                f"{answer.error}",
                fix="Correct it, and commit again: what was done is kept.",
            )

    def _checked(self, method: Method, answer: CallAnswer, column: Field) -> Any:
        assert answer.value is not None
        try:
            return self._value(answer.value, column)
        except UsageError as error:
            self._refuse(method, msgspec.structs.replace(answer, error=str(error)))
            raise

    # Derive

    def _derive(self, method: Method) -> None:
        if method.name in self._stuck:
            return
        column = self._declaration.column(method.name)
        assert column is not None
        stage = self._shop.progress.stage(method.name, unit="items")
        inflight: dict[str, DataRecord] = {}
        form = _form(column)
        needed = self._needing(method, form)
        for answer in self._answers(method, form, needed, inflight):
            record = inflight.pop(answer.record)
            made = self._made(method, record)
            error = answer.error
            value: Any = None
            if not error:
                assert answer.value is not None
                try:
                    value = self._value(answer.value, column)
                except UsageError as caught:
                    error = str(caught)
            if error:
                if not self._shop.keep_errors:
                    self._refuse(method, msgspec.structs.replace(answer, error=error))
                self._failed[method.name] = self._failed.get(method.name, 0) + 1
            else:
                kept = KeptValue(value) if isinstance(value, FileValue) else KeptValue(None, value)
                self._shop.kept.keep(_work(made, form), kept)
            self._rows.put(answer.record, record.with_value(method.name, value, made, error[:2000]), record)
            stage.advance(1)

    def _needing(self, method: Method, form: FieldForm) -> Iterator[tuple[str, DataRecord]]:
        """Yield the records that a method has to be called for; what is remembered of earlier calls is taken."""
        for identity, record in self._considered(method):
            made = self._made(method, record)
            if record.made.get(method.name) == made:
                continue
            if self._call(method, identity, record) is None:
                if record.value(method.name) is not None or method.name in record.error:
                    self._rows.put(identity, record.with_value(method.name, None), record)
                continue
            kept = self._shop.kept.find(_work(made, form))
            if kept is not None:
                value = kept.file if kept.file is not None else kept.plain
                self._rows.put(identity, record.with_value(method.name, value, made), record)
                continue
            yield identity, record

    def _made(self, method: Method, record: DataRecord) -> Lineage:
        return Lineage(method.digest, {name: record.stamp(name) for name in method.inputs if name != "id"})


def _form(column: Field) -> FieldForm:
    return FieldForm(column.name, column.type.formats, column.type.optional)


def _work(made: Lineage, form: FieldForm) -> str:
    """Return what stands for a call: the same code, the same inputs, the same types of what is to come of it."""
    body = canonical_json({"by": made.by, "of": made.of, "formats": list(form.formats)})
    return blake3(body, derive_key_context="penstock 1 declared work").hexdigest()
