"""Files of stages and locks: what they say, and what is refused."""

from __future__ import annotations

import pytest

from penstock.errors import ConflictError, FormatTooNewError, IntegrityError, UsageError
from penstock.project.stages.definition.lock_file import Fingerprint, LockedStage, MadeOutput, format_lock, parse_lock
from penstock.project.stages.definition.stage import Stage, StageName, check_stage, place
from penstock.project.stages.definition.stage_file import parse_stages, with_stage

NAME = "a/penstock.stages.toml"
OUTPUT = (
    'key = "{{h}}"\ncommand = "{{h}}"\n'
    'outputs = [{{{{ path = "{path}", kind = "{kind}", hash = "{{h}}", entries = {count}, bytes = 1 }}}}]'
)
TEXT = b"""format = 1
# kept
[stages.clean]
command = "python clean.py"   # how
dependencies = ["raw/*"]
outputs = ["clean"]
"""


def test_a_stage_reads_back_as_it_was_added():
    stage = Stage(
        StageName("a", "größe of 'x'"),
        "convert {input} {output}",
        dependencies=("with space.py",),
        outputs=("out",),
        parameters=("params.yaml:lr",),
        each="data [[]1]/*",
        suffix=".png",
        may_skip=True,
    )
    body = with_stage(None, stage, NAME, replace=False)
    assert parse_stages(body, "a", NAME) == {stage.where.name: stage}


def test_adding_a_stage_keeps_comments_and_other_stages():
    body = with_stage(TEXT, Stage(StageName("a", "other"), "true", outputs=("o",)), NAME, replace=False)
    assert body.startswith(TEXT.rstrip(b"\n"))
    assert list(parse_stages(body, "a", NAME)) == ["clean", "other"]


def test_the_same_definition_changes_nothing_and_another_one_is_refused_unless_it_is_to_replace():
    same = parse_stages(TEXT, "a", NAME)["clean"]
    assert with_stage(TEXT, same, NAME, replace=False) == TEXT
    other = Stage(StageName("a", "clean"), "true", outputs=("clean",))
    with pytest.raises(ConflictError, match="already"):
        with_stage(TEXT, other, NAME, replace=False)
    assert parse_stages(with_stage(TEXT, other, NAME, replace=True), "a", NAME) == {"clean": other}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('format = 1\n[stages.x]\ncommand = "a"\nouts = ["b"]\n', "line 4.*'outs'"),
        ('format = 1\n[stages.x]\ncommand = 3\noutputs = ["b"]\n', "line 3.*no text"),
        ('format = 1\n[stages.x]\ncommand = "a"\noutputs = "b"\n', "line 4.*no list"),
        ('format = 1\n[stages.x]\noutputs = ["b"]\n', "line 2.*no command"),
        ('format = 1\n[stages.x]\ncommand = "a"\n', "line 2.*makes nothing"),
        ('format = 1\n[stages.x]\ncommand = "a"\noutputs = ["../../b"]\n', "line 2.*not in the project"),
        ('format = 1\n[stages.x]\ncommand = "a"\noutputs = ["/b"]\n', "absolute"),
        ('format = 1\n[stages."x/y"]\ncommand = "a"\noutputs = ["b"]\n', "cannot be the name"),
        ('format = 1\n[stage.x]\ncommand = "a"\n', "'stage'"),
        ("format = 1\nstages = 3\n", "no table"),
        ("format = 1\n[stages.x\n", "line 2"),
        ("stages = {}\n", "format = 1"),
        ("format = true\n", "format = 1"),
        ('format = 1\n<<<<<<< HEAD\n[stages.x]\ncommand = "a"\n', "conflict.*line 2"),
        ("format = 1\nx = " + "[" * 5000 + "]" * 5000, "cannot be used"),
    ],
)
def test_a_file_of_stages_that_is_wrong_is_refused_with_the_place(text, told):
    with pytest.raises(IntegrityError, match=told):
        parse_stages(text.encode(), "a", NAME)


def test_files_of_later_formats_are_refused_as_such():
    with pytest.raises(FormatTooNewError):
        parse_stages(b"format = 2\n", "a", NAME)
    with pytest.raises(FormatTooNewError):
        parse_lock(b"format = 2\n", "penstock.lock")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"each": "in", "outputs": ("o",), "command": "x {input}"}, "no {output}"),
        ({"each": "in", "outputs": ("o", "p"), "command": "x {input} {output}"}, "2 outputs"),
        ({"each": "in", "outputs": ("o",), "command": "x {input} {output} {other}"}, "{other}"),
        ({"each": "in", "outputs": ("o",), "command": "x {input} {output} {"}, "filled in"),
        ({"each": "in", "outputs": ("o",), "command": "x {input!r} {output:9999999999}"}, "no formats"),
        ({"outputs": ("o",), "command": "x", "suffix": ".png"}, "without each"),
        ({"outputs": ("o*",), "command": "x"}, "no pattern"),
        ({"outputs": ("o",), "command": " "}, "no command"),
        ({"outputs": (".git/hooks/x",), "command": "x"}, r"lies in \.git"),
        ({"outputs": (".",), "command": "x"}, "whole project"),
        ({"outputs": ("a\nb",), "command": "x"}, "line breaks"),
    ],
)
def test_what_no_stage_can_be_is_refused(fields, told):
    with pytest.raises(UsageError, match=told):
        check_stage(Stage(StageName("", "x"), **fields))


def test_paths_of_a_folder_may_lead_to_other_folders_of_the_project():
    assert place("a/b", "../c/d") == "a/c/d"
    with pytest.raises(UsageError, match="not in the project"):
        place("a", "../../c")


def test_a_lock_reads_back_as_it_was_written():
    hashes = [f"{at:064x}" for at in range(4)]
    locked = LockedStage(
        hashes[0],
        hashes[1],
        {'with "quote" and ü': Fingerprint(hashes[2], 3, 4), "b\x7f": Fingerprint(hashes[2], 0, 0)},
        {"params.yaml:a": '"x\\n"'},
        {"out put": MadeOutput("directory", hashes[3], 5, 6)},
    )
    assert parse_lock(format_lock({"s": locked, "ü": locked}), "penstock.lock") == {"s": locked, "ü": locked}


@pytest.mark.parametrize(
    "body",
    [
        'key = "x"\ncommand = "y"',
        'key = "{h}"',
        'key = "{h}"\ncommand = "{h}"\nmore = 1',
        OUTPUT.format(path="../../x", kind="file", count=1),
        OUTPUT.format(path="x", kind="link", count=1),
        OUTPUT.format(path="x", kind="file", count=-1),
        'key = "{h}"\ncommand = "{h}"\ndependencies = [3]',
        'key = 3\ncommand = "{h}"',
    ],
)
def test_a_lock_that_is_wrong_is_refused(body):
    text = f"format = 1\n[stages.x]\n{body.format(h='0' * 64)}\n"
    with pytest.raises(IntegrityError, match=r"penstock\.lock cannot be used"):
        parse_lock(text.encode(), "penstock.lock")
