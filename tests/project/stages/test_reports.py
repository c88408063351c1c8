"""Metrics, parameters, charts and reports over versions of a project."""

from __future__ import annotations

import re

import pytest

from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.project.stages.findings.documents import canonical, parse_document, table_rows, value_at
from penstock.project.stages.reports.change_report import PictureFolder, change_report
from penstock.project.stages.reports.charts import as_page, as_png, make_charts
from penstock.project.stages.reports.revisions import Revisions
from penstock.project.stages.reports.stage_values import ValueDifference, differences, metrics_of, parameters_of
from penstock.repo.settings.settings import Settings

PNG = bytes.fromhex("89504e470d0a1a0a") + b"picture"


@pytest.fixture
def versions(work, git):
    """Return a project with a commit, and changes after it."""
    work.write("params.yaml", "lr: 1e-3\nsize: {w: 3}\n")
    train = """echo '{"acc": 0.5, "by": {"a": 1}}' > scores.json; printf 'step,loss\\n0,3\\n1,2\\n' > loss.csv"""
    makes = {"metrics": ("scores.json",), "plots": ("loss.csv",), "parameters": ("params.yaml:lr", "params.yaml:size")}
    work.stage("train", train, [], ["pictures"], **makes)
    work.stage("train", f"{train}; mkdir pictures; echo a > 'pictures/a|<b>.txt'", [], ["pictures"], **makes)
    work.repro()
    git(work.root, "add", "-A")
    git(work.root, "commit", "-qm", "one")
    (work.root / "new.png").write_bytes(PNG)
    work.write("params.yaml", "lr: 0.002\nsize: {w: 3}\n")
    better = train.replace("0.5", "0.75").replace("1,2", "1,1.5")
    work.stage("train", f"{better}; mkdir pictures; cp new.png 'pictures/\"x\".png'", [], ["pictures"], **makes)
    work.repro()
    return work


def test_values_of_revisions_come_from_git_and_from_what_is_kept(versions):
    revisions = Revisions(versions.project, Settings.load)
    before, after = revisions.at("HEAD"), revisions.work_tree()
    assert metrics_of(before) == {"scores.json": {"acc": 0.5, "by.a": 1}}
    assert differences(metrics_of(before), metrics_of(after)) == [
        ValueDifference("scores.json", "acc", 0.5, 0.75, 0.25)
    ]
    (change,) = differences(parameters_of(before), parameters_of(after))
    assert (change.key, change.old, change.new) == ("lr", 0.001, 0.002)
    with pytest.raises(NotFoundError, match="--output=x"):
        revisions.at("--output=x")
    charts = make_charts("loss.csv", [(each.name, each.document("loss.csv")) for each in (before, after)], None, ())
    assert [(chart.x, chart.y) for chart in charts] == [("step", "loss")]
    assert [line.points for line in charts[0].lines] == [((0, 3), (1, 2)), ((0, 3), (1, 1.5))]
    revisions.close()


def test_a_report_counts_and_shows_what_came(versions, tmp_path):
    report = "\n".join(change_report(versions.project, Settings.load, "HEAD", None))
    assert "<code>pictures</code> | 1 |  | 1 |" in report
    assert "| <code>scores.json</code> | <code>acc</code> | <code>0.5</code> | <code>0.75</code> | +0.25 |" in report
    assert "<code>lr</code>" in report
    assert re.search(r'<img src="data:image/png;base64,\w+=*" width="120" alt="&quot;x&quot;.png"', report)
    folder = PictureFolder(str(tmp_path / "shown"), "https://example.org/x")
    report = "\n".join(change_report(versions.project, Settings.load, "HEAD", None, pictures=folder))
    (picture,) = (tmp_path / "shown").iterdir()
    assert picture.read_bytes() == PNG
    assert f'src="https://example.org/x/{picture.name}"' in report


def test_a_page_of_charts_loads_nothing_and_takes_no_name_for_html():
    chart = make_charts("<b>.csv", [("<i>", [{"x": 1, "y": 2.0}, {"x": 2, "y": float("inf")}])], "x", ["y"])
    page = as_page(chart, "<title>")
    assert "<i>" not in page
    assert "<b>" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    with pytest.raises(UsageError, match="no column 'z'"):
        make_charts("a.csv", [("v", [{"x": 1}])], None, ["z"])
    with pytest.raises(IntegrityError, match="no numbers"):
        make_charts("a.csv", [("v", [{"x": "text"}])], None, ())


def test_numbers_of_any_size_are_drawn():
    for values in ([0, 0], [1e308, -1e308], [5], [1e-320, 2e-320], list(range(10_000))):
        (chart,) = make_charts("a.json", [("v", {"y": values})], None, ["y"])
        assert "nan" not in as_page([chart], "t")
        assert len(chart.lines[0].points) <= 2000


def test_a_picture_of_charts_is_drawn_by_matplotlib(tmp_path):
    charts = make_charts("a.csv", [("$v_", [{"x": 1, "y": 2}, {"x": 2, "y": 3}])], "x", ["y"])
    as_png(charts, str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "body", "value"),
    [
        (
            "a.yaml",
            b"a: 1e-3\nb: no\nc: ~\nd: 0o17\ne: [1, x]\n",
            {"a": 0.001, "b": "no", "c": None, "d": 15, "e": [1, "x"]},
        ),
        ("a.yml", b"&x a: &y {b: 1}\nc: {<<: *y}\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a.toml", b"a = 1\nb = 2020-01-01", {"a": 1, "b": "2020-01-01"}),
        ("a.json", b'{"a": [1, 2.5]}', {"a": [1, 2.5]}),
        ("a.csv", "x,y\n1,2.5\nü,\n".encode(), [{"x": 1, "y": 2.5}, {"x": "ü", "y": ""}]),
    ],
)
def test_documents_are_read_by_their_names(name, body, value):
    assert parse_document(body, name) == value


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [1,2,3,4,5,6,7,8,9]"]
    lines += [f"a{at + 1}: &a{at + 1} [{','.join([f'*a{at}'] * 9)}]" for at in range(levels)]
    return "\n".join(lines).encode()


def merge_bomb(levels: int) -> bytes:
    lines = ["a0: &a0 {" + ", ".join(f"k{at}: {at}" for at in range(9)) + "}"]
    lines += [f"a{at + 1}: &a{at + 1} {{<<: [{', '.join([f'*a{at}'] * 9)}]}}" for at in range(levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.yaml", bomb(9)),
        ("a.yaml", b"a: &a [*a]"),
        ("a.yaml", b"!!python/object/apply:os.system [touch x]"),
        ("a.yaml", b"a: ["),
        ("a.yaml", b"? [1]\n: 2"),
        ("a.json", b"[" * 100_000),
        ("a.json", b"{"),
        ("a.toml", b"a = "),
        ("a.csv", b"x,x\n1,2\n"),
        ("a.csv", b"x\n1,2\n"),
        ("a.csv", b"\xff\n"),
        ("a.exe", b""),
    ],
)
def test_documents_that_are_none_are_refused(name, body):
    with pytest.raises(IntegrityError):
        parse_document(body, name)


def test_tables_that_are_merged_again_and_again_stay_small_or_are_refused():
    try:
        found = parse_document(merge_bomb(9), "a.yaml")
    except IntegrityError:  # of a PyYAML that copies what it merges
        return
    assert found["a9"] == {f"k{at}": at for at in range(9)}


def test_keys_lead_to_values():
    document = {"a": {"b.c": 1, "d": [{"e": 2}]}, "a.d": 3}
    assert value_at(document, "a.b.c", "f") == 1
    assert value_at(document, "a.d", "f") == 3
    assert value_at({"a": {"d": [{"e": 2}]}}, "a.d.0.e", "f") == 2
    for key in ("x", "a.x", "a.b.c.d", "a.d.9"):
        with pytest.raises(NotFoundError):
            value_at({"a": {"b": 1, "d": [1]}}, key, "f")
    assert canonical({"b": 1.0, "a": "ü"}) == '{"a":"\\u00fc","b":1}'
    assert table_rows({"x": [1, 2], "y": [3]}, "f") == [{"x": 1, "y": 3}, {"x": 2}]
