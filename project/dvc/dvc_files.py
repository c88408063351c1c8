"""What DVC wrote: ``NAME.dvc`` and ``dvc.lock``. Bytes in, values out: bounded, checked, pure.

    outs:                               deps:                       # of what was imported
    - md5: d41d…[.dir]                  - path: sets/faces
      path: raw                           repo: {url: …, rev_lock: …}
      hash: md5                         - path: https://…           # import-url

Without ``hash: md5``, DVC before 3 wrote it: then the hash of a text is that of its lines with LF (`hashes`).
Keys that users write (``desc``, ``meta``, and whatever DVC does not know) are kept as they are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import IntegrityError
from penstock.project.stages.findings.documents import Value, parse_document

__all__ = ["DvcFile", "DvcHash", "DvcOrigin", "DvcOutput", "LockedRun", "parse_dvc_file", "parse_dvc_lock", "place_in"]

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?\Z")
_KNOWN = frozenset({"outs", "deps", "md5", "wdir", "frozen", "cmd", "always_changed", "params"})
_KNOWN_OF_OUTPUT = frozenset(
    {"md5", "size", "nfiles", "path", "hash", "isexec", "cache", "persist", "push", "files", "etag", "checksum"}
    | {"metric", "plot"}
)


@dataclass(frozen=True, slots=True)
class DvcHash:
    """The MD5 of a file, or of a directory's listing. `is_old`: by the rules of DVC before 3."""

    md5: str
    is_old: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether it is that of a listing."""
        return self.md5.endswith(".dir")


@dataclass(frozen=True, slots=True)
class DvcOrigin:
    """Where an output was imported from: a path in a repository at a commit, or, without `url`, an address."""

    path: str
    url: str = ""
    rev: str | None = None
    commit: str = ""


@dataclass(frozen=True, slots=True)
class DvcOutput:
    """What lies at a path from the project's root. `hash` None: DVC does not say. `in_git`: DVC left it to git."""

    path: str
    hash: DvcHash | None
    is_executable: bool = False
    in_git: bool = False
    notes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DvcFile:
    """A ``.dvc`` file: what it tracks, where that was imported from, the user's own keys. `command`: a stage of old."""

    outputs: tuple[DvcOutput, ...]
    origin: DvcOrigin | None = None
    command: str = ""
    dependencies: tuple[tuple[str, DvcHash | None], ...] = ()
    notes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LockedRun:
    """What ``dvc.lock`` says of a stage: paths from the project's root; parameters by file and key."""

    command: str
    dependencies: Mapping[str, DvcHash | None]
    parameters: Mapping[tuple[str, str], Value]
    outputs: tuple[DvcOutput, ...]


def place_in(folder: str, path: str, told: str) -> str:
    """Return a path of a folder as one from the root. IntegrityError: it leads out of the project."""
    whole = posixpath.normpath(posixpath.join(folder, path))
    if posixpath.isabs(path) or whole.split("/", 1)[0] in {"..", "."} or "\0" in path or "\n" in path:
        raise IntegrityError(f"{told}: {path[:200]!r} is no path of the project")
    return whole


def parse_dvc_file(body: bytes, path: str) -> DvcFile:
    """Return what a ``.dvc`` file says. IntegrityError: it is none."""
    table = _table(parse_document(body, f"{path}.yaml"), path)
    folder = posixpath.normpath(posixpath.join(posixpath.dirname(path), _text(table.get("wdir", "."), path)))
    folder = "" if folder == "." else folder
    outputs = tuple(_output(each, folder, path) for each in _tables(table.get("outs"), path))
    origin = None
    dependencies: list[tuple[str, DvcHash | None]] = []
    command = _command(table.get("cmd"), path)
    for each in _tables(table.get("deps"), path):
        named = _text(each.get("path"), path)
        repository = each.get("repo")
        if isinstance(repository, dict):
            rev = repository.get("rev")
            origin = DvcOrigin(
                named,
                _text(repository.get("url"), path),
                rev if isinstance(rev, str) else None,
                _text(repository.get("rev_lock", ""), path),
            )
        elif command:
            dependencies.append((place_in(folder, named, path), _hash(each, path)))
        else:
            origin = DvcOrigin(named)
    notes = {key: value for key, value in table.items() if key not in _KNOWN}
    return DvcFile(outputs, origin, command, tuple(dependencies), notes)


def parse_dvc_lock(body: bytes, path: str) -> dict[str, LockedRun]:
    """Return the runs in a ``dvc.lock`` by the names of their stages. IntegrityError: it is none."""
    table = _table(parse_document(body, f"{path}.yaml"), path)
    folder = posixpath.dirname(path)
    stages = table.get("stages", {}) if "schema" in table else table  # the first ones were nothing but stages
    found = {}
    for name, value in _table(stages or {}, path).items():
        run = _table(value, path)
        told = f"stage {name!r} in {path}"
        parameters = {
            (file, key): each
            for file, keys in _table(run.get("params") or {}, told).items()
            for key, each in _table(keys or {}, told).items()
        }
        found[name] = LockedRun(
            _command(run.get("cmd"), told),
            {_text(each.get("path"), told): _hash(each, told) for each in _tables(run.get("deps"), told)},
            parameters,
            tuple(_output(each, folder, told, placed=False) for each in _tables(run.get("outs"), told)),
        )
    return found


def _output(table: Mapping[str, Value], folder: str, told: str, *, placed: bool = True) -> DvcOutput:
    path = _text(table.get("path"), told)
    notes = {key: value for key, value in table.items() if key not in _KNOWN_OF_OUTPUT}
    if isinstance(table.get("files"), list):
        raise IntegrityError(
            f"{told}: {path!r} is in a remote that keeps versions itself",
            why="its files are listed by their versions there, and have no hashes by which they could be found",
        )
    return DvcOutput(
        place_in(folder, path, told) if placed else path,
        _hash(table, told),
        table.get("isexec") is True,
        table.get("cache") is False,
        notes,
    )


def _hash(table: Mapping[str, Value], told: str) -> DvcHash | None:
    md5 = table.get("md5")
    if md5 is None:
        return None
    if not isinstance(md5, str) or not _MD5.match(md5):
        raise IntegrityError(f"{told}: {str(md5)[:80]!r} is no MD5")
    return DvcHash(md5, is_old=table.get("hash") != "md5")


def _command(value: Value, told: str) -> str:
    """Return commands as one: those of a list each in a shell of its own, and none after one that failed."""
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [_text(each, told) for each in value]
        return parts[0] if len(parts) == 1 else " && ".join(f"({each}\n)" for each in parts)
    return _text(value, told)


def _tables(value: Value, told: str) -> Iterator[dict[str, Value]]:
    for each in value if isinstance(value, list) else []:
        yield _table(each, told)


def _table(value: Value, told: str) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise IntegrityError(f"{told} cannot be read", why="it is not as DVC writes it")
    return value


def _text(value: Value, told: str) -> str:
    if not isinstance(value, str):
        raise IntegrityError(f"{told} cannot be read", why=f"{str(value)[:80]!r} stands where a text has to")
    return value
