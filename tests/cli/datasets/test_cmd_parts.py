"""``penstock push --part`` and ``merge-parts``: what they say, and which words do not go together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}").write_bytes(b"%d" % number)
    return folder


def test_parts_are_pushed_and_merged(run: Run, photos: Path, tmp_path: Path) -> None:
    target = f"file://{tmp_path}/store/photos"
    first = run("push", str(photos), target, "--part", "1/2", "--run", "4711")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.splitlines()[0] == "part 1 of 2 of run 4711"
    assert first.stdout.splitlines()[-1].endswith(f"penstock merge-parts {target} --run 4711")
    missing = run("merge-parts", target, "--run", "4711")
    assert missing.exit_code == 3
    assert "1 of 2 parts of run '4711' are missing: 2" in missing.stderr
    second = json.loads(run("push", str(photos), target, "--part", "2/2", "--run", "4711", "--json").stdout)
    assert (second["number"], second["of"]) == (2, 2)
    made = json.loads(run("merge-parts", target, "--run", "4711", "-m", "all", "--tag", "v1", "--json").stdout)
    assert made["top_hash"] == run("hash", str(photos)).stdout.strip()
    assert (made["files"], made["changed"], made["tag"]) == (9, True, "v1")
    again = run("merge-parts", target, "--run", "4711")
    assert again.exit_code == 0
    assert "merged already" in again.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--part", "1/2"),
        ("--run", "x"),
        ("--part", "3/2", "--run", "x"),
        ("--part", "0/2", "--run", "x"),
        ("--part", "one", "--run", "x"),
        ("--part", "1/2", "--run", "x", "--in-place"),
        ("--part", "1/2", "--run", "x", "-m", "why"),
        ("--part", "1/2", "--run", "\n"),
    ],
)
def test_words_that_do_not_go_together(run: Run, photos: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run("push", str(photos), f"file://{tmp_path}/store/photos", *words)
    assert result.exit_code == 2, result.stdout
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").rglob("data/*"))
