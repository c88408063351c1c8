"""Pointer files: what they say, and what is refused in them."""

from __future__ import annotations

import os

import pytest

from penstock.errors import AccessError, ConflictError, FormatTooNewError, NotFoundError, UsageError
from penstock.project.pointer import ImportedFrom, Pointer, parse_pointer, read_pointer, write_pointer

PLAIN = Pointer("directory", bytes(range(32)), 3, 1000)


@pytest.mark.parametrize(
    "pointer",
    [
        PLAIN,
        Pointer("file", b"\7" * 32, 1, 0),
        Pointer("directory", b"\7" * 32, 0, 1 << 50, ImportedFrom('https://e/"x"\\é\x7f', "raw/ö 1", None, "a" * 40)),
        Pointer("directory", b"\7" * 32, 0, 0, ImportedFrom("../other", "raw", "v1", "b" * 64)),
    ],
)
def test_a_pointer_reads_back_as_it_was_written(tmp_path, pointer):
    path = str(tmp_path / "raw.penstock")
    assert write_pointer(path, pointer)
    assert not write_pointer(path, pointer)
    assert read_pointer(path) == pointer
    assert os.listdir(tmp_path) == ["raw.penstock"]


GOOD = b'format = 1\nkind = "directory"\ntop = "' + b"ab" * 32 + b'"\nentries = 1\nbytes = 2\n'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (GOOD.replace(b"format = 1", b"format = 2"), FormatTooNewError),
        (GOOD.replace(b"format = 1\n", b""), UsageError),
        (GOOD.replace(b"format = 1", b"format = true"), UsageError),
        (GOOD.replace(b"ab" * 32, b"AB" * 32), UsageError),
        (GOOD.replace(b"ab" * 32, b"ab"), UsageError),
        (GOOD.replace(b"directory", b"socket"), UsageError),
        (GOOD.replace(b"entries = 1", b"entries = -1"), UsageError),
        (GOOD.replace(b"entries = 1", b"entries = 1.5"), UsageError),
        (GOOD + b'run = "rm"\n', UsageError),
        (GOOD + b'[import]\nurl = "u"\npath = "p"\n', UsageError),
        (GOOD + b'[import]\nurl = "u"\npath = "p"\ncommit = "-x"\n', UsageError),
        (GOOD + b"\xff", UsageError),
        (b"<<<<<<< HEAD\n" + GOOD + b"=======\n" + GOOD + b">>>>>>> other\n", ConflictError),
        (GOOD + b"#" * 70_000, UsageError),
        (b"a=" + b"[" * 40_000, UsageError),
    ],
)
def test_what_is_no_pointer_is_refused_and_says_why(body, error):
    assert parse_pointer("raw.penstock", GOOD).entries == 1
    with pytest.raises(error) as caught:
        parse_pointer("raw.penstock", body)
    assert "raw.penstock" in caught.value.what
    assert caught.value.fix


def test_a_pointer_is_read_through_no_link_and_no_pipe(tmp_path):
    (tmp_path / "true").write_bytes(GOOD)
    os.symlink(tmp_path / "true", tmp_path / "a.penstock")
    os.mkfifo(tmp_path / "b.penstock")
    with pytest.raises(AccessError):
        read_pointer(str(tmp_path / "a.penstock"))
    with pytest.raises(UsageError):
        read_pointer(str(tmp_path / "b.penstock"))
    with pytest.raises(NotFoundError):
        read_pointer(str(tmp_path / "c.penstock"))
