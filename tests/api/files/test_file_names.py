"""What files and rows may be called, and how it is said where a file is."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.api.files.file_address import (
    EntryAddress,
    FsspecAddress,
    LocalAddress,
    ObjectAddress,
    is_file_address,
    parse_file_address,
    parse_upload_place,
)
from penstock.api.files.file_names import check_file_names, check_row_id
from penstock.errors import UsageError


@pytest.mark.parametrize("name", ["a.mha", "scans/1/a.mha", "a b", "ä", "..a", "a..", ".hidden"])
def test_a_name_is_a_path_within_a_directory(name: str) -> None:
    check_file_names([name])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "../a",
        "a/../b",
        "a/..",
        ".",
        "a//b",
        "a/",
        "a\\b",
        "..\\a",
        "a\0",
        "a\nb",
        "x" * 256,
        ".penstock-x",
        1,
    ],
)
def test_a_name_that_leads_out_of_it_or_is_none_is_refused(name: object) -> None:
    with pytest.raises(UsageError) as told:
        check_file_names([name])
    assert told.value.fix


def test_names_that_clash_are_refused() -> None:
    check_file_names(["a/b", "a/c", "ab"])
    with pytest.raises(UsageError, match="'a' and 'a/b' clash"):
        check_file_names(["a/b", "a"])


@pytest.mark.parametrize("given", ["x", 1, 0, 2.0, "a b", "1-2_3"])
def test_an_id_is_text_or_an_integer(given: object) -> None:
    assert check_row_id(given) == (given if isinstance(given, str) else str(int(given)))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "given", ["", "a/b", "..", ".", "a\\b", None, float("nan"), 1.5, True, "x" * 256, ".penstock-files"]
)
def test_what_is_no_id_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="cannot be an id"):
        check_row_id(given)


def test_addresses_are_told_apart(here: Path) -> None:
    assert parse_file_address("s3://bucket/a/b.png") == ObjectAddress("bucket", "a/b.png")
    assert parse_file_address("s3://bucket/a?b?versionId=v1") == ObjectAddress("bucket", "a?b", "v1")
    assert parse_file_address("./in/0.txt") == LocalAddress(str(here / "in/0.txt"))
    assert parse_file_address(Path("in/0.txt")) == LocalAddress(str(here / "in/0.txt"))
    assert parse_file_address("file:///a%20b") == LocalAddress("/a b")
    assert parse_file_address("memory://a/b") == FsspecAddress("memory://a/b")
    for text in ("demo/photos:v1/a/b.png", "penstock://demo/photos:v1/a/b.png"):
        found = parse_file_address(text)
        assert isinstance(found, EntryAddress)
        assert (str(found.version), found.handle.subdir) == ("demo/photos:v1", "a/b.png")
    assert [is_file_address(each) for each in (Path("a"), "s3://b/k", "a/b", 1, "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "given", ["", None, 1, "s3://bucket", "s3://bucket/", "s3://", "demo/photos:v1", "image.png", "s3://b/k?versionId="]
)
def test_what_is_no_address_of_a_file_is_refused(given: object) -> None:
    with pytest.raises(UsageError):
        parse_file_address(given)


def test_places_for_files_are_told_apart(here: Path) -> None:
    assert parse_upload_place("s3://bucket/a/").url == "s3://bucket/a"
    assert parse_upload_place("./out/").local == str(here / "out")
    assert parse_upload_place(Path("out")).url == "./out"
    assert str(parse_upload_place("demo/made:main/x").handle) == "demo/made:main/x"
    for given in ("https://host/a", "out", None, ""):
        with pytest.raises(UsageError):
            parse_upload_place(given)
