"""``penstock plots``: tables that stages made, drawn over versions."""

from __future__ import annotations

import os
from contextlib import closing

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import AccessError, NotFoundError, UsageError
from penstock.project.project import find_project
from penstock.project.stages.reports.charts import Chart, as_page, as_png, make_charts
from penstock.project.stages.reports.revisions import ProjectRevision, Revisions

__all__ = ["plots"]


@click.command(
    cls=Command,
    examples=(
        "penstock plots                                       # all --plot files of this work tree",
        "penstock plots loss.csv -x step -y loss --rev main --rev HEAD -o loss.html",
        "penstock plots loss.csv -o loss.png",
    ),
)
@click.argument("files", nargs=-1, metavar="[FILE]…", type=click.Path())
@click.option("--rev", "revs", multiple=True, metavar="REV", help="Draw the state at this revision; can be repeated.")
@click.option("-x", "across", metavar="COLUMN", help="Column of the x axis (default: step or epoch, else row numbers).")
@click.option(
    "-y", "up", multiple=True, metavar="COLUMN", help="Column to draw; can be repeated (default: all numbers)."
)
@click.option(
    "-o", "--out", default="plots.html", type=click.Path(), help="Output file: a page (.html) or a picture (.png)."
)
@pass_invocation
def plots(
    invocation: Invocation,
    files: tuple[str, ...],
    revs: tuple[str, ...],
    across: str | None,
    up: tuple[str, ...],
    out: str,
) -> None:
    """Plot FILEs (CSV, TSV, JSON, YAML) from the work tree or from git revisions, on one page or picture."""
    if not out.endswith((".html", ".png")):
        raise UsageError(f"{out!r} is neither a page nor a picture", fix="Give it a name that ends in .html or .png.")
    project = find_project()
    with closing(Revisions(project, invocation.settings)) as revisions:
        shown = [revisions.at(rev) for rev in revs] or [revisions.work_tree()]
        wanted = [project.path_of(each) for each in files] or _plotted(shown)
        charts = [chart for path in wanted for chart in _charts(path, shown, across, up)]
    if out.endswith(".png"):
        as_png(charts, out)
    else:
        try:
            with open(out, "w", encoding="utf-8") as page:
                page.write(as_page(charts, f"Plots of {os.path.basename(project.root)}"))
        except OSError as error:
            raise AccessError(f"{out!r} cannot be written", why=error.strerror or str(error)) from error
    if invocation.output.json:
        invocation.output.document({"out": out, "charts": [chart.title for chart in charts]})
    else:
        invocation.output.line(f"{len(charts)} {'chart is' if len(charts) == 1 else 'charts are'} in {out}")


def _plotted(shown: list[ProjectRevision]) -> list[str]:
    found = dict.fromkeys(stage.placed(path) for each in shown for stage in each.stages for path in stage.plots)
    if not found:
        raise NotFoundError(
            "there is nothing to draw",
            why="no stage makes a table to be drawn",
            fix="--plot FILE of a stage, or name FILEs.",
        )
    return list(found)


def _charts(path: str, shown: list[ProjectRevision], across: str | None, up: tuple[str, ...]) -> list[Chart]:
    documents = [(each.name, found) for each in shown if (found := each.document(path)) is not None]
    if not documents:
        raise NotFoundError(f"there is no {path!r}", why=f"neither in {' nor in '.join(each.name for each in shown)}")
    return make_charts(path, documents, across, up)
