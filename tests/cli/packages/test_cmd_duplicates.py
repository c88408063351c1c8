"""``penstock duplicates`` and ``penstock leaks``: by hashes, and by how pictures look; on the disk and on S3."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image, ImageDraw
from trees.directory import write

Run = Callable[..., Result]
HOSTILE = '"><script>alert(1)<'


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


def drawn(seed: int, size: int = 200, form: str = "PNG", **options: Any) -> bytes:
    """Return a picture of shapes by chance, which is recognised in any size and format."""
    chance = random.Random(seed)
    image = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, side = chance.randrange(300), chance.randrange(300), chance.randrange(60, 200)
        draw.rectangle((x, y, x + side, y + side // 2), fill=tuple(chance.randrange(256) for _ in range(3)))
    out = io.BytesIO()
    image.resize((size, size)).save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def photos(run: Run, tmp_path: Path) -> str:
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    bomb = io.BytesIO()
    Image.new("1", (25_000, 25_000)).save(bomb, "PNG")
    files = {f"train/{number}.png": drawn(number) for number in range(8)}
    files |= {
        "test/fresh.png": drawn(100),
        "test/the same.png": drawn(3),
        f"test/{HOSTILE}.jpg": drawn(5, 90, "JPEG", quality=70),
        "test/blank.png": _blank(),
        "test/bomb.png": bomb.getvalue(),
        "test/broken.png": b"\x89PNG\r\n\x1a\nnothing",
        "notes/a.txt": b"notes",
        "old/a.txt": b"notes",
    }
    assert run("push", str(write(tmp_path / "photos", files)), "demo/photos").exit_code == 0
    return "demo/photos"


def _blank() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (50, 50), "white").save(out, "PNG")
    return out.getvalue()


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_there_twice(run: Run, photos: str) -> None:
    done = run("duplicates", photos)
    assert done.exit_code == 0
    assert "2 times\n  test/the same.png\n  train/3.png\n" in done.stdout
    assert "1 entries, 2 times\n  notes/\n  old/\n" in done.stdout
    assert "2 the same, at 4 places" in done.stderr
    found = lines(run("duplicates", photos, "--json"))
    assert sorted((each["kind"], each["count"], tuple(each["paths"])) for each in found) == [
        ("directory", 2, ("notes", "old")),
        ("file", 2, ("test/the same.png", "train/3.png")),
    ]
    both = lines(run("duplicates", f"{photos}:main/notes", f"{photos}:main/old", "--json"))
    assert [(each["paths"], each["other_paths"]) for each in both] == [([""], [""])]
    assert run("duplicates", f"{photos}:main/train").stderr.endswith("nothing is there twice\n")


def test_a_leak_is_exit_code_1_and_none_is_0(run: Run, photos: str) -> None:
    done = run("leaks", f"{photos}:main/train", f"{photos}:main/test")
    assert done.exit_code == 1
    assert f"  {photos}:main/train: 3.png\n  {photos}:main/test: the same.png\n" in done.stdout
    clean = run("leaks", f"{photos}:main/train", f"{photos}:main/notes")
    assert (clean.exit_code, clean.stdout) == (0, "")
    assert run("leaks", f"{photos}:main/train", f"{photos}:main/none").exit_code == 3
    assert run("leaks", f"{photos}:main/train").exit_code == 2


def test_pictures_that_look_alike_are_found_and_shown(run: Run, photos: str, tmp_path: Path) -> None:
    page = tmp_path / "leaks.html"
    asked = ("leaks", f"{photos}:main/train", f"{photos}:main/test", "--near", "--json", "--html", str(page))
    done = run(*asked)
    assert done.exit_code == 1
    exact, near = lines(done)
    assert exact["paths"] == ["3.png"]
    assert (near["kind"], near["path"], near["other_path"]) == ("near", "5.png", f"{HOSTILE}.jpg")
    assert near["distance"] <= 6
    text = page.read_text()
    assert "<script" not in text
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;" in text
    assert text.count("data:image/png;base64,") == 2
    assert "default-src 'none'" in text
    again = run(*asked[:4])
    assert "0 decoded now; 1 pairs look alike" in again.stderr
    assert "bomb.png: 625 megapixels are too many" in again.stderr
    assert "broken.png: it cannot be decoded" in again.stderr
    assert "blank.png: it has no detail" in again.stderr
    assert lines(run("duplicates", photos, "--near", "--json"))[-1]["kind"] == "near"
    assert run("duplicates", photos, "--threshold", "65").exit_code == 2


def test_without_the_extra_it_says_what_to_install(run: Run, photos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.repo.similarity.picture_processes.importlib.util.find_spec", lambda _: None)
    done = run("leaks", f"{photos}:main/train", f"{photos}:main/notes", "--near")
    assert done.exit_code == 2
    assert "penstock[similarity]" in done.stderr


def test_a_decoder_that_hangs_is_killed_and_the_picture_is_tried_again(
    run: Run, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.repo.similarity.picture_messages import HashTask, NotMade
    from penstock.repo.similarity.picture_processes import PictureProcesses

    with PictureProcesses(seconds=0.0) as processes:
        answer = processes.ask(HashTask(drawn(1)))
    assert isinstance(answer, NotMade)
    assert not answer.is_final


@pytest.mark.s3
def test_on_a_real_server(run: Run, bucket: str, aws_environment: dict[str, str], tmp_path: Path) -> None:
    files = {"train/a.png": drawn(1), "test/b.jpg": drawn(1, 120, "JPEG"), "test/c.png": drawn(2)}
    assert run("push", str(write(tmp_path / "photos", files)), f"{bucket}/photos").exit_code == 0
    sides = (f"{bucket}/photos:main/train", f"{bucket}/photos:main/test")
    assert run("leaks", *sides).exit_code == 0
    done = run("leaks", *sides, "--near", "--json")
    assert done.exit_code == 1
    assert [(each["path"], each["other_path"]) for each in lines(done)] == [("a.png", "b.jpg")]
