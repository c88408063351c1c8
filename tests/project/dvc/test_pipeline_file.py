"""``dvc.yaml`` as stages: vars, foreach, matrix, folders; what has no counterpart here is told."""

from __future__ import annotations

import pytest

from penstock.errors import IntegrityError, NotFoundError
from penstock.project.dvc.dvc_config import parse_config
from penstock.project.dvc.hashes import parse_listing
from penstock.project.dvc.interpolation import resolved, resolved_text
from penstock.project.dvc.pipeline_file import DvcStage, parse_pipeline

TEAM = (
    b"[core]\nremote = s\n['remote \"s\"']\nurl = ../../store\n['remote \"b\"']\nurl = s3://lab/dvc\n"
    b"endpointurl = https://e\nsecret_access_key = k\n['remote \"c\"']\nurl = remote://b/more\n"
    b"['remote \"w\"']\nurl = webdav://x/y\n"
)
CONTEXT = {"train": {"lr": 0.1, "layers": [1, 2]}, "flag": True, "nothing": None, "name": "a b"}
DOCUMENTS = {
    "sub/params.yaml": {"models": ["x", "y"], "deep": {"n": 3}},
    "sub/other.json": {"where": "data"},
}


def stages(text: str) -> tuple[dict[str, DvcStage], list[str]]:
    found, remarks = parse_pipeline(text.encode(), "sub/dvc.yaml", DOCUMENTS.get)
    return {each.key: each for each in found}, remarks


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${train.lr}", 0.1),
        ("${ train.layers[1] }", 2),
        ("lr ${train.lr}, ${flag}, ${nothing}", "lr 0.1, true, null"),
        (r"\${train.lr}", "${train.lr}"),
        ("${train['lr']}", 0.1),
        ({"${name}": ["${flag}"]}, {"a b": [True]}),
    ],
)
def test_what_stands_in_braces_is_looked_up(text, value):
    assert resolved(text, CONTEXT) == value


def test_in_a_command_tables_are_options_and_lists_words():
    assert resolved_text("run ${train}", CONTEXT, command=True) == "run --lr 0.1 --layers 1 2"
    assert resolved_text("run ${train.layers}", CONTEXT, command=True) == "run 1 2"
    with pytest.raises(IntegrityError, match="list or a table"):
        resolved_text("run ${train}", CONTEXT)
    with pytest.raises(NotFoundError, match="stands for nothing"):
        resolved_text("${train.rate}", CONTEXT)


def test_foreach_and_matrix_make_a_stage_of_each():
    found, remarks = stages(
        """
vars: [other.json, {k: 7}]
stages:
  each:
    foreach: ${models}
    do: {cmd: "run ${item} ${k}", outs: ["${where}/${item}.txt"]}
  table:
    foreach: {one: {n: 1}, two: {n: 2}}
    do: {cmd: "run ${key} ${item.n}", outs: ["${key}.txt"]}
  grid:
    matrix: {model: ["${models[0]}", q], depth: [1, 2]}
    cmd: run ${item.model} ${item.depth}
    outs: ["${key}.txt"]
"""
    )
    assert not remarks
    assert found["each@x"].stage.command == "run x 7"
    assert found["each@y"].stage.outputs == ("data/y.txt",)
    assert found["table@two"].stage.command == "run two 2"
    assert sorted(key for key in found if key.startswith("grid")) == ["grid@q-1", "grid@q-2", "grid@x-1", "grid@x-2"]
    assert found["grid@q-2"].stage.outputs == ("q-2.txt",)
    assert {each.stage.where.folder for each in found.values()} == {"sub"}


def test_folders_lists_of_commands_and_parameters():
    found, _ = stages(
        """
stages:
  far:
    wdir: ../elsewhere
    cmd: [one, "two # with a comment"]
    deps: [../sub/in.csv]
    params: [a.b, {p.toml: [c]}, {q.json: }]
    outs: [out]
    metrics: [{m.json: {cache: false}}]
    desc: why it is
"""
    )
    stage = found["far"].stage
    assert str(stage.where) == "elsewhere:far"
    assert stage.command == "(one\n) && (two # with a comment\n)"
    assert stage.placed(stage.dependencies[0]) == "sub/in.csv"
    assert stage.parameters == ("params.yaml:a.b", "p.toml:c", "q.json:")
    assert stage.metrics == ("m.json",)
    assert found["far"].in_git == {"elsewhere/m.json"}
    assert found["far"].notes == {"desc": "why it is"}


def test_what_has_no_counterpart_is_told_and_the_rest_is_taken():
    found, remarks = stages(
        """
plots: [a.csv]
stages:
  odd: {cmd: run, frozen: true, always_changed: true, deps: ["s3://b/k", in], outs: [{out: {persist: true}}]}
  broken: {cmd: "run ${no}", outs: [o]}
  outside: {cmd: run, outs: [../../o]}
"""
    )
    assert list(found) == ["odd"]
    assert found["odd"].stage.dependencies == ("in",)
    told = "\n".join(remarks)
    for each in ("plots are not taken", "frozen", "run always", "s3://b/k is not watched", "not there any more"):
        assert each in told
    assert "stage 'broken' of sub/dvc.yaml is not taken" in told
    assert "'../../o' is no path of the project" in told


def test_remotes_lie_beside_dvc_s_and_secrets_stay_with_it():
    config = parse_config(
        [
            ("/w/.dvc", TEAM),
            ("/w/.dvc", b"[cache]\ndir = /big\n['remote \"b\"']\nprofile = me\n"),
        ]
    )
    assert {name: each.url for name, each in config.own.items()} == {
        "s": "file:///store-penstock",
        "b": "s3://lab/dvc-penstock",
        "c": "s3://lab/dvc/more-penstock",
    }
    assert (config.default, config.cache, config.data["b"].profile) == ("s", "/big", "me")
    told = "\n".join(config.remarks)
    assert "secret_access_key stay with DVC" in told
    assert "remote w: webdav://x/y is not read" in told
    assert "'k'" not in told


@pytest.mark.parametrize("path", ["../x", "a//b", "/x", "a/./b", "a/../b", ""])
def test_a_listing_that_leads_elsewhere_is_refused(path):
    with pytest.raises(IntegrityError, match="cannot be read"):
        parse_listing(
            b'[{"md5": "60b725f10c9c85c70d97880dfe8191b3", "relpath": "%s"}]' % path.encode(), "d", is_old=False
        )
