"""Rows that differ: against a plain comparison of lists, in parts on disk, and tables that mean harm."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.repo.tables import row_differences
from penstock.repo.tables.row_differences import RowDifferences, differing_rows
from penstock.repo.tables.table_source import TableSource, open_table

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def source(name: str, body: bytes) -> TableSource:
    return open_table(name, lambda: io.BytesIO(body))


def table(rows: list[dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def compared(name: str, before: bytes, after: bytes, *key: str, most: int = 100) -> RowDifferences:
    return differing_rows(source(name, before), source(name, after), key, most=most)


def test_csv_json_lines_and_parquet_tell_the_same() -> None:
    before = [{"id": 1, "label": "cat"}, {"id": 2, "label": "dog"}, {"id": 3, "label": 'a, "b"\nc'}]
    after = [{"id": 9, "label": "new"}, {"id": 2, "label": "fox"}, {"id": 1, "label": "cat"}]

    def text(rows: list[dict[str, Any]]) -> bytes:
        quoted = ['"{}"'.format(str(row["label"]).replace('"', '""')) for row in rows]
        return (
            "id,label\n" + "".join(f"{row['id']},{each}\n" for row, each in zip(rows, quoted, strict=True))
        ).encode()

    def lines(rows: list[dict[str, Any]]) -> bytes:
        return "".join(json.dumps(dict(reversed(row.items()))) + "\n" for row in rows).encode()

    for name, write in {"t.csv": text, "t.jsonl": lines, "t.parquet": table}.items():
        found = compared(name, write(before), write(after), "id")
        assert (found.added, found.removed, found.changed, found.rows_before, found.rows_after) == (1, 1, 1, 3, 3)
        told = [
            tuple(str(side["label"]) if side is not None else None for side in (row.before, row.after))
            for row in found.rows
        ]
        assert told == [("dog", "fox"), ('a, "b"\nc', None), (None, "new")]
        whole = compared(name, write(before), write(after))
        assert (whole.added, whole.removed, whole.changed) == (2, 2, 0)
        assert not compared(name, write(before), write(list(reversed(before))), "id")


@pytest.mark.parametrize("part_rows", [1 << 22, 64])
def test_it_finds_what_a_plain_comparison_finds(part_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_differences, "_PART_ROWS", part_rows)
    chance = random.Random(3)
    texts = ["", "x", "12345678", "123456789", "ä" * 40, "y" * 400, None]

    def row(number: int) -> dict[str, Any]:
        return {
            "id": f"row-{number}",
            "n": chance.choice([None, 0, -1, 1 << 40]),
            "f": chance.choice([0.0, float("nan"), 2.5]),
            "t": chance.choice(texts),
            "l": chance.choice([[], [1, 2], [2, 1]]),
            "b": chance.random() < 0.5,
        }

    before = {f"row-{number}": row(number) for number in range(900)}
    after = dict(before)
    gone, changed = chance.sample(sorted(before), 30), chance.sample(sorted(before), 40)
    for name in changed:
        after[name] = {**before[name], "t": f"{before[name]['t']}, and more"}
    for name in gone:
        after.pop(name)
    for number in range(900, 920):
        after[f"row-{number}"] = row(number)
    mixed = list(after.values())
    chance.shuffle(mixed)
    found = compared("t.parquet", table(list(before.values()), row_group_size=100), table(mixed), "id", most=1000)
    assert {row.after["id"] for row in found.rows if row.before is None and row.after} == {
        f"row-{n}" for n in range(900, 920)
    }
    assert {row.before["id"] for row in found.rows if row.after is None and row.before} == set(gone)
    assert {row.after["id"] for row in found.rows if row.before and row.after} == set(changed) - set(gone)
    assert (found.added, found.removed, found.changed) == (20, 30, len(set(changed) - set(gone)))
    few = compared("t.parquet", table(list(before.values())), table(mixed), "id", most=3)
    assert (few.added, few.removed, few.changed, len(few.rows)) == (20, 30, found.changed, 9)


def test_rows_that_are_there_several_times_are_counted() -> None:
    found = compared("t.csv", b"a\nx\nx\ny\ny\n", b"a\nx\ny\ny\ny\nz\n")
    assert (found.added, found.removed) == (2, 1)
    assert sorted(str(row.after["a"]) for row in found.rows if row.after) == ["y", "z"]


def test_columns_that_came_went_or_changed_their_type_are_told_and_the_others_compared() -> None:
    before = table([{"id": 1, "size": 3, "old": "x"}])
    after = io.BytesIO()
    columns = {"id": pa.array([1], pa.int16()), "size": pa.array(["3"]), "new": pa.array([1.0])}
    parquet.write_table(pa.table(columns), after)
    found = compared("t.parquet", before, after.getvalue(), "id")
    assert (found.columns_added, found.columns_removed) == (("new",), ("old",))
    assert found.retyped == (("id", "int64", "int16"), ("size", "int64", "string"))
    assert (found.added, found.removed, found.changed) == (0, 0, 1)
    narrower = io.BytesIO()
    parquet.write_table(pa.table({"id": pa.array([1], pa.uint8()), "size": pa.array([3], pa.int8())}), narrower)
    same = compared("t.parquet", before, narrower.getvalue(), "id")
    assert same.changed == 0  # 3 is 3
    assert same.columns_removed == ("old",)


@pytest.mark.parametrize(
    ("name", "body", "key", "says"),
    [
        ("t.csv", b"a,b\n1\n", "a", "cannot be read as a table: CSV parse error"),
        ("t.csv", b"", "a", "cannot be read as a table"),
        ("t.csv", b"a,a\n1,2\n", "a", "two of its columns are called 'a'"),
        ("t.csv", b"a,b\n1,2\n", "c", "has no column 'c': its columns are 'a', 'b'"),
        ("t.csv", b"a,b\n1,2\n1,3\n", "a", "is no key of 't.csv': rows 1 and 2 both have"),
        ("t.jsonl", b'{"a": 1}\n[2]\n', "a", "line 2 is no JSON object"),
        ("t.jsonl", b'{"a": 1}\n{"b": 2}\n', "a", "has no 'a'"),
        ("t.jsonl", b'{"a": ' + b"[" * 100_000, "a", "line 1 is no JSON"),
        ("t.parquet", b"PAR1 not PAR1", "a", "cannot be read as a table"),
        ("t.parquet", b"", "a", "cannot be read as a table"),
    ],
)
def test_what_does_not_parse_or_has_no_key_is_told(name: str, body: bytes, key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        compared(name, body, body, key)


def test_a_parquet_file_of_which_bytes_were_changed_ends_in_an_error_or_an_answer() -> None:
    good = table([{"id": number, "label": f"label {number}"} for number in range(300)])
    chance = random.Random(1)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(3):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            assert compared("t.parquet", good, bytes(bad)).rows_before == 300
        except UsageError as error:
            assert "cannot be read as a table" in error.what
