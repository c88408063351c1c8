"""What is shown of names and tables."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.text import display_width, escape, quote_name, table_lines


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.txt", "plain.txt"),
        ("two words", "two words"),
        ("é名", "é名"),
        ("it's", "it's"),
        ("a\nb", r"$'a\nb'"),
        ("\x1b[2J", r"$'\e[2J'"),
        ("it's\t", r"$'it\'s\t'"),
        ("back\\slash", "back\\slash"),
        ("back\\slash\n", r"$'back\\slash\n'"),
        ("\udcff", r"$'\xff'"),
        ("\u202egnp", r"$'\u202egnp'"),
        ("$'x'", r"$'$\'x\''"),
        (" x", "$' x'"),
        ("", "$''"),
        ("\x7f\x85", r"$'\x7f\u0085'"),
    ],
)
def test_a_name_is_shown_so(name: str, shown: str) -> None:
    assert quote_name(name) == shown


@given(st.text())
def test_nothing_unprintable_is_shown(name: str) -> None:
    assert quote_name(name).isprintable()
    assert escape(name).isprintable()


@given(st.lists(st.text(), unique=True, min_size=2, max_size=5))
def test_two_names_never_look_the_same(names: list[str]) -> None:
    assert len({quote_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", [b"a\nb'c\\d\x01e\x7f", b"\xff\xfe0", "é\u202ez\n".encode(), bytes(range(1, 47))])
def test_bash_reads_a_quoted_name_back(name: bytes) -> None:
    command = f"printf %s {quote_name(os.fsdecode(name))}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    )
    assert done.stdout == name


def test_columns_line_up() -> None:
    rows = [("a", "1"), ("名前", "100"), ("e\u0301", "20")]
    assert list(table_lines(rows, headers=("NAME", "SIZE"), right={1})) == [
        "NAME  SIZE",
        "a        1",
        "名前   100",
        "e\u0301       20",
    ]
    assert display_width("名前") == 4


def test_a_long_listing_starts_before_it_ends() -> None:
    taken = 0

    def rows() -> object:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield (str(number), "x")

    lines = table_lines(rows())  # type: ignore[arg-type]  # a generator of pairs
    assert next(lines) == "0    x"
    assert taken <= 2000


def test_an_empty_table_is_nothing() -> None:
    assert list(table_lines([], headers=("NAME",))) == []
