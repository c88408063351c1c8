"""Data rows: what files are found to be, how they are added, listed, changed and deleted."""

from __future__ import annotations

import datetime as dt
import fractions
import os
import struct
import zlib

import av
import numpy as np
import pytest
from PIL import Image
from servers.catalogue import running

import penstock
from penstock.catalogue.client import Catalogue
from penstock.catalogue.orm.dataset import DataType, FramesSource, StorageLocation
from penstock.catalogue.rows.probe import HEADER_BUDGET, Prober
from penstock.catalogue.rows.probe_messages import Facts, Unknown
from penstock.catalogue.rows.row_index import IndexedRow, RowFilter, RowIndex
from penstock.catalogue.rows.row_metadata import new_row
from penstock.errors import NotFoundError, UnreadableError, UsageError


def image(path, size=(64, 48), **options):
    Image.new("RGB", size, "red").save(path, **options)
    return path


def video(path, frames=25):
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=fractions.Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 5, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def huge_png(path, width, height):
    """Write a valid header of an image of hundreds of megapixels; its data is not there."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""))
    return path


def probed(path, **options):
    body = path.read_bytes()
    with Prober() as prober:
        return prober.probe(len(body), lambda offset, length: body[offset : offset + length], **options)


@pytest.fixture
def dataset(demo):
    catalogue = Catalogue.open(demo)
    created = catalogue.create_dataset("Example Title", StorageLocation.CORD_STORAGE)
    yield catalogue.get_dataset(created["dataset_hash"])
    catalogue.close()


def test_an_image_is_as_wide_and_high_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    facts = probed(image(tmp_path / "a.jpg", exif=exif))
    assert (facts.kind, facts.width, facts.height, facts.codec) == ("image", 48, 64, "jpeg")
    assert probed(image(tmp_path / "a.png", exif=exif)).width == 48
    assert probed(image(tmp_path / "a.tiff", exif=exif)).width == 48


def test_an_image_of_hundreds_of_megapixels_is_an_image(tmp_path):
    facts = probed(huge_png(tmp_path / "huge.png", 25_000, 24_920))
    assert (facts.kind, facts.width, facts.height) == ("image", 25_000, 24_920)


def test_frames_are_counted_when_asked_for(tmp_path):
    path = video(tmp_path / "a.mp4")
    facts = probed(path)
    assert (facts.kind, facts.width, facts.height, facts.fps, facts.codec) == ("video", 64, 48, 25.0, "mpeg4")
    assert (facts.frames, facts.is_counted, facts.duration) == (25, False, 1.0)
    body = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(body[: len(body) * 2 // 3])  # its header comes first, and goes on saying 25
    assert probed(cut).frames == 25
    told = probed(cut, exact=True)
    assert told.is_counted
    assert 0 < told.frames < 25
    exact = probed(path, exact=True)
    assert (exact.frames, exact.is_counted) == (25, True)


def test_what_is_nothing_that_is_known_says_why(tmp_path):
    for number, body in enumerate((b"", b"hello", os.urandom(1000), b"\x89PNG\r\n\x1a\n", b"\0" * 5000)):
        path = tmp_path / str(number)
        path.write_bytes(body)
        found = probed(path)
        assert isinstance(found, Unknown), (number, found)
        assert found.why


def test_no_more_of_a_file_is_fetched_than_a_header_may_have():
    fetched = []

    def fetch(offset, length):
        fetched.append(length)
        return b"\0" * length

    with Prober() as prober:
        assert isinstance(prober.probe(1 << 40, fetch), Unknown)
    assert 0 < sum(fetched) <= HEADER_BUDGET


def test_a_decoder_that_hangs_is_killed_and_the_next_file_is_looked_into(tmp_path):
    good = image(tmp_path / "a.png").read_bytes()

    with Prober(seconds=1.0) as prober:

        def never(offset, length):
            prober._child.wait(60)  # until it is killed: as if it had hung itself
            return b""

        assert isinstance(prober.probe(1000, never), Unknown)
        prober._seconds = 60.0  # a slow machine takes more than a second to begin
        assert isinstance(prober.probe(len(good), lambda offset, length: good[offset : offset + length]), Facts)


def test_an_upload_is_a_row_in_a_version_with_who_and_why(dataset, tmp_path):
    row = dataset.upload_video(video(tmp_path / "clip.mp4"), title="A clip", client_metadata={"site": "A"})
    assert (row.data_type, row.title, row.frames, row.frames_source) == (
        DataType.VIDEO,
        "A clip",
        25,
        FramesSource.HEADER,
    )
    assert row.client_metadata == {"site": "A"}
    shot = dataset.upload_image(image(tmp_path / "shot.png"))
    assert [each.uid for each in dataset.data_rows] == [row.uid, shot.uid]
    log = list(penstock.Dataset("demo/example-title").log())
    assert [each.message for each in log[:2]] == ["Add shot.png", "Add A clip"]
    assert log[0].author == "Ada <ada@example.org>"
    assert penstock.open("demo/example-title").read("clip.mp4") == (tmp_path / "clip.mp4").read_bytes()


def test_the_same_name_twice_is_two_files(dataset, tmp_path):
    first, second = (dataset.upload_image(image(tmp_path / "a.png")) for _ in range(2))
    assert (first.path, second.path) == ("a.png", "a-2.png")
    assert first.uid != second.uid


def test_what_is_no_video_is_not_uploaded_as_one(dataset, tmp_path):
    with pytest.raises(UnreadableError, match="is no video"):
        dataset.upload_video(image(tmp_path / "a.png"))
    with pytest.raises(NotFoundError):
        dataset.upload_video(tmp_path / "missing.mp4")
    assert dataset.data_rows == []


def test_images_of_another_resolution_are_a_group_of_their_own(dataset, tmp_path):
    paths = [image(tmp_path / "b.jpeg"), image(tmp_path / "large.jpeg", (192, 108)), image(tmp_path / "a.jpeg")]
    groups = dataset.create_image_group(paths)
    assert sorted((each.width, each.height, each.frames) for each in groups) == [(64, 48, 2), (192, 108, 1)]
    assert {each.data_type for each in dataset.data_rows} == {DataType.IMG_GROUP}
    package = penstock.open("demo/example-title")
    small = next(each for each in groups if each.width == 64)
    shown = [(entry.name[7:], entry.metadata["image"]["data_sequence"]) for entry in package.ls(small.path)]
    assert shown == [("b.jpeg", 0), ("a.jpeg", 1)]
    assert len(list(penstock.Dataset("demo/example-title").log())) == 2


def test_a_group_with_a_file_that_is_no_image_names_it_and_adds_nothing(dataset, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnreadableError) as refused:
        dataset.create_image_group([image(tmp_path / "a.png"), tmp_path / "notes.txt"])
    assert len(refused.value.candidates) == 1
    assert "notes.txt" in refused.value.candidates[0]
    assert dataset.data_rows == []


def test_rows_of_other_datasets_are_ignored_with_a_warning(dataset, tmp_path):
    keep, gone = dataset.upload_image(image(tmp_path / "a.png")), dataset.upload_image(image(tmp_path / "b.png"))
    with pytest.warns(UserWarning, match="1 rows are not of example-title"):
        assert dataset.delete_data([gone.uid, "foreign"]) == [gone.uid]
    assert [each.uid for each in dataset.data_rows] == [keep.uid]
    newest = next(penstock.Dataset("demo/example-title").log()).commit
    penstock.Dataset("demo/example-title").revert(newest)
    assert [each.uid for each in dataset.data_rows] == [keep.uid, gone.uid]


def test_a_row_that_is_changed_is_another_version_of_it(dataset, tmp_path):
    row = dataset.upload_image(image(tmp_path / "a.png"))
    changed = dataset.update_row(row.uid, title="A cat", client_metadata={"label": "cat"})
    assert (changed.uid, changed.title, changed.client_metadata) == (row.uid, "A cat", {"label": "cat"})
    assert changed.created_at == row.created_at
    with pytest.raises(NotFoundError):
        dataset.update_row("none", title="x")


def test_files_that_were_pushed_become_rows_by_index(dataset, tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    image(tmp_path / "d" / "sub" / "a.png")
    huge_png(tmp_path / "d" / "huge.png", 20_000, 11_550)
    video(tmp_path / "d" / "clip.mp4")
    (tmp_path / "d" / "notes.txt").write_text("hello")
    penstock.Dataset("demo/example-title").push(tmp_path / "d")
    done = dataset.index()
    assert done.added == 3
    assert list(done.unknown) == ["notes.txt"]
    assert [each.path for each in dataset.data_rows] == ["clip.mp4", "huge.png", "sub/a.png"]
    assert dataset.index().added == 0
    uid = dataset.data_rows[0].uid
    assert dataset.index(exact=True).added == 1
    assert (dataset.data_rows[0].uid, dataset.data_rows[0].frames_source) == (uid, FramesSource.DECODED)


def test_rows_come_in_pages_filtered_and_in_order(dataset, tmp_path):
    for name, size in (("a", (10, 10)), ("b", (30, 10)), ("c", (20, 10))):
        dataset.upload_image(image(tmp_path / f"{name}.png", size))
    seen, cursor = [], None
    while True:
        page = dataset.rows(sort="-width", limit=2, cursor=cursor)
        assert page.total == 3
        seen += [each.width for each in page.rows]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [30, 20, 10]
    assert [each.title for each in dataset.rows(RowFilter(min_width=20)).rows] == ["b.png", "c.png"]
    assert [each.title for each in dataset.rows(RowFilter(title_like="A%")).rows] == ["a.png"]
    for wrong in ({"sort": "colour"}, {"limit": 0}, {"cursor": "x"}):
        with pytest.raises(UsageError):
            dataset.rows(**wrong)


def test_an_index_that_is_torn_or_lost_is_made_again(dataset, tmp_path):
    row = dataset.upload_image(image(tmp_path / "a.png"))
    folder = os.path.join(os.environ["PENSTOCK_CACHE_DIR"], "rows")
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name)) if not name.endswith(".sqlite") else None
    (place,) = [os.path.join(folder, name) for name in os.listdir(folder)]
    with open(place, "wb") as stream:
        stream.write(b"no database at all" * 1000)
    assert [each.uid for each in dataset.data_rows] == [row.uid]


def test_a_hundred_thousand_rows_are_asked_without_reading_them_all(tmp_path):
    index = RowIndex(str(tmp_path / "rows.sqlite"), StorageLocation.AWS)
    now = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    facts = Facts("image", 64, 48)
    rows = (IndexedRow(f"{n:06d}.png", n, "00", new_row(facts, f"{n}.png", now)) for n in range(100_000))
    assert index.replace(None, "00", (), rows)
    shown, total, end = index.page(RowFilter(title_like="999%"), "path", 50, None)
    assert (len(shown), total, end is not None) == (50, 111, True)
    assert index.replace("other", "11", (), ()) is False


def test_rows_are_listed_changed_and_deleted_over_http_as_scopes_allow(dataset, tmp_path, demo):
    row = dataset.upload_image(image(tmp_path / "a.png"))
    hash_ = dataset.dataset_hash
    with running(tmp_path / "state", demo, is_trusting=False) as site:
        from penstock.catalogue.orm.dataset import DatasetScope

        reads = site.context.keys.create("", [DatasetScope.READ], hash_).secret
        writes = site.context.keys.create("Bea", [DatasetScope.WRITE], hash_).secret
        base = f"/api/datasets/{hash_}"
        assert [each["uid"] for each in site.ask("GET", f"{base}/rows", key=reads).json()["rows"]] == [row.uid]
        assert site.ask("GET", f"{base}/rows?data_type=smell", key=reads).status == 400
        assert site.ask("GET", f"{base}/rows", key=writes).status == 403
        change = {"title": "B", "client_metadata": {}}
        assert site.ask("PATCH", f"{base}/rows/{row.uid}", key=reads, body=change).status == 403
        assert site.ask("PATCH", f"{base}/rows/{row.uid}", key=writes, body=change).json()["title"] == "B"
        assert next(penstock.Dataset("demo/example-title").log()).author.startswith("Bea (key ")
        ask = {"data_hashes": [row.uid, "foreign"]}
        assert site.ask("POST", f"{base}/delete-data", key=reads, body=ask).status == 403
        done = site.ask("POST", f"{base}/delete-data", key=writes, body=ask).json()
        assert done == {"deleted": [row.uid], "ignored": ["foreign"]}
