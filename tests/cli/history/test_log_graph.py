"""What `log --graph` draws."""

from __future__ import annotations

import pytest

from penstock.cli.history.log_graph import LogGraph

MERGE = (("m", "cx"), ("c", "b"), ("x", "b"), ("b", "a"), ("a", ""))
TWO = (("o", "mz"), ("m", "cx"), ("x", "b"), ("z", "b"), ("c", "b"), ("b", ""))


def drawn(history: tuple[tuple[str, str], ...]) -> list[str]:
    graph, lines = LogGraph(), []
    for version, parents in history:
        before, star = graph.begin(version, parents)
        lines += [*before, f"{star} {version}"]
    return lines


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        ((("b", "a"), ("a", "")), ["* b", "* a"]),
        (MERGE, ["* m", r"|\ ".rstrip(), "* | c", "| * x", "|/", "* b", "* a"]),
        (
            TWO,
            ["* o", "|\\", "* | m", "|\\ \\", "| * | x", "| | * z", "* | | c", "| |/", "|/|", "|/", "* b"],
        ),
        ((("a", ""), ("b", "a")), ["* a", "* b"]),  # a clock was wrong
    ],
)
def test_lines_lead_from_versions_to_what_they_came_from(
    history: tuple[tuple[str, str], ...], wanted: list[str]
) -> None:
    assert drawn(history) == wanted


def test_lines_about_a_version_stand_beside_the_others() -> None:
    graph = LogGraph()
    assert graph.begin("m", "cx") == ([], "*")
    assert [graph.beside() for _ in range(2)] == ["|\\", "| |"]
