"""A version in the making: what it is made of, what has become of its rows so far, and the user's code, to be called.

`Workshop` is where versions are made, the same for all; a `VersionDraft` is one of them. `building` has the order
of the steps, each of which is given the draft. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.errors import UsageError
from penstock.progress import SILENT, Progress
from penstock.project.declared.declaration import Declaration, Field, Method
from penstock.project.declared.declared_source import DeclaredSource
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.publish import Authorship

from .changed_rows import ChangedRows
from .code_processes import CodeProcesses
from .data_record import DataRecord, FileValue, file_name
from .dataset_schema import Schema, check_inputs, convert, renames, schema_of
from .fetched_file import bring_file
from .file_store import FileStore, StoredFile
from .joined_records import Choose
from .kept_work import KeptWork
from .messages import FieldForm, FileForm, ValueForm
from .published_version import Attach, nothing_attached
from .versions import Version

__all__ = ["Merging", "NeedsCodeError", "OpenCode", "VersionDraft", "Workshop", "form_of"]


class NeedsCodeError(UsageError):
    """A version cannot be made without running code."""


class OpenCode(Protocol):
    """Opens what runs the code of one dataset of a file: processes of this machine, or those of a cluster."""

    def __call__(self, source: DeclaredSource, table: str, place: str, bucket: str, state: str) -> CodeProcesses:
        """Open it; `place` and the others are as for `CodeProcesses`."""
        ...


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
    and the error is kept; else it refuses the version. `permit` is asked before any code is run, and raises if it may
    not. `attach` makes what goes along with each version.
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
    attach: Attach = nothing_attached
    open_code: OpenCode = CodeProcesses


@dataclass(slots=True)
class VersionDraft:
    """A version in the making. `names`: fields that are called otherwise now; `stuck`: those whose inputs are gone.

    `calls`, `failed`: how often each method was called, and for how many records in vain.
    """

    shop: Workshop
    source: DeclaredSource
    declaration: Declaration
    rows: ChangedRows
    merging: Merging | None
    only_known: bool
    calls: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    before: Schema | None = field(init=False)
    schema: Schema = field(init=False)
    names: dict[str, str] = field(init=False)
    stuck: frozenset[str] = field(init=False)
    _processes: CodeProcesses | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.before = self.rows.base.schema if self.rows.base is not None else None
        self.names = renames(self.declaration, self.before) if self.before is not None else {}
        self.stuck = check_inputs(self.declaration, self.before)
        self.schema = schema_of(self.declaration)

    def close(self) -> None:
        """End the processes that run code, if any were started."""
        if self._processes is not None:
            self._processes.close()

    def code(self, method: Method) -> CodeProcesses:
        """Return what runs the user's code, started if need be. NeedsCodeError: it may not be run."""
        if self._processes is None:
            if self.only_known:
                raise NeedsCodeError(f"{method.name} has to run")
            shop, declaration = self.shop, self.declaration
            shop.permit(f"{declaration.file}: {declaration.table}.{method.name}")
            self._processes = shop.open_code(
                self.source, declaration.table, shop.place, shop.files.bucket, shop.files.folder
            )
        return self._processes

    def old_name(self, name: str) -> str:
        """Return what a field was called before."""
        return next((old for old, new in self.names.items() if new == name), name)

    @property
    def origins(self) -> list[Version]:
        """The versions that it is made of."""
        theirs = self.merging.theirs if self.merging is not None else None
        return [each for each in (self.rows.base, theirs) if each is not None]

    def is_changed(self, method: Method) -> bool:
        """Whether a method's code is another one than in any version that this one is made of."""
        digests = {each.schema.methods.get(self.old_name(method.name)) for each in self.origins}
        return digests != {method.digest}

    def considered(self, method: Method) -> Iterator[tuple[str, DataRecord]]:
        """Yield the rows that a method has to do with: all of them when its code is another one."""
        return self.rows.all() if self.is_changed(method) else self.rows.touched()

    def count_call(self, method: Method) -> None:
        """Note that a method is called."""
        self.calls[method.name] = self.calls.get(method.name, 0) + 1

    def value(self, found: ValueForm, column: Field) -> Any:
        """Return what a process sent as the field takes it. UsageError: it does not fit."""
        if isinstance(found, FileForm):
            self.shop.kept.store(StoredFile(found.value, bytes.fromhex(found.object), bytes.fromhex(found.blocks)))
            return found.value
        if column.type.is_file:
            return None
        return convert(found.value, column)

    def path(self, value: FileValue, field_name: str, identity: str) -> str:
        """Return where a file of a record lies on this machine; it is fetched if it never came here.

        UsageError: it is nowhere. Errors as `bring_file`.
        """
        kept, files = self.shop.kept, self.shop.files
        stored = kept.stored(value)
        if stored is None or not kept.has_file(value):
            name = file_name(identity, value).encode()
            folders = (field_name.encode(), self.old_name(field_name).encode())
            entry = next(
                (found for each in self.origins for folder in folders if (found := each.find(folder, name))), None
            )
            if entry is None or entry.hash.hex() != value.hash:
                raise UsageError(f"the file of {field_name} of record {identity} is not here", fix="git datasets pull")
            stored = bring_file(self.shop.session, files, entry)
            kept.store(stored)
        return files.path_of(stored.object)


def form_of(column: Field) -> FieldForm:
    """Return a field as a process has to know it."""
    return FieldForm(column.name, column.type.formats, column.type.optional)
