"""The owner's document about packages, replayed: each statement of its Python samples runs, or departs for a reason.

Statements are the lines behind a prompt in its samples, parsed out of the text. What it says raises, raises so.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from trees.directory import write

import penstock
from penstock.errors import PenstockError

DOCUMENT = Path(__file__).resolve().parents[2] / "documents" / "packages.md"
WORDS = {
    '"s3://bucket"': ('"bucket"', "the bucket of this test is a directory, or one of another name, and called so"),
    '"s3://bucket/': ('"bucket/', "the same"),
    "%time ": ("", "a magic of notebooks, which only measures"),
    '"/dataset"': ('"./dataset"', "a slip of the document: it was downloaded to ./dataset"),
}
"""Words that are others here, and why."""


class Statement:
    """A statement of the document, and the exceptions that it says it raises."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.raises: list[str] = []


def samples() -> list[Statement]:
    found: list[Statement] = []
    inside, waiting = False, ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("```"):
            inside, waiting = not inside, ""
            continue
        if not inside:
            continue
        if waiting or line.startswith("> "):
            waiting += line.removeprefix("> ").split("  #")[0] + "\n"
            try:
                ast.parse(waiting.strip().removeprefix("%time "))
            except SyntaxError:
                continue
            found.append(Statement(waiting.strip()))
            waiting = ""
        elif line.startswith("Exception: ") and found:
            found[-1].raises.append(line.removeprefix("Exception: "))
    return found


def test_the_samples_are_parsed_whole() -> None:
    lines = DOCUMENT.read_text().splitlines()
    fenced = [line for at, line in enumerate(lines) if sum(each.startswith("```") for each in lines[:at]) % 2]
    assert len(samples()) == len([line for line in fenced if line.startswith("> ")])


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of the bucket: a directory, or one of the S3 server."""
    if request.param == "local":
        return str(tmp_path / "bucket")
    request.getfixturevalue("aws_environment")
    return f"s3://{request.getfixturevalue('bucket')}"


@pytest.mark.filterwarnings("ignore:.*has no README")
def test_each_statement_in_python_does_what_the_document_says(world: Path, place: str) -> None:
    penstock.add_remote("bucket", place)
    write(
        world,
        {
            "README.md": b"# Dataset",
            "train2017/1.jpg": b"one",
            "replacement/1.jpg": b"better",
            "new/new_data/1.jpg": b"new",
            "master/labelled/1.jpg": b"labelled",
            "master/cats/file1.txt": b"cat",
            "master/other/huge_file.json": b"{}",
            "master/README.md": b"# Dataset",
            "some/file3.txt": b"3",
            "dataset/file1.txt": b"1",
        },
    )
    names: dict[str, Any] = {"Package": penstock.Package, "PackageBuilder": penstock.PackageBuilder}
    used: set[str] = set()
    for each in samples():
        text = each.text
        for word, (ours, reason) in WORDS.items():
            assert reason
            if word in text:
                used.add(word)
                text = text.replace(word, ours)
        prepare(text)
        run = compile(text, "document", "eval" if is_expression(text) else "exec")
        if not each.raises:
            value = eval(run, names)
            if text in ("pkg_builder", "pkg_builder_2", "pkg", "main_dataset", "new_data", "readme"):
                assert repr(value)
            continue
        with pytest.raises((PenstockError, AttributeError)) as raised:
            eval(run, names)
        first = each.raises[0].split(".")[0].split(" to ")[0]
        assert first.replace('"', "'")[:30] in str(raised.value).replace('"', "'"), text
    assert used == set(WORDS)
    assert penstock.Package("bucket/temp:2019-10-31").read("README.md") == b"# Dataset"


def is_expression(text: str) -> bool:
    return isinstance(ast.parse(text).body[0], ast.Expr)


def prepare(text: str) -> None:
    """Make the versions that a sample begins with."""
    if text.startswith('pkg = Package("bucket/dataset")'):
        penstock.Dataset("bucket/dataset").push("master")
    elif text.startswith("new_data = Package("):
        penstock.Dataset("bucket/new-data").push("new", tag="2019-10-30")
        penstock.Dataset("bucket/dataset").push("master", branch="master")
    elif "removed_some_items" in text:
        penstock.Dataset("bucket/dataset").push("some", tag="removed_some_items_changed_one_item")
