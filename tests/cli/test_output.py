"""Data goes to standard output in the form that is asked for."""

from __future__ import annotations

import io
import json

import pytest

from penstock.cli.output import Output


def both(*, as_json: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = io.StringIO(), io.StringIO()
    return Output(as_json, stdout, stderr), stdout, stderr


def test_records_are_lines() -> None:
    output, stdout, _ = both(as_json=True)
    output.record({"name": "a\nb", "size": 2**60})
    output.record({"name": "\udcfe", "size": 0})
    lines = stdout.getvalue().splitlines()
    assert [json.loads(line)["size"] for line in lines] == [2**60, 0]
    assert json.loads(lines[1])["name"].encode("utf-8", "surrogateescape") == b"\xfe"


def test_a_number_that_json_lacks_is_refused() -> None:
    output, _, _ = both(as_json=True)
    with pytest.raises(ValueError, match="JSON"):
        output.document(float("nan"))


def test_text_cannot_reach_the_terminal_raw() -> None:
    output, stdout, stderr = both(as_json=False)
    output.line("a\x1b[31m")
    output.table([("x\ny", "1")], headers=("NAME", "N"), right={1})
    output.notice("skipped \udc80")
    assert stdout.getvalue() == "a\\e[31m\nNAME  N\nx\\ny  1\n"
    assert stderr.getvalue() == "penstock: skipped \\x80\n"


def test_programs_get_no_notices() -> None:
    output, stdout, stderr = both(as_json=True)
    output.notice("for people")
    assert stdout.getvalue() == stderr.getvalue() == ""
