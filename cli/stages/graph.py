"""``penstock dag``: the graph of stages, drawn."""

from __future__ import annotations

import click

from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.cli.output import JsonValue
from penstock.project.project import find_project
from penstock.project.stages.definition.pipeline import load_pipeline
from penstock.project.stages.reports.drawing import as_dot, as_mermaid, as_text, draw

from .definition import folder_here

__all__ = ["dag"]


@click.command(
    cls=Command,
    examples=("penstock dag", "penstock dag --mermaid --data >> README.md", "penstock dag train --dot | dot -Tsvg"),
)
@click.argument("targets", nargs=-1, metavar="[TARGET]…")
@click.option("--mermaid", "form", flag_value="mermaid", help="Write a Mermaid flowchart.")
@click.option("--dot", "form", flag_value="dot", help="Write a Graphviz digraph.")
@click.option("--data", is_flag=True, help="Also draw the files that stages read and write.")
@pass_invocation
def dag(invocation: Invocation, targets: tuple[str, ...], form: str | None, data: bool) -> None:
    """Draw the stages of this folder, or the given ones, with all that they depend on; at the root, all stages."""
    project = find_project()
    pipeline = load_pipeline(project)
    drawing = draw(pipeline.graph, pipeline.chosen(targets, folder_here(project)), data=data)
    output = invocation.output
    if output.json:
        nodes: list[JsonValue] = [{"name": name, "stage": is_stage} for name, is_stage in drawing.nodes.items()]
        output.document({"nodes": nodes, "edges": [list(edge) for edge in drawing.edges]})
        return
    write = {"mermaid": as_mermaid, "dot": as_dot}.get(form or "", as_text)
    for line in write(drawing):
        output.line(line)
