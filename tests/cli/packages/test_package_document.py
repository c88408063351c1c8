"""The owner's document about packages, replayed: each statement of its command lines runs, or departs for a reason.

The statements are parsed out of the document, with what they print. One that is neither run nor listed here fails, and
so does a departure that the document does not have.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from servers.rgw import RadosGateway

import penstock

Run = Callable[..., Result]

DOCUMENT = Path(__file__).resolve().parents[2] / "documents" / "packages.md"
PROGRAM = "the program is called penstock, and builds packages below `penstock package`"
VERBS = {
    "copy": (["download"], "a copy of a version is a download; it prints what it did"),
    "diff": (["diff"], ""),
    "hash": (["hash"], ""),
}
"""Statements about local copies: what they are here, and why."""
WITHOUT_OUTPUT = {"copy": "a download prints what it did", "diff": "No changes is a notice", "hash": "the hash is ours"}
LINES = {
    r"^Error: (Manifest contains pointers to local files)\. .*": (r"\1", "an error says what, why and fix apart"),
    r"^Linking data/package:v0": ("Linking bucket/dataset:v0", "a slip of the document"),
    r"s3://bucket/abc/validation": ("s3://otherbucket/abc/validation", "a slip of the document"),
    r"^Pushing manifest to .*": ("Pushing manifest to MANIFEST", "manifests lie elsewhere in our buckets"),
    r"^Package: bucket/dataset@(\w+)": (
        r"Package: bucket/dataset:main (\1)",
        "without a tag it is its branch",
    ),
    r"to s3://bucket/data/dataset/v0/train2017/1.jpg$": (
        "to s3://bucket/data/dataset/v0/train2017/1.jpg~HASH",
        "this bucket keeps no versions, and v0 points to the object of that name",
    ),
}
"""Lines of the document that say something else here: what, and why."""
LOCAL_LINES = {
    r"^Copying s3://otherbucket/abc/validation/ to .*": ("", "no local bucket can copy from S3: it stays, and is said"),
    r"^Copying s3://bucket/data/dataset/v0/val2017/ to .*": ("", "so it was not brought there before, either"),
    r"^val2017/ -> s3://bucket/data/dataset/v0/val2017/$": ("val2017/ -> s3://otherbucket/abc/validation/", "as above"),
}
"""More of them where the bucket is a directory."""
MORE = {r"^Linking bucket/dataset:main to manifest HASH$": "a branch moves with every version, and that is said"}
"""Lines that are printed beyond the document's."""


class Statement:
    """A command line of the document, and what it prints there."""

    def __init__(self, line: str) -> None:
        self.words = shlex.split(line)[1:]
        self.printed: list[str] = []


def statements() -> list[Statement]:
    found: list[Statement] = []
    inside = False
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("```"):
            inside = not inside
            shell = False
        elif inside and line.startswith("$ quilt "):
            found.append(Statement(line.removeprefix("$ ")))
            shell = True
        elif inside and shell:
            found[-1].printed.append(line)
    return found


def normal(line: str) -> str:
    line = re.sub(r"\b[0-9a-f]{64}\b", "HASH", line)
    line = re.sub(r"~[0-9a-f]{12}\b", "~HASH", re.sub(r"\b[0-9a-f]{9}\b", "HASH", line))
    return " ".join(line.split())


def test_the_document_is_parsed_whole() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("$ ")]
    assert len(statements()) == len(lines) == 24


@pytest.mark.s3
@pytest.mark.fuse
@pytest.mark.parametrize("is_local", [False, True])
def test_each_statement_of_the_command_line_does_what_the_document_says(
    run: Run,
    gateway: RadosGateway,
    aws_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_local: bool,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name, value in aws_environment.items():  # `home` has taken them away
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(here.parent / "run"))
    (here.parent / "run").mkdir(mode=0o700)
    bucket = f"file://{tmp_path}/bucket" if is_local else "s3://bucket"
    for name in ["otherbucket"] if is_local else ["bucket", "otherbucket"]:
        gateway.make_bucket(name)
    if is_local:
        assert run("remote", "add", "bucket", bucket).exit_code == 0
    lines = LINES | LOCAL_LINES if is_local else LINES
    files = {
        "README.md": "# Data",
        "train2017/1.jpg": "one",
        "train2017/2.jpg": "two",
        "../test2017/1.jpg": "test",
        "replacement/1.jpg": "better",
        "source/a/b": "earlier",
    }
    for name, content in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(content)
    assert gateway.request("PUT", "/otherbucket/abc/validation/1.jpg", body=b"valid").status == 200
    earlier = penstock.Dataset("bucket/dataset").push("source", tag="tag")
    used: set[str] = set()
    local = "./dataset-copy"
    installed: list[str] = []
    try:
        for each in statements():
            verb, *rest = each.words
            if verb in VERBS:
                rest = [word.replace(":hash", f":{earlier.top_hash}") for word in rest]
                rest = [local if word in ("/my/path/to/data", "./dataset") else word for word in rest if word != "--to"]
                done = run(*VERBS[verb][0], *rest)
                assert done.exit_code == 0, done.stderr
                if verb == "diff":
                    assert "No changes" in done.stderr
                elif verb == "hash":
                    assert done.stdout.strip() == earlier.top_hash
                assert verb in WITHOUT_OUTPUT
                continue
            done = run("package", *each.words)
            if verb == "install":
                installed.append(rest[2])
                assert (here / rest[2] / "a/b").read_text() == "earlier"
            expected = [line for line in map(normal, each.printed) if line]
            for pattern, (ours, reason) in lines.items():
                assert reason
                for at, line in enumerate(expected):
                    changed = re.sub(pattern, ours, line)
                    if changed != line:
                        used.add(pattern)
                        expected[at] = normal(changed)
            expected = [line.replace("s3://bucket/", f"{bucket}/") for line in expected if line]
            errors = [
                line.removeprefix("penstock: ")
                for line in done.stderr.splitlines()
                if "warning" not in line and "stays where it lies" not in line
            ]
            printed = [normal(line) for line in [*done.stdout.splitlines(), *errors[:1]] if line.strip()]
            printed = [re.sub(r"^Pushing manifest to .*", "Pushing manifest to MANIFEST", line) for line in printed]
            for pattern in MORE:
                more = [line for line in printed if re.match(pattern, line) and line not in expected]
                used.update(pattern for _ in more)
                printed = [line for line in printed if line not in more]
            assert printed == expected, each.words
            assert done.exit_code == (2 if errors else 0)
    finally:
        for place in installed:
            run("umount", place)
    assert used == {*lines, *MORE}
    package = penstock.Package("bucket/dataset")
    assert package.read("train2017/1.jpg") == b"better"
    assert penstock.Package("bucket/dataset:v0").read("train2017/1.jpg") == b"one"
    copy = "s3://otherbucket/abc/validation/1.jpg" if is_local else "s3://bucket/data/dataset/v0/val2017/1.jpg"
    assert package["val2017/1.jpg"].physical_keys[0].uri == copy
    assert package.read("val2017/1.jpg") == b"valid"
    assert package.verify(deep=True).sound
