"""Which stage needs what of which, what is stale and why, how it is drawn."""

from __future__ import annotations

import pytest

from penstock.errors import AmbiguousError, ConflictError, NotFoundError, UsageError
from penstock.project.stages.definition.graph import make_graph
from penstock.project.stages.definition.lock_file import Fingerprint, LockedStage, MadeOutput
from penstock.project.stages.definition.path_patterns import expand, may_touch
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.execution.items import fill_command, make_items, plan_items
from penstock.project.stages.execution.runs import MadeItem
from penstock.project.stages.findings.run_key import command_hash, input_key, run_key
from penstock.project.stages.findings.staleness import StageFacts, only_outputs, reasons
from penstock.project.stages.reports.drawing import as_dot, as_mermaid, as_text, draw


def stage(name, reads=(), makes=(), folder="", **more):
    return Stage(StageName(folder, name), more.pop("command", "true"), tuple(reads), tuple(makes), **more)


DIAMOND = [
    stage("d", ["b", "c"], ["d"]),
    stage("b", ["a/x"], ["b"]),
    stage("c", ["a/*"], ["c"]),
    stage("a", ["raw"], ["a"]),
]


def test_stages_come_behind_those_whose_outputs_they_read():
    graph = make_graph(DIAMOND)
    assert [each.name for each in graph.order()] == ["a", "b", "c", "d"]
    assert {each.name for each in graph.with_all_above([StageName("", "b")])} == {"a", "b"}
    assert {each.name for each in graph.with_all_below([StageName("", "b")])} == {"b", "d"}


def test_a_directory_that_is_read_needs_whoever_makes_something_in_it():
    graph = make_graph([stage("reads", ["data"], ["o"]), stage("makes", [], ["data/deep/x"])])
    assert [each.name for each in graph.order()] == ["makes", "reads"]


def test_parameters_that_a_stage_makes_are_needed_first():
    graph = make_graph([stage("uses", [], ["o"], parameters=("p.json:x",)), stage("writes", [], ["p.json"])])
    assert [each.name for each in graph.order()] == ["writes", "uses"]


def test_stages_of_different_folders_find_each_other():
    graph = make_graph([stage("x", ["../b/out"], ["o"], "a"), stage("x", [], ["out"], "b")])
    assert [str(each) for each in graph.order()] == ["b:x", "a:x"]


def test_a_cycle_is_named():
    with pytest.raises(UsageError, match=r"each other: \w -> \w -> \w -> \w:"):
        make_graph(
            [stage("a", ["c"], ["a"]), stage("b", ["a"], ["b"]), stage("c", ["b"], ["c"]), stage("z", ["c"], ["z"])]
        )
    with pytest.raises(UsageError, match="s -> s"):
        make_graph([stage("s", ["o*"], ["out"])])


@pytest.mark.parametrize("other", ["out", "out/in", "out/../out"])
def test_outputs_that_overlap_are_refused(other):
    with pytest.raises(ConflictError, match="made by stages"):
        make_graph([stage("one", [], ["out"]), stage("two", [], [other])])
    with pytest.raises(ConflictError, match="twice"):
        make_graph([stage("one", [], ["out", other])])


def test_names_that_only_begin_alike_do_not_overlap():
    make_graph([stage("one", [], ["out"]), stage("two", ["out"], ["out-2", "out.d"])])


def test_targets_are_stages_outputs_and_folders():
    graph = make_graph([stage("x", [], ["o"], "a"), stage("x", [], ["o"], "b"), stage("y", [], ["p"], "b/c")])
    assert graph.find("x", "a") == [StageName("a", "x")]
    assert graph.find("b:x", "a") == [StageName("b", "x")]
    assert graph.find("c/p", "b") == [StageName("b/c", "y")]
    assert graph.find("b", "") == [StageName("b", "x"), StageName("b/c", "y")]
    with pytest.raises(AmbiguousError):
        graph.find("x", "")
    with pytest.raises(NotFoundError, match="a:x, b:x"):
        graph.find("nothing", "")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("data/*", "data/x", True),
        ("data/*", "data/x/y", True),
        ("data/*/z", "data/x", True),
        ("data/*", "other", False),
        ("data/*", "data/.x", False),
        ("**/x", "a/b/c", True),
        ("a/[bc]/d", "a/b", True),
        ("a/[bc]/d", "a/e/d", False),
    ],
)
def test_a_pattern_may_stand_for_what_lies_at_below_or_above_a_path(pattern, path, expected):
    assert may_touch(pattern, path) is expected


def test_patterns_leave_out_hidden_names_and_pointers_and_follow_no_link(tmp_path):
    for name in ("in/a/1.txt", "in/b/2.txt", "in/b/deep/3.txt", "in/.hidden/4.txt", "out/5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "in" / "a.penstock").write_text("")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    root = str(tmp_path)
    assert list(expand(root, "in/*")) == ["in/a", "in/b", "in/link"]
    assert list(expand(root, "in/*/*.txt")) == ["in/a/1.txt", "in/b/2.txt"]
    assert sorted(set(expand(root, "in/**"))) == [
        "in/a",
        "in/a/1.txt",
        "in/b",
        "in/b/2.txt",
        "in/b/deep",
        "in/b/deep/3.txt",
        "in/link",
    ]
    assert list(expand(root, "in/**/3.txt")) == ["in/b/deep/3.txt"]
    assert list(expand(root, "in/a")) == ["in/a"]
    assert list(expand(root, "nothing/*")) == []


HASHES = [f"{at:064x}" for at in range(9)]
ONE = Fingerprint(HASHES[1], 1, 10)
OUT = MadeOutput("file", HASHES[2], 1, 5)


def test_why_a_stage_is_stale_is_said_in_words():
    it = stage("s", ["in", "more"], ["out"], parameters=("p.yaml:a", "p.yaml:b"))
    locked = LockedStage(
        HASHES[0],
        command_hash(it),
        {"in": ONE, "more": Fingerprint(HASHES[3], 7, 1)},
        {"p.yaml:a": "1", "p.yaml:b": "2"},
        {"out": OUT},
    )
    same = StageFacts(dict(locked.dependencies), dict(locked.parameters), dict(locked.outputs))
    assert reasons(it, same, locked) == []

    def told(state, of=it, lock=locked):
        return [str(reason) for reason in reasons(of, state, lock)]

    assert told(same, lock=None) == ["it was never run"]
    assert told(StageFacts({"in": None, "more": Fingerprint(HASHES[4], 9, 1)}, same.parameters, same.outputs)) == [
        "in is not there",
        "more had 7 files, and has 9 files",
    ]
    assert told(
        StageFacts({**same.dependencies, "in": Fingerprint(HASHES[5], 1, 9)}, same.parameters, same.outputs)
    ) == ["in changed"]
    assert told(StageFacts(same.dependencies, {"p.yaml:a": "3", "p.yaml:b": None}, same.outputs)) == [
        "p.yaml:a was 1, and is 3",
        "p.yaml:b is not there",
    ]
    gone = reasons(it, StageFacts(same.dependencies, same.parameters, {"out": None}), locked)
    assert [str(reason) for reason in gone] == ["out is not there"]
    assert only_outputs(gone)
    assert not only_outputs([])
    assert told(same, stage("s", ["in", "more"], ["out"], parameters=("p.yaml:a", "p.yaml:b"), command="false")) == [
        "its command is another"
    ]
    fewer = stage("s", ["in", "new"], ["out2"], parameters=("p.yaml:a",))
    assert told(StageFacts({"in": ONE, "new": ONE}, same.parameters, {"out2": None}), fewer) == [
        "new is a new dependency",
        "more is a dependency no more",
        "p.yaml:b is a parameter no more",
        "it is to make other outputs",
    ]


def test_the_key_of_a_run_depends_on_what_is_read_and_on_nothing_else():
    def key(it, **dependencies):
        return run_key(it, {"a": ONE, "b": ONE, **dependencies}, {"p:x": "1"})

    it = stage("s", ["a", "b"], ["o", "q"], parameters=("p:x",))
    assert key(it) == key(stage("other", ["b", "a"], ["q", "o"], "folder", parameters=("p:x",)))
    assert key(it) != key(it, a=Fingerprint(HASHES[5], 1, 10))
    assert key(it) != key(stage("s", ["a", "b"], ["o"], parameters=("p:x",)))
    assert key(it) != key(stage("s", ["a", "b"], ["o", "q"], parameters=("p:x",), command="false"))
    assert key(it) != run_key(it, {"a": ONE, "b": ONE}, {"p:x": "2"})


EACH = stage("e", [], ["out"], command="x {input} {output}", each="in/*")


def test_items_are_known_by_content_and_by_name_only_where_the_command_is_told_it():
    items = make_items(EACH, [("in/a/x.jpg", b"\1" * 32), ("in/b/y.jpg", b"\1" * 32)])
    assert [item.output for item in items] == ["a/x.jpg", "b/y.jpg"]
    assert items[0].key == items[1].key == "01" * 32
    named = stage("e", [], ["out"], command="x {input} {output} {path}", each="in/*")
    assert len({item.key for item in make_items(named, [("in/a/x.jpg", b"\1" * 32), ("in/b/y.jpg", b"\1" * 32)])}) == 2
    assert input_key(EACH, "00", "a") == "00"


def test_two_inputs_of_one_output_are_refused():
    it = stage("e", [], ["out"], command="x {input} {output}", each="in", suffix=".png")
    with pytest.raises(ConflictError, match=r"both become 'a\.png'"):
        make_items(it, [("in/a.jpg", b"\1" * 32), ("in/a.gif", b"\2" * 32)])


def test_what_has_to_be_done_for_items():
    items = make_items(EACH, [(f"in/d/{name}", bytes([at]) * 32) for at, name in enumerate("abcde")])
    made = [MadeItem("t", item.output, f"{at:064x}", is_executable=False) for at, item in enumerate(items)]
    known = {items[0].key: made[0], items[1].key: made[1], items[3].key: MadeItem("t", "", "", is_executable=False)}
    there = {"d/a": (made[0].hash, False), "d/d": ("0" * 64, False), "gone": ("1" * 64, True)}
    plan = plan_items(items, known, there)
    assert plan.ready == [items[0]]
    assert plan.take == [(items[1], made[1])]
    assert plan.run == [items[2], items[4]]
    assert plan.skipped == [items[3]]
    assert plan.remove == ["d/d", "gone"]
    assert plan_items(items, known, there, force=True).run == items


def test_names_cannot_leave_their_place_in_the_command():
    item = make_items(EACH, [("in/-rf $(touch x)'.jpg", b"\1" * 32)])[0]
    text = fill_command(EACH, item, "-rf $(touch x)'.jpg", "work/{input}")
    assert text == """x './-rf $(touch x)'"'"'.jpg' 'work/{input}'"""


def test_the_graph_is_drawn_as_text():
    graph = make_graph(DIAMOND)
    assert list(as_text(draw(graph, graph.stages))) == [
        "a",
        "├─ b",
        "│  └─ d",
        "└─ c",
        "   └─ d",
    ]


def test_the_graph_is_drawn_for_mermaid_and_graphviz():
    graph = make_graph([stage("q", ["raw <1>"], ["a"]), stage("r", ["a"], ["b"])])
    assert list(as_mermaid(draw(graph, graph.stages, data=True))) == [
        "flowchart LR",
        '    n0[("raw &lt;1&gt;")]',
        '    n1["q"]',
        '    n2[("a")]',
        '    n3["r"]',
        '    n4[("b")]',
        "    n0 --> n1",
        "    n1 --> n2",
        "    n2 --> n3",
        "    n3 --> n4",
    ]
    assert list(as_dot(draw(graph, graph.stages))) == [
        "digraph stages {",
        "    rankdir=LR;",
        '    "q" [shape=box];',
        '    "r" [shape=box];',
        '    "q" -> "r";',
        "}",
    ]
