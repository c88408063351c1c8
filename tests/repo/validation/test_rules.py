"""What does not fit is named by path, rule by rule; rules that make no sense are refused."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.query.query_record import Record
from penstock.repo.validation.content_types import content_type, fits
from penstock.repo.validation.metadata_schema import MetadataSchema
from penstock.repo.validation.patterns import PathPattern, fill
from penstock.repo.validation.validation_rules import parse_rules, validate

PNG, JPEG = b"\x89PNG\r\n\x1a\n....", b"\xff\xd8\xff\xe0...."
SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["cat", "dog"]}}}


def check(document: Any, files: dict[str, Any], heads: dict[str, bytes] | None = None) -> list[tuple[str, str]]:
    rules = parse_rules(document)
    records = [
        (Record(path, 1, "", metadata), partial((heads or {}).__getitem__, path) if rules.needs_head(path) else None)
        for path, metadata in files.items()
    ]
    found = validate(records, rules, files.__contains__)
    return [(problem.path, problem.what) for problem in found]


def files_of(*paths: str) -> dict[str, Any]:
    return {path: {} for path in paths}


def test_metadata_against_a_schema() -> None:
    files = {"a": {"label": "cat"}, "b": {"label": "bird"}, "c": {}}
    problems = check(SCHEMA, files)
    assert [path for path, _ in problems] == ["b", "c"]
    assert problems[0][1].startswith("label: ")
    assert problems == check({"metadata": SCHEMA}, files)
    assert [path for path, _ in check({"metadata": [{"paths": "[bc]", "schema": SCHEMA}]}, files)] == []
    assert [path for path, _ in check({"metadata": [{"paths": "?", "schema": SCHEMA}]}, files)] == ["b", "c"]


def test_folders_counts_types_and_pairs() -> None:
    rules = {
        "folders": ["images", "val/"],
        "types": [{"paths": "images/**", "types": ["image/png", "image/jpeg"]}],
        "counts": [{"paths": "images/*.jpg", "least": 3}, {"paths": "labels/*", "most": 1}, {"paths": "**", "most": 9}],
        "pairs": [{"paths": "labels/*.json", "with": ["images/*.jpg", "images/*.png"]}],
    }
    files = files_of("images/a.jpg", "images/b.jpg", "images/c.png", "labels/a.json", "labels/c.json", "labels/d.json")
    heads = {"images/a.jpg": JPEG, "images/b.jpg": b"<html>", "images/c.png": JPEG}
    assert check(rules, files, heads) == [
        ("images/b.jpg", "it is text/plain, not image/png or image/jpeg"),
        ("labels/d.json", "there is no images/d.jpg or images/d.png"),
        ("val/", "there is nothing in it"),
        ("", "2 entries are images/*.jpg, at least 3 should be"),
        ("", "3 entries are labels/*, at most 1 should be"),
    ]


def test_stars_stand_for_the_same_in_both_of_a_pair() -> None:
    rules = {"pairs": [{"paths": "labels/**/*.json", "with": "images/**/*.jpg"}]}
    files = files_of("labels/a/b/x.json", "labels/y.json", "images/a/b/x.jpg", "images/a/y.jpg")
    assert check(rules, files) == [("labels/y.json", "there is no images/y.jpg")]
    pattern = PathPattern("a/**/?.*")
    values = pattern.match("a/b/c/d.e")
    assert values == ("b/c/", "d", "e")
    assert fill(pattern, values) == "a/b/c/d.e"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "a table"),
        ({"folders": [], "colour": 1}, "no member 'colour'"),
        ({"folders": 5}, "folders"),
        ({"folders": [""]}, "folders"),
        ({"types": [{"paths": "x"}]}, "types"),
        ({"counts": [{"paths": "x", "least": "1"}]}, "counts"),
        ({"counts": {}}, "counts"),
        ({"pairs": [{"paths": "*/*", "with": "*"}]}, "different stars"),
        ({"pairs": [{"paths": 5, "with": "*"}]}, "no pattern"),
        ({"pairs": [{"paths": "", "with": "*"}]}, "no pattern"),
        ({"type": 5}, "no JSON Schema"),
        ({"properties": {"a": {"pattern": "("}}}, "no JSON Schema"),
    ],
)
def test_rules_that_make_no_sense_are_refused(document: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_rules(document)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/x", "file:///etc/passwd", "file:///dev/zero", "other.json", "http://127.0.0.1:9/$schema"],
)
def test_a_schema_fetches_nothing(address: str) -> None:
    with pytest.raises(UsageError, match="refers to another"):
        MetadataSchema({"$schema": address} if address.endswith("$schema") else {"$ref": address})
    assert not list(MetadataSchema({"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"}).problems({}))


def test_a_pattern_that_explodes_does_not() -> None:
    schema = MetadataSchema({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert list(schema.problems({"a": "a" * 5000 + "b"}))


def test_what_is_said_of_an_entry_is_bounded() -> None:
    schema = MetadataSchema({"additionalProperties": {"type": "integer"}})
    told = list(schema.problems({str(number): "x" * 10_000 for number in range(100)}))
    assert len(told) == 20
    assert max(map(len, told)) < 400


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(UsageError, match=r"pip install 'penstock\[validate\]'"):
        MetadataSchema({})


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"RIFF....WAVEfmt ", "audio/wav"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"PAR1....", "application/vnd.apache.parquet"),
        (b'{"a": 1}', "application/json"),
        (b" \n[1]", "application/json"),
        ("é\n".encode(), "text/plain"),
        (b"x" * 511 + "é".encode()[:1], "text/plain"),
        (b"a\0b", "application/octet-stream"),
        (b"\xfe\xff", "application/octet-stream"),
        (b"", "application/x-empty"),
        (bytes(257) + b"ustar\0", "application/x-tar"),
        (bytes(128) + b"DICM", "application/dicom"),
    ],
)
def test_what_a_file_is_by_its_bytes(head: bytes, kind: str) -> None:
    assert content_type(head) == kind
    assert fits(kind, kind)
    assert fits(kind, kind.partition("/")[0] + "/*")


@given(st.binary(max_size=512))
def test_any_bytes_are_something(head: bytes) -> None:
    assert "/" in content_type(head)


def test_memory_does_not_grow_with_the_entries() -> None:
    rules = parse_rules(
        {
            "metadata": SCHEMA,
            "folders": ["d"],
            "counts": [{"paths": "d/*", "least": 1}],
            "pairs": [{"paths": "d/*", "with": "e/*"}],
        }
    )

    def records(count: int) -> Iterator[Record]:
        return (Record(f"d/{number:07}", 1, "", {"label": "cat"}) for number in range(count))

    peaks = []
    for count in (1000, 20_000):
        tracemalloc.start()
        assert not any(validate(((each, None) for each in records(count)), rules, lambda _: True))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000, peaks
