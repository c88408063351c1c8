"""Viewers in a real browser, each with a file of its kind; rows, plots, samples; and a store that goes away."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from servers.browser import Visit, chromium, visit
from servers.catalogue import Site, running
from trees.directory import write
from trees.pictures import picture
from trees.viewed import viewed_files

import penstock
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.orm.dataset import DatasetScope

expect.set_options(timeout=60_000)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that trusts this machine, with the datasets kinds, one file of each, and plain, many images."""
    folder = tmp_path_factory.mktemp("viewers")
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith(("XDG_", "PENSTOCK_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
        penstock.add_remote("demo", str(folder / "store"))
        penstock.Dataset("demo/kinds").push(write(folder / "kinds", viewed_files()), message="One of each")
        plain = {f"{number // 100}/{number:03}.png": picture(number % 5) for number in range(300)}
        penstock.Dataset("demo/plain").push(write(folder / "plain", plain), message="Plain")
        with running(folder / "state", "demo") as found:
            yield found


@pytest.fixture(scope="module")
def strict(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of the same bucket that wants a key."""
    store = site.context.catalogues.buckets["demo"].address.removeprefix("file://")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", os.path.dirname(store))
        with running(tmp_path_factory.mktemp("strict"), "demo", is_trusting=False) as found:
            yield found


@pytest.fixture
def view(browser: Browser, site: Site) -> Iterator[Visit]:
    """A window on that server; what went wrong in it fails the test."""
    with visit(browser, site.url) as found:
        yield found
        assert found.faults == []


def _place(site: Site, name: str) -> str:
    return f"/dataset/{site.context.catalogues.find(name)[0].hash_of(name)}"


def _wait_drawn(view: Visit, selector: str) -> None:
    found = view.page.locator(selector).first
    view.page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=found.element_handle())


def test_each_kind_of_file_has_its_view(view: Visit, site: Site) -> None:
    page, place = view.page, _place(site, "kinds")
    page.goto(f"{place}/entry?path=labelled/meadow-000.jpg")
    expect(page.locator(".shape")).to_have_count(4)  # two boxes, a mask in packed runs, a polygon
    assert {each.text_content() for each in page.locator(".shape title").all()} == {"kite", "pond"}
    for name, cell in (("table.parquet", "meadow-007.png"), ("table.csv", "kites"), ("lines.jsonl", "[1, 2]")):
        page.goto(f"{place}/entry?path={name}")
        expect(page.get_by_role("cell", name=cell, exact=True)).to_be_attached()
    page.goto(f"{place}/entry?path=nested.json")
    expect(page.locator("pre.text")).to_contain_text('"by": "a test"')
    page.goto(f"{place}/entry?path=notes.txt")
    expect(page.locator("pre.text")).to_have_text("Größe: 3 × 4")
    page.goto(f"{place}/entry?path=tone.wav")
    page.wait_for_function("Math.abs(document.querySelector('audio').duration - 2) < 0.1")
    for name in ("scan", "slices.dcm"):  # the first is known by what it holds
        page.goto(f"{place}/entry?path={name}")
        _wait_drawn(view, ".picture img")
        expect(page.locator("figcaption")).to_contain_text("160 × 128 pixels")
        expect(page.get_by_role("cell", name="Phantom^<b>Ball</b>", exact=True)).to_be_visible()
    page.get_by_label("Picture").fill("5")
    page.get_by_role("button", name="Show").click()
    _wait_drawn(view, ".picture img[src*='frame=5']")


def test_a_video_is_sought_by_ranges_and_its_frames_are_held_against_the_decoders(view: Visit, site: Site) -> None:
    page, place = view.page, _place(site, "kinds")
    ranges: list[tuple[str | None, int]] = []
    page.on("response", lambda answer: ranges.append((answer.request.headers.get("range"), answer.status)))
    page.goto(f"{place}/entry?path=steady.mp4")
    page.wait_for_function("document.querySelector('video').readyState > 0")
    page.evaluate(
        "new Promise((done) => { const video = document.querySelector('video');"
        " video.onseeked = done; video.currentTime = 1.5; })"
    )
    assert any(status == 206 for wanted, status in ranges if wanted is not None)
    page.get_by_role("button", name="Compare several").click()
    expect(page.locator(".verdicts li", has_text="the same")).to_have_count(5)
    expect(page.locator(".offer")).to_be_hidden()
    page.goto(f"{place}/entry?path=gaps.mp4")  # its times leave frames out: a browser that goes to n / rate is wrong
    page.get_by_label("Frame", exact=True).fill("40")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".verdicts li.deleted")).to_contain_text("shows")
    expect(page.locator(".offer")).to_contain_text("penstock reencode demo/kinds")
    answer = page.request.get(f"{place}/frames?path=steady.mp4&frame=60").json()
    assert (answer["counted"], answer["image"]) == (60, "")
    assert page.request.get(f"{place}/frames?path=steady.mp4&frame=9999999").status == 400
    assert page.request.get(f"{place}/frames?path=notes.txt&frame=0").status == 400


def test_rows_resolutions_and_trees_are_shown(view: Visit, site: Site) -> None:
    catalogue = site.context.catalogues.buckets["demo"]
    added = DatasetRows(catalogue, "kinds").index().added
    page, place = view.page, _place(site, "kinds")
    page.goto(f"{place}/rows")
    expect(page.locator(".rows tbody tr")).to_have_count(added)
    page.get_by_label("Type").select_option("video")
    page.get_by_label("Sort").select_option("-duration")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    expect(page.locator(".rows tbody tr").first).to_contain_text("320 × 180")
    page.get_by_role("link", name="steady.mp4").click()
    expect(page.locator("video")).to_be_visible()
    page.goto(place)
    expect(page.locator(".plot circle")).to_have_count(3)
    expect(page.locator(".numbers")).to_contain_text("320 × 240")
    page.get_by_role("link", name="Tree").click()
    page.locator(".tree summary", has_text="labelled").click(position={"x": 3, "y": 8})
    expect(page.locator(".tree .tree li")).to_have_count(5)


def test_a_sample_is_looked_at_and_becomes_a_dataset_of_its_own(view: Visit, site: Site) -> None:
    page = view.page
    page.goto(f"{_place(site, 'plain')}?view=sample")
    expect(page.locator(".tile")).to_have_count(60)
    before = page.locator(".tile .name").all_text_contents()
    page.get_by_role("link", name="Others").click()
    expect(page).to_have_url(re.compile("seed=2"))
    assert page.locator(".tile .name").all_text_contents() != before
    page.get_by_text("Make a sample a dataset").click()
    page.get_by_role("spinbutton", name="Files").fill("20")
    page.get_by_role("textbox", name="Name", exact=True).fill("few")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="few")).to_be_visible()
    made = penstock.Package("demo/few", site.context.catalogues.settings)
    assert sum(entry.is_file() for entry in made) == 20


def test_a_field_of_many_is_staged_and_files_are_dropped_on_a_directory(view: Visit, site: Site) -> None:
    page, place = view.page, _place(site, "plain")
    page.goto(f"{place}?path=1")
    page.locator(".tile a").first.focus()
    page.keyboard.press("x")
    page.get_by_label("Select 101.png").check()
    page.get_by_label("Set field").fill("split")
    page.get_by_label("to", exact=True).fill("test")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator(".tile .staged")).to_have_text(["metadata staged"] * 2)
    page.evaluate(
        """() => { const data = new DataTransfer(); data.items.add(new File(["dropped"], "dropped.txt"));
        dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true })); }"""
    )
    page.wait_for_url("**/changes")
    expect(page.locator(".steps li")).to_have_count(3)
    page.get_by_label("Message").fill("Set a field")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("heading", name="Set a field", exact=True)).to_be_visible()
    made = penstock.Package("demo/plain", site.context.catalogues.settings)
    assert [made.get_metadata(f"1/{name}.png") for name in (100, 101)] == [{"split": "test"}] * 2
    assert made.read("1/dropped.txt") == b"dropped"


def test_a_change_of_what_is_to_be_deleted_is_refused_and_others_stay_staged(browser: Browser, site: Site) -> None:
    with visit(browser, site.url, expected=("400",)) as view:
        page, place = view.page, _place(site, "plain")
        page.goto(f"{place}/entry?path=2/250.png")
        page.get_by_text("Move or delete").click()
        page.get_by_role("button", name="Stage the deletion").click()
        page.goto(f"{place}/entry?path=2/250.png")
        page.get_by_label("Metadata as JSON").fill('{"late": true}')
        page.get_by_role("button", name="Stage metadata").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("2/250.png")
        page.goto(f"{place}/changes")
        expect(page.locator(".steps li")).to_have_count(1)
        page.get_by_role("button", name="Discard all of them").click()
        expect(page.get_by_text("Nothing is staged")).to_be_visible()
        assert view.faults == []


def test_who_has_a_key_is_told_commands_that_work_with_it(browser: Browser, strict: Site) -> None:
    with visit(browser, strict.url) as view:
        dataset = strict.context.catalogues.find("plain")[0].hash_of("plain")
        key = strict.context.keys.create("reader", [DatasetScope.READ], dataset)
        page = view.page
        page.goto(f"/sign-in?next=/dataset/{dataset}/entry%3Fpath=0/000.png")
        page.get_by_label("Key").fill(key.secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".command").first).to_contain_text(f"penstock cat {strict.url}/demo/plain:main/0/000.png")
        assert view.faults == []


def test_a_store_that_goes_away_is_told_on_the_page_and_missed_no_more_when_it_is_back(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    store = Path(site.context.catalogues.buckets["demo"].address.removeprefix("file://"))
    with visit(browser, site.url, expected=("50", "40", "Failed to load")) as view:
        page, place = view.page, _place(site, "plain")
        page.goto(f"{place}?path=0")
        expect(page.locator(".tile")).to_have_count(60)
        store.rename(tmp_path / "gone")
        try:
            page.request.get("/health")
            answer = page.goto(f"{place}/history")
            assert answer is not None
            assert answer.status >= 400
            assert page.get_by_role("heading").first.text_content()
            assert page.request.get("/health").ok
        finally:
            (tmp_path / "gone").rename(store)
        page.goto(f"{place}/history")
        expect(page.get_by_role("heading", name="Versions")).to_be_visible()
        assert [each for each in view.faults if each.startswith("script")] == []


def test_files_are_looked_into_from_the_page_of_rows(view: Visit, site: Site) -> None:
    page = view.page
    page.goto(f"{_place(site, 'plain')}/rows")
    expect(page.get_by_text("No file of this dataset was looked into yet")).to_be_visible()
    page.get_by_role("button", name="Look into new files").click()
    expect(page.get_by_role("cell", name="index", exact=True).first).to_be_visible()
    page.reload()
    job = site.context.workers.table.list()[0]
    assert job.kind == "index"
    site.context.workers.table.cancel(job.id)  # of 300 files: that it is done is another test's


def test_a_video_is_encoded_again_from_its_page_and_the_job_is_cancelled_by_who_began_it(site: Site) -> None:
    catalogue = site.context.catalogues.buckets["demo"]
    rows = DatasetRows(catalogue, "kinds")
    rows.index()
    uid = next(row.uid for row in rows.all() if row.path == "steady.mp4")
    form = {"content_type": "application/x-www-form-urlencoded"}
    sent = site.ask("POST", f"{_place(site, 'kinds')}/re-encode", raw=f"uid={uid}".encode(), **form)
    assert (sent.status, sent.headers["location"]) == (303, "/jobs")
    job = site.context.workers.table.list()[0]
    assert f"<td>{job.kind}</td>" in site.ask("GET", "/jobs").body.decode()
    other = site.context.keys.create("other", list(DatasetScope)).secret
    assert site.ask("POST", "/jobs/cancel", key=other, raw=f"number={job.id}".encode(), **form).status == 404
    assert site.ask("POST", "/jobs/cancel", raw=f"number={job.id}".encode(), **form).status == 303
