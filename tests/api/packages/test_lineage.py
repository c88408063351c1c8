"""Where a version and its files come from, back to what was pushed; and what says so wrongly, or is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from views.transforms import halve

import penstock
from penstock import distributed
from penstock.errors import NotFoundError


@pytest.fixture
def halves(world: Path) -> str:
    """Return a dataset that a transform has made of `demo/photos`, of which a sample was made."""
    parameters = {"calls": str(world / "calls")}
    distributed.transform("demo/photos", halve, "demo/halves", parameters=parameters, version="7")
    penstock.open("demo/halves").sample(2, "demo/few", seed=1, where='name == "cat.jpg" or name == "labels.csv"')
    return "demo/few"


def test_it_leads_back_to_what_was_pushed(halves: str, world: Path) -> None:
    steps = penstock.open(halves).lineage()
    assert [(step.dataset, step.operation) for step in steps] == [
        ("few", "sample"),
        ("halves", "transform"),
        ("photos", ""),
    ]
    made, source = steps[1], steps[2]
    photos = penstock.open("demo/photos")
    assert (source.top_hash, source.commit) == (photos.top_hash, photos.commit)
    assert (source.message, source.missing) == ("second batch", "")
    assert (made.function["name"], made.function["version"], len(made.function["hash"])) == ("halve", "7", 64)
    assert made.parameters == {"calls": str(world / "calls")}
    assert "python" in made.libraries


def test_a_file_leads_back_to_its_input(halves: str) -> None:
    steps = penstock.open(halves).lineage("2024/cat.jpg")
    assert [step.path for step in steps] == ["2024/cat.jpg"] * 3
    about = penstock.open("demo/halves/2024").lineage("about/cat.jpg.txt")
    assert [step.path for step in about] == ["2024/about/cat.jpg.txt", "2024/cat.jpg"]
    with pytest.raises(NotFoundError, match="nothing"):
        penstock.open(halves).lineage("nothing")


def test_what_was_pushed_comes_from_nothing(world: Path) -> None:
    [step] = penstock.open("demo/photos:v1").lineage("labels.csv")
    assert (step.operation, step.path, step.message) == ("", "labels.csv", "first batch")


def test_what_is_gone_or_wrong_is_told(world: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    cases = [
        ({"dataset": "none", "top_hash": "00" * 32}, "no dataset 'none'"),
        ({"dataset": "photos"}, "it does not say from what"),
        ({"dataset": "../x", "top_hash": "0" * 64}, ""),
        ({"dataset": 7, "top_hash": "0" * 64}, "it does not say from what"),
        ({"dataset": "photos", "top_hash": "zz", "address": "s3://elsewhere"}, "none of your remotes"),
    ]
    for said, words in cases:
        photos.set_meta("", {"derived_from": said})
        steps = penstock.open("demo/photos").lineage()
        assert len(steps) == 2
        assert words in steps[1].missing
        assert steps[1].missing
    photos.set_meta("", {"derived_from": "by hand"})
    assert [step.operation for step in penstock.open("demo/photos").lineage()] == [""]
    for _ in range(2):  # a version that says of itself, by its branch, that it was made of itself
        photos.set_meta("", {"derived_from": {"dataset": "photos", "top_hash": "main", "operation": "sample"}})
    assert len(penstock.open("demo/photos").lineage()) <= 2
