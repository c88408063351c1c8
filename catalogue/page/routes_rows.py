"""The data rows of a dataset as a page: images, videos, groups, series; filtered, sorted, a page at a time."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from penstock.api.handles import DEFAULT_BRANCH
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.orm.dataset import DataRow, DataType
from penstock.catalogue.page.content.file_kinds import has_thumbnail
from penstock.catalogue.page.content.shown_text import shell_line
from penstock.catalogue.rows.row_index import ROW_SORTS, RowFilter
from penstock.errors import UsageError

from .page_route import PageRoute, Visiting
from .page_template import render
from .place import Place, place_of, values_of
from .routes_browse import dataset_values

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_PAGE = 50
_MOST_WALKED = 1_000_000
"""Entries of a version whose rows are looked for while a page waits, if nobody has looked for them yet."""


@router.get("/dataset/{dataset}/rows")
def rows(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show a page of the rows that fit, of the branch ``main``."""
    place = place_of(request, visitor, dataset)
    values = values_of(request)
    kind, title, sort = values.get("type", ""), values.get("title", "")[:500], values.get("sort", "") or "path"
    if kind and kind not in {each.value for each in DataType}:
        raise UsageError(f"no kind of row {kind[:50]!r}", fix="Choose one of the list.")
    found = DatasetRows(place.catalogue, place.name)
    line = shell_line("penstock", "rows", place.handle.rpartition(":")[0])
    if not found.is_indexed() and len(place.package) > _MOST_WALKED:
        raise UsageError("the rows of this dataset were not looked up yet", fix=f"It takes a while: run {line} once.")
    like = "%" + title.replace("%", "").replace("_", "") + "%" if title else None
    wanted = RowFilter(DataType(kind) if kind else None, like)
    page = found.page(wanted, sort=sort, limit=_PAGE, cursor=values.get("cursor") or None)
    more = place.url("rows", type=kind, title=title, sort=sort, cursor=page.cursor) if page.cursor else ""
    return render(
        request,
        "rows.html",
        visitor,
        **dataset_values(place),
        rows=[(each, _picture(place, each)) for each in page.rows],
        total=page.total,
        kinds=[each.value for each in DataType],
        sorts=[order for each in ROW_SORTS for order in (each, f"-{each}")],
        wanted_kind=kind,
        wanted_title=title,
        sort=sort,
        more=more,
        line=line,
    )


def _picture(place: Place, row: DataRow) -> str:
    return place.url("picture", at=DEFAULT_BRANCH, key=row.path) if has_thumbnail(row.path) else ""
