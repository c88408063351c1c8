"""Pages that show what there is: the datasets, a directory of a version, one entry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from penstock.api.packages.entry import Entry
from penstock.catalogue.page.content.file_kinds import kind_of_file
from penstock.catalogue.page.content.readme import render_readme
from penstock.catalogue.page.content.shown_numbers import HEIGHT as PLOT_HEIGHT
from penstock.catalogue.page.content.shown_numbers import WIDTH as PLOT_WIDTH
from penstock.catalogue.page.content.shown_numbers import axis_of, points_of
from penstock.catalogue.page.content.sparkline import HEIGHT, WIDTH, spark_path
from penstock.catalogue.server.context import context_of
from penstock.catalogue.server.routes_datasets import visible_infos
from penstock.errors import NotFoundError, PenstockError, UsageError

from .entry_view import EntryView, view_of
from .page_route import PageRoute, Visiting
from .page_template import render
from .place import Place, place_of, values_of
from .routes_files import frame_of
from .tiles import PAGE, crumbs_of, sample_tiles, staged_marks, tiles_of
from .version_numbers import numbers_of

__all__ = ["dataset_values", "router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_VIEWS = ("grid", "list", "tree", "sample")
_SPARKS = 24


@router.get("/")
def index(request: Request, visitor: Visiting) -> Response:
    """Show the datasets."""
    wanted = values_of(request).get("q", "")[:200]
    infos = visible_infos(context_of(request), visitor.caller)
    found = [info for info in infos if wanted.lower() in f"{info.title}\n{info.name}\n{info.description}".lower()]
    found.sort(key=lambda info: (info.title.lower(), info.name))
    return render(request, "index.html", visitor, datasets=found, wanted=wanted, total=len(infos))


@router.get("/dataset/{dataset}/sparkline")
def sparkline(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Draw how many entries the last versions had."""
    place = place_of(request, visitor, dataset)
    entries = [each.entries for each in place.dataset.log(place.at, limit=_SPARKS)]
    drawn = spark_path(entries[::-1])
    body = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<path d="{drawn}" fill="none" stroke="#2b8a9a" stroke-width="1.8" stroke-linejoin="round"/></svg>'
    )
    return Response(body, media_type="image/svg+xml", headers={"cache-control": "private, max-age=300"})


def dataset_values(place: Place) -> dict[str, Any]:
    """Return what the head of every page of a dataset shows."""
    info = place.package.info()
    return {
        "place": place,
        "info": info,
        "refs": {"branches": info.branches or (), "tags": info.tags or ()},
        "staged": place.pages.staging.count(place.visitor.caller.name, place.hash),
    }


@router.get("/dataset/{dataset}")
def directory(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show a directory of a version, and at its top the README."""
    place = place_of(request, visitor, dataset)
    values = values_of(request)
    entry = place.package.entry(place.key)
    if not entry.is_directory():
        return _entry_page(request, place, entry)
    view, after = _view(values.get("view", "")), values.get("after", "")
    seed = _seed(values.get("seed", ""))
    if view == "sample":
        tiles = sample_tiles(place, (each for each in place.package.some(2 * PAGE, seed=seed) if each.is_file()))
    else:
        tiles = tiles_of(place, place.package.ls(place.key, after=after or None), view)
    return render(
        request,
        "dataset.html",
        visitor,
        **dataset_values(place),
        entry=entry,
        tiles=tiles,
        view=view,
        after=after,
        seed=seed,
        marks=staged_marks(place),
        crumbs=crumbs_of(place),
        readme=_readme(place) if not place.key and not after else None,
        commands=_commands(place),
        can_stage=place.can_write and place.branch is not None,
    )


@router.get("/dataset/{dataset}/tiles")
def more_tiles(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show the next entries of a directory, for a page that is scrolled."""
    values = values_of(request)
    place = place_of(request, visitor, dataset)
    view = _view(values.get("view", ""))
    tiles = tiles_of(place, place.package.ls(place.key, after=values.get("after") or None), view)
    template = "tree.html" if view == "tree" else "tiles.html"
    marks = staged_marks(place)
    return render(
        request, template, visitor, place=place, tiles=tiles, view=view, can_stage=place.can_write, marks=marks
    )


@router.get("/dataset/{dataset}/entry")
def entry(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show one entry."""
    place = place_of(request, visitor, dataset)
    return _entry_page(request, place, place.package.entry(place.key))


@router.get("/dataset/{dataset}/numbers")
def numbers(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show what a version is made of, in numbers."""
    found = numbers_of(place_of(request, visitor, dataset))
    across = axis_of([each.width for each in found.resolutions], is_upright=False)
    up = axis_of([each.height for each in found.resolutions], is_upright=True)
    points = points_of(found.resolutions, across, up)
    plot = {"width": PLOT_WIDTH, "height": PLOT_HEIGHT, "across": across, "up": up, "points": points}
    return render(request, "numbers.html", visitor, numbers=found, plot=plot)


def _entry_page(request: Request, place: Place, entry: Entry) -> Response:
    parent, _, _ = place.key.rpartition("/")
    before, behind = _neighbours(place, parent, entry)
    view = view_of(place, entry, frame_of(request))
    return render(
        request,
        "entry.html",
        place.visitor,
        **dataset_values(place),
        entry=entry,
        view=view,
        crumbs=crumbs_of(place),
        previous=before,
        following=behind,
        physical=entry.physical_keys[:50] if entry.is_file() else (),
        commands=_commands(place),
        reencode_command=_reencode(place, view),
        can_stage=place.can_write and place.branch is not None,
    )


def _neighbours(place: Place, parent: str, entry: Entry) -> tuple[str, str]:
    """Return the address of the next entry of the directory; of the one before, the page of it that ends there."""
    following = next(iter(place.package.ls(parent, after=entry.name, limit=1)), None)
    behind = place.url("entry", key=following.key) if following is not None and not following.is_directory() else ""
    return place.url(key=parent), behind


def _reencode(place: Place, view: EntryView) -> str:
    return place.command("reencode", place.handle.rpartition(":")[0], view.row.uid if view.row is not None else "UID")


def _commands(place: Place) -> list[str]:
    """Return what is typed to have what is shown elsewhere."""
    name = place.key.rpartition("/")[2] or place.name
    if place.package.entry(place.key).is_directory():
        return [place.command("mount", "@/", f"./{name}"), place.command("download", "@", f"./{place.name}")]
    return [place.command("cat", "@/"), place.command("mount", "@", f"./{place.name}")]


def _seed(said: str) -> int:
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 1


def _view(said: str) -> str:
    return said if said in _VIEWS else _VIEWS[0]


def _readme(place: Place) -> object:
    try:
        text = str(place.package.readme())
    except (NotFoundError, UsageError):
        return None

    def picture(path: str) -> str | None:
        key = path.removeprefix("./").strip("/")
        try:
            found = place.package.find(key)
        except PenstockError:
            return None
        is_image = found is not None and found.is_file() and kind_of_file(found.name) in ("image", "svg")
        return place.exact_url("raw", key) if is_image else None

    return render_readme(text, picture)
