"""``dvc.yaml`` as stages of Penstock: vars, foreach and matrix resolved, paths from the folder that a stage runs in.

What DVC has and stages here have not is told in remarks, by the stage: `frozen`, `always_changed`, `persist`, and the
rest. Pure: files of parameters are read by whoever calls.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import IntegrityError, PenstockError, UsageError
from penstock.project.stages.definition.stage import Stage, StageName, check_stage
from penstock.project.stages.findings.documents import Value, parse_document

from .dvc_files import place_in
from .interpolation import Context, merged, resolved, resolved_text, value_of

__all__ = ["DvcStage", "ReadDocument", "parse_pipeline"]

ReadDocument = Callable[[str], "Value | None"]
"""Gives what a file of parameters holds, by its path from the root; None: it is not there."""

_PARAMETERS = "params.yaml"
_MOST_STAGES = 10_000
_UNSUPPORTED = ("plots", "metrics", "params", "artifacts", "datasets")
_KNOWN_OF_STAGE = frozenset(
    {"cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "frozen", "always_changed", "vars", "desc", "meta"}
)
_KNOWN_OF_OUTPUT = frozenset({"cache", "persist", "push", "remote", "desc", "type", "labels", "meta"})
_DRAWING = frozenset({"x", "y", "x_label", "y_label", "title", "template", "header"})


@dataclass(frozen=True, slots=True)
class DvcStage:
    """A stage as it is here, under its name in ``dvc.yaml``; ``dvc.lock`` knows it by that.

    `folder`: that of the ``dvc.yaml``. `in_git`: outputs that DVC left to git, from the root. `notes`: the user's own
    keys.
    """

    key: str
    folder: str
    stage: Stage
    in_git: frozenset[str] = frozenset()
    notes: Mapping[str, Value] = field(default_factory=dict)


def parse_pipeline(body: bytes, path: str, read: ReadDocument) -> tuple[list[DvcStage], list[str]]:
    """Return the stages in a ``dvc.yaml``, and what of it could not be taken. IntegrityError: it is none."""
    table = parse_document(body, path)
    if not isinstance(table, dict):
        raise IntegrityError(f"{path} cannot be read", why="it is no table")
    folder = posixpath.dirname(path)
    remarks = [f"{path}: {key} are not taken" for key in _UNSUPPORTED if key in table]
    try:
        context = _context(table.get("vars"), {}, folder, folder, read, default=True)
    except PenstockError as error:
        raise IntegrityError(f"{path}: its vars cannot be read", why=error.reason) from error
    found: list[DvcStage] = []
    stages = table.get("stages") or {}
    if not isinstance(stages, dict):
        raise IntegrityError(f"{path} cannot be read", why="its stages are no table")
    for name, value in stages.items():
        try:
            for key, definition, inner in _expanded(name, value, context):
                found.append(_Parsing(key, folder, definition, inner, read, remarks).stage())
                if len(found) > _MOST_STAGES:
                    raise IntegrityError(f"{path} has more than {_MOST_STAGES} stages")
        except PenstockError as error:
            remarks.append(f"stage {name!r} of {path} is not taken: {error}")
    return found, remarks


def _context(
    value: Value, known: Context, folder: str, working: str, read: ReadDocument, *, default: bool
) -> dict[str, Value]:
    """Return `known` with what vars say: tables, and files whose names may be followed by keys."""
    found = dict(known)
    items = value if isinstance(value, list) else []
    if default and not any(isinstance(each, str) and each.split(":")[0] == _PARAMETERS for each in items):
        document = read(posixpath.join(folder, _PARAMETERS))
        found = merged(found, document) if isinstance(document, dict) else found
    for each in items:
        if isinstance(each, dict):
            found = merged(found, {key: resolved(one, found) for key, one in each.items()})
            continue
        if not isinstance(each, str):
            raise IntegrityError(f"{each!r} is no file and no table of vars")
        name, _, keys = resolved_text(each, found).partition(":")
        document = read(place_in(working, name, "vars"))
        if not isinstance(document, dict):
            raise IntegrityError(f"vars name {name!r}", why="it is not there, or no table")
        chosen = {key: value_of(key, document) for key in keys.split(",")} if keys else document
        found = merged(found, chosen)
    return found


def _expanded(name: str, value: Value, context: Context) -> Iterator[tuple[str, dict[str, Value], Context]]:
    """Yield the stages that a definition stands for: itself, or one for each item of foreach or matrix."""
    if not isinstance(value, dict):
        raise IntegrityError("it is no table")
    if "foreach" in value:
        definition = value.get("do")
        if not isinstance(definition, dict):
            raise IntegrityError("foreach has no do")
        items = resolved(value["foreach"], context)
        if isinstance(items, dict):
            pairs: list[tuple[str, Value, Context]] = [(key, each, {"key": key}) for key, each in items.items()]
        elif isinstance(items, list):
            plain = not any(isinstance(each, dict | list) for each in items)
            pairs = [(_name(each) if plain else str(at), each, {}) for at, each in enumerate(items)]
        else:
            raise IntegrityError("foreach is over no list and no table")
        for key, item, more in pairs:
            yield f"{name}@{key}", definition, {**context, "item": item, **more}
    elif "matrix" in value:
        axes = resolved(value["matrix"], context)
        if not isinstance(axes, dict) or not all(isinstance(each, list) for each in axes.values()):
            raise IntegrityError("matrix is no table of lists")
        rest = {key: each for key, each in value.items() if key != "matrix"}
        lists: list[list[tuple[str, Value]]] = []
        for axis, each in axes.items():
            assert isinstance(each, list)
            lists.append(
                [(f"{axis}{at}" if isinstance(one, dict | list) else _name(one), one) for at, one in enumerate(each)]
            )
        for row in itertools.islice(itertools.product(*lists), _MOST_STAGES + 1):
            item = dict(zip(axes, (one for _, one in row), strict=True))
            key = "-".join(named for named, _ in row)
            yield f"{name}@{key}", rest, {**context, "item": item, "key": key}
    else:
        yield name, value, context


def _name(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Parsing:
    """One stage, its definition held against a context."""

    def __init__(
        self,
        key: str,
        folder: str,
        definition: dict[str, Value],
        context: Context,
        read: ReadDocument,
        remarks: list[str],
    ) -> None:
        self._key = key
        self._folder = folder
        self._definition = definition
        self._remarks = remarks
        working = resolved_text(str(definition.get("wdir", ".")), context)
        self._working = (
            "" if posixpath.normpath(posixpath.join(folder, working)) == "." else place_in(folder, working, key)
        )
        inner = _context(definition.get("vars"), context, folder, self._working, read, default=False)
        self._context = {**inner, **{name: context[name] for name in ("item", "key") if name in context}}
        self._in_git: set[str] = set()

    def _remark(self, text: str) -> None:
        where = f" of {self._folder}/dvc.yaml" if self._folder else ""
        self._remarks.append(f"stage {self._key!r}{where}: {text}")

    def stage(self) -> DvcStage:
        """Return it. Errors as `check_stage` and `value_of`."""
        definition = self._definition
        for key, text in (
            ("frozen", "it is frozen; here it runs when it is stale"),
            ("always_changed", "it is to run always; here it runs when it is stale (--force runs it)"),
        ):
            if definition.get(key) is True:
                self._remark(text)
        outputs = [path for path, _ in self._outputs("outs")]
        made = Stage(
            StageName(
                self._working, self._key.replace("/", "-").replace(":", "-").replace("\\", "-").replace('"', "'")
            ),
            self._command(),
            tuple(dict.fromkeys(self._dependencies())),
            tuple(outputs),
            tuple(dict.fromkeys(self._parameters())),
            tuple(path for path, _ in self._outputs("metrics")),
            tuple(path for path, _ in self._outputs("plots")),
        )
        check_stage(made)
        notes = {key: each for key, each in definition.items() if key in ("desc", "meta") or key not in _KNOWN_OF_STAGE}
        return DvcStage(self._key, self._folder, made, frozenset(self._in_git), notes)

    def _command(self) -> str:
        value = self._definition.get("cmd")
        commands = value if isinstance(value, list) else [value]
        if not commands or not all(isinstance(each, str) for each in commands):
            raise UsageError("it has no command")
        texts = [resolved_text(str(each), self._context, command=True) for each in commands]
        # Each command of a list has a shell of its own, and none runs after one that failed.
        return texts[0] if len(texts) == 1 else " && ".join(f"({each}\n)" for each in texts)

    def _dependencies(self) -> Iterator[str]:
        for path, options in self._entries("deps"):
            if "://" in path or posixpath.isabs(path):
                self._remark(f"what it reads from {path} is not watched, for that is not in the project")
                continue
            if options:
                self._remark(f"what is said of its dependency {path!r} is not taken")
            place_in(self._working, path, self._key)
            yield posixpath.normpath(path)

    def _outputs(self, kind: str) -> Iterator[tuple[str, Mapping[str, Value]]]:
        for path, options in self._entries(kind):
            if "://" in path or posixpath.isabs(path):
                self._remark(f"{path} is not tracked, for it does not lie in the project")
                continue
            whole = place_in(self._working, path, self._key)
            if options.get("persist") is True:
                self._remark(f"{path!r} is not there any more when the command begins: stages make what they make anew")
            if options.get("cache") is False:
                self._in_git.add(whole)
            left = [key for key in options if key not in _KNOWN_OF_OUTPUT and not (kind == "plots" and key in _DRAWING)]
            if left or options.get("push") is False or options.get("remote"):
                told = ", ".join([*left, *(key for key in ("push", "remote") if options.get(key) not in (None, True))])
                self._remark(f"{told} of {path!r} is not taken")
            yield posixpath.normpath(path), options

    def _entries(self, kind: str) -> Iterator[tuple[str, Mapping[str, Value]]]:
        entries = self._definition.get(kind) or []
        if isinstance(entries, str):
            entries = [entries]
        if not isinstance(entries, list):
            raise UsageError(f"its {kind} are no list")
        for each in entries:
            value = resolved(each, self._context)
            if isinstance(value, dict):
                for path, options in value.items():
                    yield path, options if isinstance(options, dict) else {}
            elif isinstance(value, str):
                yield value, {}
            else:
                raise UsageError(f"{value!r} stands among its {kind}")

    def _parameters(self) -> Iterator[str]:
        entries = self._definition.get("params") or []
        for each in entries if isinstance(entries, list) else []:
            value = resolved(each, self._context)
            if isinstance(value, str):
                yield f"{_PARAMETERS}:{value}"
            elif isinstance(value, dict):
                for path, keys in value.items():
                    for key in keys if isinstance(keys, list) and keys else [""]:
                        yield f"{posixpath.normpath(path)}:{key}"
