"""What a branch changes in data, metrics and parameters, as Markdown for a pull request: counts, samples, pictures.

Pictures are of files that came: a few of each path, small ones. They stand in the text (``data:``), which viewers of
files show; for sites that do not, as comments on GitHub, they are written to a folder, and named by where that will be.
Names are anybody's: nothing of them is taken for Markdown or HTML.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import AccessError
from penstock.manifest.entry import TreeEntry
from penstock.project.local_bucket import open_layered
from penstock.project.pointer_changes import PointerChange, open_changes, pointer_changes
from penstock.project.project import Project
from penstock.project.stages.findings.documents import Value
from penstock.project.state_folder import replace_file
from penstock.project.stored_version import open_version

from .revisions import Revisions
from .stage_values import ValueDifference, differences, metrics_of, parameters_of

if TYPE_CHECKING:
    from penstock.repo.settings.settings import Settings

__all__ = ["PictureFolder", "change_report"]

_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}
_MOST_PICTURES = 4
_MOST_BYTES = 256 << 10
_MOST_EMBEDDED = 24 << 10
_MOST_NAMES = 5
_WIDTH = 120


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """Where pictures are written, and what stands before their names in the text."""

    directory: str
    address: str


@dataclass(slots=True)
class _PathReport:
    change: PointerChange
    added: int = 0
    modified: int = 0
    deleted: int = 0
    names: list[str] = field(default_factory=list)
    pictures: list[tuple[tuple[bytes, ...], TreeEntry]] = field(default_factory=list)


def change_report(
    project: Project,
    settings: Callable[[], Settings],
    old: str,
    new: str | None,
    paths: Sequence[str] = (),
    pictures: PictureFolder | None = None,
) -> Iterator[str]:
    """Yield the lines of a report on what differs between two commits, None: the work tree. Errors as of versions."""
    found = pointer_changes(project, old, new, paths)
    reports = []
    with open_changes(project, settings()) as opened:
        for change in found:
            report = _PathReport(change)
            for each in opened.changes(change):
                entry = each.new or each.old
                if entry is not None and entry.directory is None:
                    _count(report, each.path, each.old, each.new)
            reports.append(report)
    yield "### Data"
    yield ""
    if not reports:
        yield "Nothing changed."
    else:
        yield "| path | added | modified | deleted | before | after |"
        yield "|---|--:|--:|--:|--:|--:|"
        for report in reports:
            sides = report.change.old, report.change.new
            sizes = (_size(pointer.bytes) if pointer is not None else "–" for pointer in sides)
            counts = (f"{count:,}" if count else "" for count in (report.added, report.modified, report.deleted))
            yield "| " + " | ".join([_code(report.change.path), *counts, *sizes]) + " |"
    with closing(Revisions(project, settings)) as revisions:
        before = revisions.at(old)
        after = revisions.at(new) if new is not None else revisions.work_tree()
        yield from _values("Metrics", differences(metrics_of(before), metrics_of(after)))
        yield from _values("Parameters", differences(parameters_of(before), parameters_of(after)))
    yield from _samples(project, settings, reports, pictures)


def _count(report: _PathReport, path: tuple[bytes, ...], old: TreeEntry | None, new: TreeEntry | None) -> None:
    report.added += old is None
    report.deleted += new is None
    report.modified += old is not None and new is not None
    if new is None:
        return
    if old is None and len(report.names) < _MOST_NAMES:
        report.names.append(os.fsdecode(b"/".join(path)))
    suffix = os.path.splitext(os.fsdecode(path[-1]))[1].lower()
    if len(report.pictures) < _MOST_PICTURES and suffix in _KINDS and new.is_file and 0 < new.size <= _MOST_BYTES:
        report.pictures.append((path, new))


def _samples(
    project: Project, settings: Callable[[], Settings], reports: Sequence[_PathReport], folder: PictureFolder | None
) -> Iterator[str]:
    if not any(report.names or report.pictures for report in reports):
        return
    yield ""
    yield "### Samples"
    with closing(open_layered(project, settings())) as session:
        for report in reports:
            pointer = report.change.new
            if pointer is None or not (report.names or report.pictures):
                continue
            yield ""
            more = f" and {report.added - len(report.names):,} more" if report.added > len(report.names) else ""
            names = ", ".join(map(_code, report.names))
            yield f"{_code(report.change.path)}" + (f": {names}{more}" if names else "")
            snapshot = open_version(session, project.file.dataset, pointer.top)
            shown = [
                picture
                for path, entry in report.pictures
                if (picture := _picture(path, entry, b"".join(map(bytes, snapshot.read(entry))), folder))
            ]
            if shown:
                yield ""
                yield " ".join(shown)


def _picture(path: tuple[bytes, ...], entry: TreeEntry, body: bytes, folder: PictureFolder | None) -> str:
    suffix = os.path.splitext(os.fsdecode(path[-1]))[1].lower()
    label = html.escape(os.fsdecode(b"/".join(path)).encode("utf-8", "replace").decode())
    if folder is not None:
        name = f"{entry.hash.hex()[:16]}{suffix}"
        try:
            os.makedirs(folder.directory, exist_ok=True)
            replace_file(os.path.join(folder.directory, name), body)
        except OSError as error:
            raise AccessError(f"{folder.directory!r} cannot be written to", why=error.strerror or str(error)) from error
        source = html.escape(f"{folder.address.rstrip('/')}/{name}")
    elif len(body) <= _MOST_EMBEDDED:
        source = f"data:image/{_KINDS[suffix]};base64,{base64.b64encode(body).decode()}"
    else:
        return ""
    return f'<img src="{source}" width="{_WIDTH}" alt="{label}" title="{label}">'


def _values(title: str, found: Sequence[ValueDifference]) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield f"### {title}"
    yield ""
    yield "| file | key | before | after | change |"
    yield "|---|---|--:|--:|--:|"
    for each in found:
        old, new = _value(each.old), _value(each.new)
        change = f"{each.change:+.6g}" if each.change else ""
        yield f"| {_code(each.file)} | {_code(each.key)} | {old} | {new} | {change} |"


def _value(value: Value) -> str:
    if value is None:
        return "–"
    return _code(f"{value:.6g}" if isinstance(value, float) else str(value))


def _code(text: str) -> str:
    """Return a text as code in a table of Markdown, whatever is in it."""
    plain = "".join(sign if sign.isprintable() else "�" for sign in text[:200])
    return f"<code>{html.escape(plain).replace('|', '&#124;').replace('`', '&#96;')}</code>"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
