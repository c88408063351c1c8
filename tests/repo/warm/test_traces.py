"""Trace files: what is read is what was written, and what is none is refused by the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import FormatTooNewError, NotFoundError, UsageError
from penstock.repo.warm.trace import Access, Trace, encode_access, encode_header

ACCESSES = [Access("a/b", 0, 1, 10), Access("odd\n\udcff", 3, 4, 4 << 20), Access("a/b", 0, 1, 0)]


def written(folder: Path, *lines: bytes) -> str:
    path = folder / "a.trace"
    path.write_bytes(b"".join(lines))
    return str(path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, encode_header("demo/data", bytes(32)), *map(encode_access, ACCESSES))
    trace = Trace(path)
    assert (trace.handle, trace.top_hash, trace.accesses) == ("demo/data", "0" * 64, 3)
    assert trace.size == sum(access.size for access in ACCESSES)
    assert list(trace) == list(trace) == ACCESSES


def test_a_last_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    whole = encode_access(ACCESSES[0])
    for cut in range(len(whole)):
        path = written(tmp_path, encode_header("demo/data", bytes(32)), whole, whole[:cut])
        assert list(Trace(path)) == [ACCESSES[0]]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"path": "a", "blocks": [0, 1]}\n',
        b'{"path": "a", "blocks": [0, 0], "bytes": 1}\n',
        b'{"path": "a", "blocks": [-1, 1], "bytes": 1}\n',
        b'{"path": "a", "blocks": [0, true], "bytes": 1}\n',
        b'{"path": "a", "blocks": [0, 1], "bytes": 1e400}\n',
        b'{"path": "a", "blocks": [0, 1, 2], "bytes": 1}\n',
        b'{"path": 5, "blocks": [0, 1], "bytes": 1}\n',
        b'{"path": "", "blocks": [0, 1], "bytes": 1}\n',
        b'{"path": "\\ud800", "blocks": [0, 1], "bytes": 1}\n',
        b"\xff\xfe\n",
        b"x" * (2 << 20),
    ],
)
def test_a_line_that_is_none_is_refused_before_anything_is_done(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path, encode_header("demo/data", bytes(32)), encode_access(ACCESSES[0]), line, b"{}\n")
    with pytest.raises(UsageError, match=r"is no trace: line 3 .*record-trace"):
        Trace(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for body in (b"", b"hello\n", b"\x89PNG\r\n", b"{}\n", b'{"penstock_trace": "1"}\n', b"[" * 100_000 + b"\n"):
        with pytest.raises(UsageError, match=r"does not begin like one"):
            Trace(written(tmp_path, body))
    with pytest.raises(NotFoundError):
        Trace(str(tmp_path / "nowhere"))
    with pytest.raises(FormatTooNewError, match="version 2"):
        Trace(written(tmp_path, b'{"penstock_trace": 2, "handle": "h", "top_hash": "t"}\n'))
