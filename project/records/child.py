"""A process that runs a user's code, and nothing else of ours: see `messages` for what it is told and says.

Started by `code_processes`. What the code prints goes to standard error; standard output is a pipe to us, which it
cannot reach by accident. Files that a method returns are checked and taken into the bucket here, so that this is done
in as many processes as there are.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import enum
import importlib.util
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from penstock.errors import AccessError, PenstockError, UsageError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.project.declared.file_types import LOOKED_AT, check_format, suffix_of

from .file_store import FileStore, StoredFile
from .messages import (
    Broken,
    Brought,
    CallAnswer,
    CallAnswers,
    FieldForm,
    FileForm,
    Ingest,
    IngestEnded,
    MethodCall,
    MethodCalls,
    PlainForm,
    Ready,
    Setup,
    ValueForm,
    decode_to_child,
    encode,
)

__all__ = ["main"]

_PICTURES = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP", "pdf": "PDF"}
_TRACE = 4000
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take requests from standard input until it ends."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115  # for as long as the process lives
    line = requests.readline()
    if not line:
        return
    setup = decode_to_child(line)
    assert isinstance(setup, Setup)
    child = _Child(setup, answers)
    if child.load():
        for line in requests:
            request = decode_to_child(line)
            if isinstance(request, Ingest):
                child.ingest(request)
            elif isinstance(request, MethodCalls):
                child.call(request)


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone: a user's code may never look up."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:  # it was gone before the kernel knew
        sys.exit(1)


class _Child:
    def __init__(self, setup: Setup, answers: IO[bytes]) -> None:
        self._setup = setup
        self._answers = answers
        self._files = FileStore(setup.bucket, setup.folder)
        self._names = count()
        self._methods: dict[str, Any] = {}
        self._folders: dict[str, str] = {}
        self._own = os.path.realpath(setup.folder) + os.sep

    def _say(self, message: Ready | Brought | IngestEnded | CallAnswers | Broken) -> None:
        self._answers.write(encode(message) + b"\n")
        if not isinstance(message, Brought):
            self._answers.flush()

    def load(self) -> bool:
        setup = self._setup
        place = os.path.join(setup.source, setup.file)
        sys.path[:0] = list(dict.fromkeys([os.path.dirname(place), setup.source]))
        sys.dont_write_bytecode = True
        os.chdir(setup.place)
        try:
            module = _import(place)
            table = getattr(module, setup.table)
            self._methods = {name: getattr(each, "__func__", each) for name, each in vars(table).items()}
        except ModuleNotFoundError as error:
            self._say(Broken(f"{setup.file} imports {error.name}", _trace(place), error.name or "?"))
            return False
        except BaseException as error:  # noqa: BLE001  # whatever a user's module raises, it is told
            self._say(Broken(_said(error), _trace(place)))
            return False
        self._say(Ready())
        return True

    # Ingests

    def ingest(self, request: Ingest) -> None:
        method = self._methods[request.method]
        try:
            given = {"done": request.done} if request.done is not None else {}
            for values in _records(method(**given), request.fields):
                self._say(Brought({field.name: self._taken(values.get(field.name), field) for field in request.fields}))
                self._answers.flush()
        except BaseException as error:  # noqa: BLE001  # whatever a user's code raises, it is told
            self._say(Broken(_said(error), _trace(self._setup.source)))
            return
        self._say(IngestEnded())

    # MethodCalls

    def call(self, request: MethodCalls) -> None:
        method = self._methods[request.method]
        self._say(CallAnswers(tuple(self._answer(method, request.field, each) for each in request.calls)))

    def _answer(self, method: Any, field: FieldForm | None, call: MethodCall) -> CallAnswer:
        links: list[str] = []
        try:
            given = dict(call.values)
            for parameter, (target, name) in call.files.items():
                link = os.path.join(self._links(parameter), name)
                os.symlink(target, link)
                links.append(link)
                given[parameter] = Path(link)
            result = method(**given)
            if field is None:
                return CallAnswer(call.record, PlainForm(result is True or (result is not None and bool(result))))
            return CallAnswer(call.record, self._taken(result, field))
        except BaseException as error:  # noqa: BLE001  # whatever a user's code raises, it is told
            where = "" if isinstance(error, PenstockError) else _trace(self._setup.source)
            return CallAnswer(call.record, None, f"{_said(error)}{where}")
        finally:
            for link in links:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(link)

    def _links(self, parameter: str) -> str:
        """Return a folder for the links that a parameter's files are given as; one file may be given as several."""
        if parameter not in self._folders:
            self._folders[parameter] = os.path.join(self._setup.folder, f"in-{os.getpid()}-{parameter}")
            os.makedirs(self._folders[parameter], exist_ok=True)
        return self._folders[parameter]

    # Values

    def _taken(self, value: Any, field: FieldForm) -> ValueForm:
        if not field.formats:
            return PlainForm(_plain(value))
        if value is None:
            if field.optional:
                return PlainForm(None)
            raise UsageError(f"{field.name} has no file", fix="Return one, or declare the field … | None.")
        if isinstance(value, bytes | bytearray | memoryview):
            return self._taken_bytes(memoryview(value).cast("B"), field)
        if _is_picture(value):
            body = io.BytesIO()
            _save(value, body, field)
            return self._taken_bytes(body.getbuffer(), field)
        try:
            path, is_ours = self._written(value, field)
        except OSError as error:
            raise self._full(field, error) from error
        try:
            with open(path, "rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                head = stream.read(BLOCK_SIZE if size <= BLOCK_SIZE and not is_ours else LOOKED_AT)
        except OSError as error:
            raise UsageError(
                f"{field.name} is the file {path}, which cannot be read", why=error.strerror or str(error)
            ) from error
        if size == len(head) and not is_ours:  # it is all of it
            return self._taken_bytes(memoryview(head), field, path)
        found = _checked(head[:LOOKED_AT], field, "what was returned" if is_ours else path)
        return _form(self._files.take(path, suffix_of(found, head), move=is_ours))

    def _taken_bytes(self, data: memoryview, field: FieldForm, what: str = "what was returned") -> FileForm:
        head = bytes(data[:LOOKED_AT])
        suffix = suffix_of(_checked(head, field, what), head)
        if len(data) <= BLOCK_SIZE:
            return _form(self._files.take_bytes(data, suffix))
        place = self._new_place()
        try:
            with open(place, "wb") as stream:
                stream.write(data)
        except OSError as error:
            raise self._full(field, error) from error
        return _form(self._files.take(place, suffix, move=True))

    def _full(self, field: FieldForm, error: OSError) -> AccessError:
        return AccessError(
            f"what was returned for {field.name} cannot be kept",
            why=error.strerror or str(error),
            fix=f"Make room: it goes to {self._setup.folder}",
        )

    def _new_place(self) -> str:
        return os.path.join(self._setup.folder, f"out-{os.getpid()}-{next(self._names)}")

    def _written(self, value: Any, field: FieldForm) -> tuple[str, bool]:
        """Return the path of what a method has returned, and whether the file is ours to move."""
        if isinstance(value, str | os.PathLike):
            return os.path.abspath(os.fsdecode(os.fspath(value))), False
        place = self._new_place()
        if hasattr(value, "read"):
            _copy(value, place)
        else:
            raise UsageError(
                f"{field.name} is a {type(value).__name__}",
                why="a file is given by its path, its bytes, an open file, or as a picture of PIL",
                fix="Return one of these.",
            )
        return place, True


def _checked(head: bytes, field: FieldForm, what: str) -> str:
    """Return the type that a file is of, as it begins. UsageError: none of its field's; names what it is."""
    try:
        return check_format(head, field.formats)
    except UsageError as error:
        raise UsageError(f"{field.name} is {what}: {error.what}", why=error.why, fix=error.fix) from error


def _form(taken: StoredFile) -> FileForm:
    return FileForm(taken.value, taken.object.hex(), taken.blocks.hex())


def _is_picture(value: Any) -> bool:
    return hasattr(value, "save") and hasattr(value, "mode")  # of PIL; its frames may be read, too


def _save(picture: Any, body: io.BytesIO, field: FieldForm) -> None:
    kind = next((_PICTURES[each] for each in field.formats if each in _PICTURES), "PNG")
    own = str(getattr(picture, "format", None) or "")
    picture.save(body, own if own in [_PICTURES.get(each) for each in field.formats] else kind)


def _copy(stream: Any, place: str) -> None:
    if hasattr(stream, "seek"):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        with contextlib.suppress(OSError, ValueError):
            stream.seek(0)
    with open(place, "wb") as out:
        while part := stream.read(1 << 20):
            out.write(part.encode() if isinstance(part, str) else part)


def _import(place: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(place))[0]
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        return value.item()
    return value


def _records(result: Any, fields: tuple[FieldForm, ...]) -> Iterator[dict[str, Any]]:
    """Take what an ingest returned or yields apart: records, values by field."""
    names = [field.name for field in fields]
    if result is None:
        return
    if isinstance(result, dict):
        yield from _columns({name: list(column) for name, column in result.items()}, names)
    elif isinstance(result, tuple) or (isinstance(result, list) and _is_columns(result, names)):
        if len(result) != len(names):
            raise UsageError(
                f"{len(result)} lists were returned, and there are {len(names)} fields",
                why=f"the fields are {', '.join(names)}",
                fix="Return a list for each field, in their order, or a dict of them.",
            )
        yield from _columns(dict(zip(names, map(list, result), strict=True)), names)
    else:
        for number, each in enumerate(result):
            yield _record(each, names, number)


def _is_columns(result: list[Any], names: list[str]) -> bool:
    return len(names) > 1 and len(result) == len(names) and all(isinstance(each, list) for each in result)


def _columns(columns: dict[str, list[Any]], names: list[str]) -> Iterator[dict[str, Any]]:
    _check_names(columns, names)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise UsageError(
            f"{most} has {counts[most]} values, and {least} has {counts[least]}",
            why="a record has one of each",
            fix="Return lists of one length.",
        )
    for number in range(next(iter(counts.values()), 0)):
        yield {name: column[number] for name, column in columns.items()}


def _record(each: Any, names: list[str], number: int) -> dict[str, Any]:
    if isinstance(each, dict):
        _check_names(each, names)
        return each
    values = each if isinstance(each, tuple | list) else (each,)
    if len(values) != len(names):
        raise UsageError(
            f"record {number} has {len(values)} values, and there are {len(names)} fields",
            why=f"the fields are {', '.join(names)}",
            fix="Yield a value for each field, in their order, or a dict of them.",
        )
    return dict(zip(names, values, strict=True))


def _check_names(found: dict[str, Any], names: list[str]) -> None:
    for name in found:
        if name not in names:
            raise UsageError(f"there is no field {name!r}", why=f"the fields are {', '.join(names)}", fix="Rename it.")


def _said(error: BaseException) -> str:
    text = str(error)
    return (
        text
        if isinstance(error, PenstockError)
        else f"{type(error).__name__}: {text}"
        if text
        else type(error).__name__
    )


def _trace(source: str) -> str:
    """Return where in the user's own code it went wrong, without the frames of ours."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    own = [each for each in frames if each.filename.startswith(source)]
    return "".join(f"\n  {os.path.relpath(each.filename, source)}:{each.lineno}: {each.line}" for each in own)[-_TRACE:]


if __name__ == "__main__":
    main()
