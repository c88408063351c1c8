"""Pages about versions: the history, branches and tags, what one version changed; and going back."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from penstock.api.packages.package import Package
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.page.content.shown_text import shell_line
from penstock.catalogue.server.routes_datasets import author_of
from penstock.errors import UsageError

from .change_pair import pair_of
from .page_route import PageRoute, Visiting
from .page_template import render
from .place import Place, place_of, values_of
from .routes_browse import dataset_values

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_VERSIONS = 40
_PAIRS = 40
_MOST_SKIPPED = 100_000


@router.get("/dataset/{dataset}/history")
def history(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show the versions that led to one, the newest first."""
    place = place_of(request, visitor, dataset)
    values = values_of(request)
    begin = values.get("before") or place.at
    found = list(place.dataset.log(begin, place.key, limit=_VERSIONS + 1))
    more = place.url("history", key=place.key, before=found[-1].commit) if len(found) > _VERSIONS else ""
    tags: dict[str, list[str]] = {}
    for tag in place.dataset.tags():
        tags.setdefault(tag.commit or "", []).append(tag.tag)
    return render(
        request,
        "history.html",
        visitor,
        **dataset_values(place),
        versions=found[:_VERSIONS],
        more=more,
        tagged=tags,
        is_first="before" not in values,
        can_stage=place.can_write and place.branch is not None,
    )


@router.get("/dataset/{dataset}/refs")
def refs(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show branches and tags, and where the branch has been."""
    place = place_of(request, visitor, dataset)
    branch = place.branch
    moves = list(place.dataset.moves(branch, limit=30)) if branch is not None else []
    shown = place.dataset
    return render(
        request,
        "refs.html",
        visitor,
        **dataset_values(place),
        branches=shown.branches(),
        tag_list=shown.tags(),
        moves=moves,
        branch=branch,
        can_stage=place.can_write,
    )


@router.post("/dataset/{dataset}/refs")
def make_ref(
    request: Request,
    visitor: Visiting,
    dataset: str,
    kind: Annotated[Literal["branch", "tag"], Form()],
    name: Annotated[str, Form(max_length=128)],
) -> Response:
    """Make a branch or a tag of the version that is shown."""
    place = place_of(request, visitor, dataset, DatasetScope.WRITE)
    author = author_of(visitor.caller) or None
    if kind == "branch":
        place.dataset.branch(name, place.exact, author=author)
    else:
        place.dataset.tag(name, place.exact, author=author)
    return RedirectResponse(place.url("refs"), 303)


@router.get("/dataset/{dataset}/diff")
def diff(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show what differs between two versions, or what one changed in its parent, as pairs."""
    place = place_of(request, visitor, dataset)
    values = values_of(request)
    after = _number(values.get("after", "0"))
    new = place.package
    revision = new.revision() if new.commit is not None else None
    wanted = values.get("from", "")
    old = _old(place, wanted, revision.parents[0] if revision is not None and revision.parents else "")
    comparison = old.diff(new, place.key) if old is not None else new.changes()
    found = list(islice(comparison.changes(), after, after + _PAIRS + 1))
    pairs = [pair_of(place, old, each) for each in found[:_PAIRS]]
    more = place.url("diff", key=place.key, **{"from": wanted}, after=after + _PAIRS) if len(found) > _PAIRS else ""
    return render(
        request,
        "diff.html",
        visitor,
        **dataset_values(place),
        counts=comparison.estimate(),
        pairs=pairs,
        more=more,
        after=after,
        revision=revision,
        old=(old.commit or old.top_hash) if old is not None else "",
        wanted=wanted,
        diff_command=_command(place, old),
    )


def _old(place: Place, wanted: str, parent: str) -> Package | None:
    ref = wanted or parent
    return place.pages.versions.find(place.catalogue, place.name, ref) if ref else None


def _command(place: Place, old: Package | None) -> str:
    dataset = place.handle.rpartition(":")[0]
    new = f"{dataset}:{place.exact[:12]}"
    if old is None:
        return shell_line("penstock", "show", new)
    return shell_line("penstock", "diff", f"{dataset}:{(old.commit or old.top_hash)[:12]}", new)


def _number(said: str) -> int:
    if not said.isdigit() or int(said) > _MOST_SKIPPED:
        raise UsageError("the address is not valid", why=f"a page begins before change {_MOST_SKIPPED:,}")
    return int(said)


@router.post("/dataset/{dataset}/go-back")
def go_back(
    request: Request,
    visitor: Visiting,
    dataset: str,
    how: Annotated[Literal["revert", "reset"], Form()],
    commit: Annotated[str, Form(min_length=7, max_length=64)],
) -> Response:
    """Undo what one version changed, as a new version; or let the branch stand at an older one."""
    place = place_of(request, visitor, dataset, DatasetScope.WRITE)
    branch = place.branch
    if branch is None:
        raise UsageError(f"{place.at!r} is no branch", fix="Choose a branch first.")
    author = author_of(visitor.caller) or None
    if how == "revert":
        place.dataset.revert(commit, branch=branch, author=author)
    else:
        place.dataset.reset(commit, branch=branch, author=author)
    return RedirectResponse(place.url("history"), 303)
