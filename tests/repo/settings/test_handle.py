"""The grammar of handles: what each spelling means, what is refused and how, and that text and value agree."""

from __future__ import annotations

import pickle
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.repo.settings.handle import GRAMMAR, Handle, check_ref_name, parse_handle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo", Handle("demo")),
        ("demo/", Handle("demo")),
        ("demo/clipart", Handle("demo", "clipart")),
        ("demo/clipart/", Handle("demo", "clipart")),
        ("demo/clipart:main", Handle("demo", "clipart", "main")),
        ("demo/clipart:main/", Handle("demo", "clipart", "main")),
        ("demo/clipart:v1.0/animals/cats", Handle("demo", "clipart", "v1.0", "animals/cats")),
        ("demo/clipart/animals/cats/", Handle("demo", "clipart", None, "animals/cats")),
        ("demo/clipart/odd: name/é\n\udcff", Handle("demo", "clipart", None, "odd: name/é\n\udcff")),
        ("demo/clipart:main/a:b", Handle("demo", "clipart", "main", "a:b")),
        ("a.b-c_D/x:0123abc", Handle("a.b-c_D", "x", "0123abc")),
        ("s3://bucket", Handle("s3://bucket")),
        ("s3://bucket/", Handle("s3://bucket")),
        ("s3://bucket/data:main/sub/dir", Handle("s3://bucket", "data", "main", "sub/dir")),
        ("s3://bucket/data/sub", Handle("s3://bucket", "data", None, "sub")),
        ("file:///", Handle("file:///")),
        ("file:///srv/store/", Handle("file:///srv/store")),
        ("file:///data", Handle("file:///", "data")),
        ("file:///srv/store/data", Handle("file:///srv/store", "data")),
        ("file:///srv/store/data:main", Handle("file:///srv/store", "data", "main")),
        ("file:///srv/store/data:main/sub/a:b", Handle("file:///srv/store", "data", "main", "sub/a:b")),
        ("file:///srv/with%3Acolon/data:main", Handle("file:///srv/with%3Acolon", "data", "main")),
    ],
)
def test_each_spelling_has_its_meaning(text: str, expected: Handle) -> None:
    assert parse_handle(text) == expected
    assert parse_handle(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "bucket is empty"),
        ("-demo/x", "not a bucket name"),
        ("de mo/x", "not a bucket name"),
        ("démo/x", "not a bucket name"),
        ("demo:main", "colon"),
        ("demo//x", "dataset is empty"),
        ("demo/:main", "dataset is empty"),
        ("demo/.hidden", "not a dataset name"),
        ("demo/" + "x" * 129, "not a dataset name"),
        ("demo/x:", "ref is empty"),
        ("demo/x:/sub", "ref is empty"),
        ("demo/x:a..b", "not a ref name"),
        ("demo/x:-m", "not a ref name"),
        ("demo/x:.m", "not a ref name"),
        ("demo/x:m:n", "not a ref name"),
        ("demo/x:" + "r" * 129, "not a ref name"),
        ("demo/x:main/../y", "'..'"),
        ("demo/x:main/./y", "'.'"),
        ("demo/x:main/a//y", "component ''"),
        ("demo/x//", "component ''"),
        ("demo/x:main/a\0b", "NUL"),
        ("./photos", "path, not a handle"),
        ("/srv/photos", "path, not a handle"),
        ("~/photos", "path, not a handle"),
        ("gs://bucket/x", "unknown address"),
        ("s3:///x", "bucket is empty"),
        ("s3://b:main/x", "colon"),
        ("file://srv/x", "not absolute"),
        ("file:///srv//x", "component ''"),
        ("file:///srv/../x", "'..'"),
        ("file:///srv/x:", "ref is empty"),
        ("file:///srv/:main", "dataset is empty"),
        ("demo/\x1b[2Jx", "\\x1b"),
    ],
)
def test_what_is_wrong_is_named(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_handle(text)
    assert part in f"{caught.value.what} {caught.value.why}"
    assert caught.value.fix
    assert str(caught.value).isprintable()


def test_the_error_shows_the_grammar_and_an_example() -> None:
    with pytest.raises(UsageError) as caught:
        parse_handle("demo/x:a..b")
    assert GRAMMAR in caught.value.fix
    assert "demo/clipart:main/animals" in caught.value.fix


def test_a_handle_that_no_text_spells_cannot_be_made() -> None:
    with pytest.raises(UsageError, match="ref is missing"):
        Handle("file:///srv", "data", None, "sub")
    with pytest.raises(UsageError, match="dataset is missing"):
        Handle("demo", None, "main")
    with pytest.raises(UsageError, match="holds a colon"):
        Handle("file:///srv/a:b", "data")


def test_a_long_text_makes_a_short_error() -> None:
    with pytest.raises(UsageError) as caught:
        parse_handle("demo/x:main/" + "a" * 1_000_000 + "/..")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("ref", ["main", "v1.0", "_x", "a" * 128, "0123456789abcdef"])
def test_good_refs(ref: str) -> None:
    check_ref_name(ref)


_letters = string.ascii_letters + string.digits
_names = st.builds(str.__add__, st.sampled_from(_letters), st.text(_letters + "._-", max_size=20))
_refs = _names.filter(lambda name: ".." not in name)
_components = st.text(st.characters(exclude_characters="/\0", codec=None), min_size=1, max_size=8).filter(
    lambda text: text not in {".", ".."}
)
_subdirs = st.lists(_components, max_size=4).map("/".join)
_directories = st.lists(
    st.text(st.characters(exclude_characters="/\0:", codec=None), min_size=1, max_size=8).filter(
        lambda text: text not in {".", ".."}
    ),
    max_size=4,
).map(lambda parts: "file:///" + "/".join(parts))
_buckets = st.one_of(_names, _names.map("s3://{}".format), _directories)


@given(_buckets, st.none() | _names, st.none() | _refs, _subdirs)
def test_text_and_value_agree(bucket: str, dataset: str | None, ref: str | None, subdir: str) -> None:
    if dataset is None:
        ref, subdir = None, ""
    assume(not (bucket.startswith("file:") and ref is None and subdir))
    handle = Handle(bucket, dataset, ref, subdir)
    assert parse_handle(str(handle)) == handle
    assert pickle.loads(pickle.dumps(handle)) == handle


_pieces = st.sampled_from(["s3://", "file://", "/", "//", ":", "..", ".", "a", "b-1", "\0", "\udcff", "~", " ", "%2F"])


@given(st.text() | st.lists(_pieces, max_size=8).map("".join))
@example("file:///a/")
@example("file://:/")
def test_any_text_is_a_handle_or_a_usage_error(text: str) -> None:
    try:
        handle = parse_handle(text)
    except UsageError as error:
        assert error.what
        assert str(error).isprintable()
    else:
        assert parse_handle(str(handle)) == handle
