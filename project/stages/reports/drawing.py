"""The graph of stages, drawn: as text, for Mermaid (as Markdown pages show it), for Graphviz. Pure.

With data, what stages read and make is drawn too: files that nobody makes, and outputs.
"""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from penstock.project.stages.definition.graph import Graph
from penstock.project.stages.definition.path_patterns import is_pattern, may_touch
from penstock.project.stages.definition.stage import StageName

__all__ = ["Drawing", "as_dot", "as_mermaid", "as_text", "draw"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Nodes in order, each with whether it is a stage, and edges between them."""

    nodes: Mapping[str, bool]
    edges: Collection[tuple[str, str]]


def draw(graph: Graph, chosen: Collection[StageName], *, data: bool = False) -> Drawing:
    """Return what is to be drawn of some stages."""
    order = graph.order(chosen)
    if not data:
        edges = [(str(above), str(name)) for name in order for above in sorted(graph.above[name] & set(chosen))]
        return Drawing({str(name): True for name in order}, edges)
    nodes: dict[str, bool] = {}
    between: dict[tuple[str, str], None] = {}
    for name in order:
        stage = graph.stages[name]
        for path in dict.fromkeys([*stage.read, *(each.rpartition(":")[0] for each in stage.parameters)]):
            placed = stage.placed(path)
            made = [each for each in graph.makers if _reads(placed, each)]
            for source in made or [placed]:
                nodes.setdefault(source, False)
                between[source, str(name)] = None
        nodes[str(name)] = True
        for path in stage.made:
            nodes.setdefault(stage.placed(path), False)
            between[str(name), stage.placed(path)] = None
    return Drawing(nodes, list(between))


def _reads(read: str, made: str) -> bool:
    if is_pattern(read):
        return may_touch(read, made)
    return read == made or read.startswith(f"{made}/") or made.startswith(f"{read}/")


def as_text(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a tree from what needs nothing; what was drawn before is named again, and not gone into."""
    below: dict[str, list[str]] = {}
    for source, target in drawing.edges:
        below.setdefault(source, []).append(target)
    targets = {target for _, target in drawing.edges}
    drawn: set[str] = set()
    for top in [name for name in drawing.nodes if name not in targets]:
        waiting = [(top, "", "")]
        while waiting:
            name, lead, branch = waiting.pop()
            inner = below.get(name, [])
            again = name in drawn and bool(inner)
            yield f"{lead}{branch}{name}" + (" (see above)" if again else "")
            if again:
                continue
            drawn.add(name)
            indent = lead + ("" if not branch else "   " if branch.startswith("└") else "│  ")
            last = len(inner) - 1
            waiting += [(inner[at], indent, "└─ " if at == last else "├─ ") for at in range(last, -1, -1)]


def as_mermaid(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a flowchart."""
    yield "flowchart LR"
    numbers = {name: f"n{at}" for at, name in enumerate(drawing.nodes)}
    for name, is_stage in drawing.nodes.items():
        label = html.escape(name, quote=True).replace("&#x27;", "'")
        yield f'    {numbers[name]}["{label}"]' if is_stage else f'    {numbers[name]}[("{label}")]'
    for source, target in drawing.edges:
        yield f"    {numbers[source]} --> {numbers[target]}"


def as_dot(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a digraph."""
    yield "digraph stages {"
    yield "    rankdir=LR;"
    for name, is_stage in drawing.nodes.items():
        yield f"    {_dot(name)} [shape={'box' if is_stage else 'cylinder'}];"
    for source, target in drawing.edges:
        yield f"    {_dot(source)} -> {_dot(target)};"
    yield "}"


def _dot(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
