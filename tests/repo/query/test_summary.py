"""Fields, types and shares of metadata, within bounds whatever the metadata is."""

from __future__ import annotations

import tracemalloc

from penstock.repo.query.summary import MOST_FIELDS, MOST_VALUES, FieldSummary, summarize


def test_fields_types_shares_and_values() -> None:
    summary = summarize(
        [
            {"label": "cat", "n": 1, "camera": {"iso": 100}},
            {"label": "dog", "n": 2.5, "camera": {"iso": None}},
            {"label": "cat", "n": True, "boxes": [{"w": 1}, {"w": 3}, {"h": 1}]},
            {},
        ]
    )
    assert (summary.entries, summary.described, summary.left_out) == (4, 3, 0)
    found = {field.field: field for field in summary.fields()}
    assert list(found) == ["boxes", "boxes[]", "boxes[].h", "boxes[].w", "camera", "camera.iso", "label", "n"]
    assert found["label"] == FieldSummary("label", 3, 0.75, {"string": 3}, (("cat", 2), ("dog", 1)), None, None)
    assert found["n"].types == {"integer": 1, "number": 1, "boolean": 1}
    assert (found["n"].least, found["n"].most) == (1, 2.5)
    assert [value for value, _ in found["n"].values or ()] == [1, 2.5, True]
    assert found["camera.iso"].types == {"integer": 1, "null": 1}
    assert (found["boxes[].w"].entries, found["boxes[].w"].types) == (1, {"integer": 2})
    assert found["camera"].values is None


def test_values_are_told_while_they_are_few() -> None:
    (few,) = summarize([{"n": number} for number in range(MOST_VALUES)]).fields()
    (many,) = summarize([{"n": number} for number in range(MOST_VALUES + 1)]).fields()
    assert few.values is not None
    assert many.values is None
    assert (many.least, many.most) == (0, MOST_VALUES)


def test_hostile_metadata_takes_no_memory() -> None:
    tracemalloc.start()
    summary = summarize({f"field {number}-{at}": "x" * 1000 for at in range(20)} for number in range(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(summary.fields()) == MOST_FIELDS
    assert summary.left_out == 20 * 1000 - MOST_FIELDS
    assert peak < 5_000_000
    deep: dict[str, object] = {}
    for _ in range(60):
        deep = {"a": deep}
    assert len(summarize([deep]).fields()) == 8
    assert not summarize([]).fields()
