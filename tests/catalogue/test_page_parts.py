"""What pages are made of: text, addresses, ranges, labels, tables, READMEs, decoders. No server, no browser."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from trees.pictures import hostile_files, picture

import penstock
from penstock.catalogue.page.content.decoding_pool import DecodingPool
from penstock.catalogue.page.content.file_kinds import disposition, kind_of_file, type_sent
from penstock.catalogue.page.content.image_labels import changed_shapes, shapes_of_document, shapes_of_metadata
from penstock.catalogue.page.content.pictures import Pictures
from penstock.catalogue.page.content.readme import render_readme
from penstock.catalogue.page.content.shown_numbers import HEIGHT as PLOT_HEIGHT
from penstock.catalogue.page.content.shown_numbers import WIDTH as PLOT_WIDTH
from penstock.catalogue.page.content.shown_numbers import Resolution, axis_of, points_of
from penstock.catalogue.page.content.shown_text import (
    query_values,
    read_key,
    shell_line,
    shown_name,
    sized,
    url_of,
    written_key,
)
from penstock.catalogue.page.content.sparkline import spark_path
from penstock.catalogue.page.content.table_rows import MOST_ROWS, rows_of_text
from penstock.catalogue.page.staged_changes import StagingArea
from penstock.catalogue.server.byte_range import asked_range
from penstock.errors import UsageError


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    found = DecodingPool(1, 60)
    yield found
    found.close()


def test_nothing_in_a_name_can_hide() -> None:
    assert shown_name("a\nb\u202ec\x7fd\ud8ff".encode("utf-8", "surrogatepass").decode("utf-8", "replace")[:5]) == (
        "a␊b\\u202ec"
    )
    assert shown_name(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert shown_name("schöne Bilder.png") == "schöne Bilder.png"


def test_an_address_brings_back_the_key_that_it_was_made_of_whatever_its_bytes() -> None:
    for key in ("a b/c&d=e?f#g.png", os.fsdecode(b"caf\xe9/\xff"), "%2e%2e/x", "line\nfeed", "+"):
        query = url_of("/x", path=key).partition("?")[2]
        assert query_values(query.encode("ascii"))["path"] == key
        assert read_key(written_key(key)) == key


def test_a_line_that_is_copied_to_a_shell_names_what_it_names_and_runs_nothing() -> None:
    for key in (
        "a b/c.png",
        "$(touch x)`id`;'\"\\",
        "line\nfeed",
        "turned \u202egnp",
        os.fsdecode(b"caf\xe9'q"),
        "größe",
    ):
        said = subprocess.run(["bash", "-c", shell_line("printf", "%s", key)], capture_output=True, check=True).stdout
        assert said == os.fsencode(key)
        assert shown_name(shell_line("cat", key)) == shell_line("cat", key)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", range(10)),
        ("bytes=2-4", range(2, 5)),
        ("bytes=2-99", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=10-", range(0)),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("bytes=-", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 40 + "-", None),
    ],
)
def test_a_range_is_what_the_standard_says_it_is(header: str | None, part: range | None) -> None:
    assert asked_range(header, 10) == part


def test_only_pictures_sound_and_video_are_sent_as_what_they_are() -> None:
    assert {name: type_sent(name) for name in ("a.html", "a.xhtml", "a.pdf", "a.js", "a.xml", "a")} == dict.fromkeys(
        ("a.html", "a.xhtml", "a.pdf", "a.js", "a.xml", "a")
    )
    assert type_sent("a.PNG") == "image/png"
    assert kind_of_file("a.html") == "text"
    assert disposition('a"\r\nx: y.txt', inline=False) == "attachment; filename*=UTF-8''a%22%0D%0Ax%3A%20y.txt"


def test_labels_are_shapes_whatever_form_they_have() -> None:
    mask = {"size": [2, 3], "counts": [2, 2, 2]}
    shapes = shapes_of_metadata(
        {
            "annotations": [
                {"category": "ball", "bbox": [1, 2, 3, 4]},
                {"category_id": 7, "segmentation": [[0, 0, 4, 0, 4, 4]]},
                {"label": "mask", "segmentation": mask},
            ],
            "categories": [{"id": 7, "name": "kite"}],
        }
    )
    assert [(each.label, each.path) for each in shapes] == [
        ("ball", "M1 2h3v4h-3z"),
        ("kite", "M0 0L4 0L4 4z"),
        ("mask", "M1 0h1v2h-1z"),
    ]


def test_runs_that_coco_has_packed_are_the_same_mask() -> None:
    plain, packed = (
        shapes_of_metadata({"labels": [{"segmentation": {"size": [10, 30], "counts": counts}}]})
        for counts in ([5, 3, 70, 2, 1, 90], "53V2OkMh2")
    )
    assert [each.path for each in packed] == [each.path for each in plain] != []
    assert shapes_of_metadata({"labels": [{"segmentation": {"size": [9, 9], "counts": "\x00oo"}}]}) == []


def test_an_axis_ends_at_a_round_number_and_points_stand_within_it() -> None:
    assert [axis_of([each], is_upright=False).top for each in (1, 7, 320, 1920, 4096)] == [1, 8, 400, 2000, 6000]
    sizes = [Resolution(1920, 1080, 5), Resolution(320, 240, 90)]
    across, up = (axis_of([1920, 320], is_upright=False), axis_of([1080, 240], is_upright=True))
    points = points_of(sizes, across, up)
    assert [each.resolution.count for each in points] == [90, 5]
    assert all(0 < each.x < PLOT_WIDTH and 0 < each.y < PLOT_HEIGHT for each in points)


def test_what_is_no_label_is_left_out() -> None:
    nan = float("nan")
    for wrong in (
        *(
            {"bbox": each}
            for each in ([1, 2, 3], [1, 2, 0, 4], ["1", 2, 3, 4], [nan, 0, 1, 1], [1e9, 0, 1, 1], "1234", True)
        ),
        *(
            {"segmentation": each}
            for each in ([[1, 2]], [], "x", {"size": [1, 1], "counts": [0, 9]}, {"counts": "abc"})
        ),
        "x",
        None,
    ):
        assert shapes_of_metadata({"annotations": [wrong]}) == []
    assert shapes_of_metadata({"annotations": "x", "labels": {"a": 1}}) == []


def test_a_document_of_a_directory_says_what_is_on_each_of_its_images() -> None:
    document = {
        "images": [{"id": 1, "file_name": "x/a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}, {"image_id": 2, "bbox": [5, 5, 1, 1]}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    assert [each.label for each in shapes_of_document(document, "a.png")] == ["cat"]
    assert shapes_of_document(document, "c.png") == []
    assert shapes_of_document(7, "a.png") == []


def test_labels_that_only_one_side_has_are_told() -> None:
    old = shapes_of_metadata({"boxes": [{"bbox": [0, 0, 1, 1]}, {"bbox": [2, 2, 1, 1]}]})
    new = shapes_of_metadata({"boxes": [{"bbox": [0, 0, 1, 1]}, {"bbox": [3, 2, 1, 1]}]})
    gone, came = changed_shapes(old, new)
    assert [each.path for each in gone] == ["M2 2h1v1h-1z"]
    assert [each.path for each in came] == ["M3 2h1v1h-1z"]


def test_a_readme_does_nothing_but_be_read() -> None:
    text = hostile_files()["README.md"].decode() + "\n[c](/keys) [d](#e) ![f](https://example.org/f.png) ![g](g.png)\n"
    shown = str(render_readme(text, lambda path: f"/own/{path}"))
    found: list[tuple[str, dict[str, str | None]]] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))  # type: ignore[method-assign]
    reader.feed(shown)
    assert {tag for tag, _ in found} == {"h1", "p", "a", "img"}
    assert {name for _, attributes in found for name in attributes} == {"href", "rel", "src", "alt"}
    assert [attributes["href"] for _, attributes in found if "href" in attributes] == ["#e"]
    assert [attributes["src"] for tag, attributes in found if tag == "img"] == ["/own/x", "/own/g.png"]
    assert '<img src="/own/g.png" alt="g">' in shown
    assert 'href="#e"' in shown
    assert str(render_readme("![x](a.png)", lambda _: None)) == "<p></p>\n"


def test_a_table_shows_its_first_rows_and_says_what_it_leaves_out() -> None:
    whole = rows_of_text(b"a;b\n1;2\n", "csv", is_whole=True)
    assert (whole.columns, whole.rows, whole.is_whole) == (["a", "b"], [["1", "2"]], True)
    cut = rows_of_text(b"a,b\n1,2\n3,", "csv", is_whole=False)
    assert (cut.rows, cut.is_whole) == ([["1", "2"]], False)
    assert len(rows_of_text(b"a\n" + b"1\n" * 5000, "csv", is_whole=True).rows) == MOST_ROWS
    lines = rows_of_text(b'{"a": 1}\n{"b": [2]}\nno\n', "jsonl", is_whole=True)
    assert (lines.columns, lines.rows) == (["a", "b"], [["1", ""], ["", "[2]"]])
    assert "line 3" in lines.note


def test_a_line_goes_through_all_values_from_left_to_right() -> None:
    assert spark_path([]) == ""
    assert spark_path([1, 3]) == "M2.0 22.0L94.0 2.0"
    assert spark_path([5]) == "M2.0 12.0L94.0 12.0"


def test_sizes_are_said_as_people_say_them() -> None:
    assert [sized(each) for each in (0, 999, 1000, 123_456, 999_600, 5e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "123 kB",
        "1.0 MB",
        "5.0 PB",
    ]


def test_images_become_small_upright_pictures(pool: DecodingPool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (400, 200), "red").save(out, "JPEG", exif=exif)
    head, body = pool.ask({"task": "picture", "size": 320}, out.getvalue())
    assert (head["width"], head["height"]) == (200, 400)
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (160, 320)


def test_what_hurts_a_decoder_hurts_nobody_else(pool: DecodingPool) -> None:
    files = hostile_files()
    head, body = pool.ask({"task": "picture", "size": 320}, files["bomb.png"])
    assert (head["note"], body) == ("too large to be shown small: 625 megapixels", b"")
    for name in ("broken.png", "picture.svg", "page.html"):
        head, body = pool.ask({"task": "picture", "size": 320}, files[name])
        assert head["note"].startswith("it cannot be decoded")
        assert body == b""
    head, body = pool.ask({"task": "table", "rows": 5}, b"PAR1" * 99)
    assert head["note"].startswith("it cannot be decoded")
    assert pool.ask({"task": "picture", "size": 320}, picture(1))[1]


def test_a_decoder_that_is_late_is_ended_and_the_next_one_works() -> None:
    hurried = DecodingPool(1, 0)
    assert hurried.ask({"task": "picture", "size": 320}, picture(1))[0]["is_late"]
    hurried.close()
    patient = DecodingPool(1, 60)
    assert patient.ask({"task": "picture", "size": 320}, picture(1))[1]
    patient.close()


def test_a_picture_is_made_once_and_made_anew_when_what_was_kept_is_damaged(tmp_path: Path, pool: DecodingPool) -> None:
    penstock.add_remote("demo", str(tmp_path / "store"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.png").write_bytes(picture(1))
    penstock.Dataset("demo/d").push(tmp_path / "d")
    entry = penstock.Package("demo/d")["a.png"]
    folder = tmp_path / "pictures"
    first = Pictures(str(folder), pool).of(entry, 320)
    (kept,) = (each for each in folder.rglob("*") if each.is_file())
    closed = DecodingPool(1, 0)  # makes none
    assert Pictures(str(folder), closed).of(entry, 320) == first
    kept.write_bytes(kept.read_bytes()[:50])
    assert Pictures(str(folder), pool).of(entry, 320) == first
    assert Pictures(str(folder), pool).trim(0) == 1
    closed.close()


def test_pieces_of_a_file_are_taken_in_their_order_within_bounds_and_under_names_of_their_own(tmp_path: Path) -> None:
    penstock.add_remote("demo", str(tmp_path / "store"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"a")
    penstock.Dataset("demo/d").push(tmp_path / "d")
    area, package = StagingArea(str(tmp_path / "staged")), penstock.Package("demo/d")

    def send(body: bytes, at: int, total: int, name: str = "", key: str = "b.txt") -> str:
        return area.upload("ada", "d", "main", package, key, body, at=at, total=total, name=name)

    for wrong in (
        {"at": 5, "total": 9},
        {"at": 0, "total": 5 << 30},
        {"at": 0, "total": 1, "name": "../" + "x" * 29},
        {"at": 0, "total": 9, "key": "../b.txt"},
    ):
        with pytest.raises(UsageError):
            send(b"body", **wrong)  # type: ignore[arg-type]  # each has its own
    name = send(b"one ", 0, 7)
    assert area.count("ada", "d") == 0
    with pytest.raises(UsageError, match="does not go on"):
        send(b"two", 3, 7, name)
    send(b"two", 4, 7, name)
    (step,) = (area.find("ada", "d") or pytest.fail("nothing is staged")).steps
    assert (step.kind, step.key, step.size) == ("upload", "b.txt", 7)
    assert area.find("bea", "d") is None
