"""Pages in a real browser: looked at, clicked through, attacked. What a page says on its console is a fault as well.

One server and one browser for all of them; who changes something has a dataset of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect
from servers.browser import Visit, chromium, visit
from servers.catalogue import Site, running
from trees.directory import write
from trees.pictures import labels_of, picture, tell_meadow

import penstock
from penstock.catalogue.orm.dataset import DatasetScope

expect.set_options(timeout=60_000)

NARROW = 360


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for servers, which outlives that of each test, with the datasets meadow, hostile, and many (100,000)."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith(("XDG_", "PENSTOCK_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
        tell_meadow(folder, 20)
        part = write(
            folder / "part", {f"part-000/image-{number:04}.png": picture(number % 5) for number in range(1000)}
        )
        penstock.Dataset("demo/many").push(part)
        with penstock.Package("demo/many").to_builder() as builder:
            first = penstock.Package("demo/many")["part-000"]
            for number in range(1, 100):
                builder.add(first, f"part-{number:03}")
            builder.push("demo/many:main", allow_missing_readme=True)
        yield folder


@pytest.fixture(scope="module")
def site(home: Path) -> Iterator[Site]:
    """A server that trusts this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with running(home / "state", "demo") as found:
            yield found


@pytest.fixture(scope="module")
def strict(home: Path) -> Iterator[Site]:
    """A server of the same bucket that wants a key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with running(home / "strict", "demo", is_trusting=False) as found:
            yield found


@pytest.fixture
def view(browser: Browser, site: Site) -> Iterator[Visit]:
    """A window on that server; what went wrong in it fails the test."""
    with visit(browser, site.url) as found:
        yield found
        assert found.faults == []


def _hash(site: Site, name: str) -> str:
    return site.context.catalogues.find(name)[0].hash_of(name)


def _new_dataset(site: Site, folder: Path, name: str, files: dict[str, bytes]) -> penstock.Dataset:
    dataset = penstock.Dataset(f"demo/{name}", site.context.catalogues.settings)
    dataset.push(write(folder / name, files), message="first", author="Ada <ada@example.org>")
    return dataset


def _is_drawn(page: Page, selector: str) -> None:
    """Wait until an image is there, and has pixels."""
    found = page.locator(selector).first
    found.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=found.element_handle())


def test_one_walks_to_an_image_among_100_000(view: Visit) -> None:
    page = view.page
    page.goto("/")
    page.get_by_role("link", name="many", exact=True).click()
    page.get_by_role("link", name=re.compile("part-050")).click()
    expect(page.locator(".tile")).to_have_count(60)
    for _ in range(2):  # each page is fetched when the end of the one before comes near
        before = page.locator(".tile").count()
        page.locator(".tile").last.scroll_into_view_if_needed()
        expect(page.locator(".tile").nth(before)).to_be_attached()
    page.get_by_role("link", name=re.compile("image-0130.png")).click()
    _is_drawn(page, ".picture img")
    assert page.locator(".picture img").get_attribute("width") == "320"
    expect(page.locator("figcaption")).to_contain_text("320 × 240 pixels")


def test_a_name_is_jumped_to_and_keys_go_from_tile_to_tile(view: Visit, site: Site) -> None:
    page = view.page
    page.goto(f"/dataset/{_hash(site, 'many')}?path=part-099")
    page.keyboard.press("/")
    page.keyboard.type("image-0900.png")
    page.keyboard.press("Enter")
    expect(page.locator(".tile .name").first).to_have_text("image-0901.png")
    page.locator(".tile a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".crumbs [aria-current]")).to_have_text("image-0902.png")


def test_two_versions_differ_in_pictures_and_labels_that_changed_stand_out(view: Visit, site: Site) -> None:
    page = view.page
    page.goto(f"/dataset/{_hash(site, 'meadow')}/history")
    page.get_by_role("link", name="Mend a label, replace what was blurred").click()
    expect(page.locator(".pair")).to_have_count(4)
    mended = page.locator(".pair", has_text="train/meadow-001.png")
    for side in (".side.before img", ".side.after img"):
        _is_drawn(page, f".pair:has-text('train/meadow-001.png') {side}")
    expect(mended.locator(".side.before .shape.changed")).to_have_count(1)
    expect(mended.locator(".side.after .shape.changed")).to_have_count(1)
    expect(mended.locator("ins")).to_contain_text("bbox")
    moved = page.locator(".pair.renamed")
    expect(moved).to_contain_text("was train/meadow-003.png")
    expect(moved.locator(".shape.changed")).to_have_count(0)
    page.goto(f"/dataset/{_hash(site, 'meadow')}/history")
    page.locator("input[name=from]").nth(2).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".counts")).to_contain_text("modified")
    expect(page.locator(".pair")).to_have_count(17)  # 16 were labelled; of the one that moved as well, both keys


def test_changes_are_staged_and_become_one_version(view: Visit, site: Site, tmp_path: Path) -> None:
    dataset = _new_dataset(site, tmp_path, "curated", {f"a/{number}.png": picture(number) for number in range(4)})
    page = view.page
    page.goto(f"/dataset/{_hash(site, 'curated')}/entry?path=a/0.png")
    page.get_by_label("Metadata as JSON").fill('{"label": "ball"}')
    page.get_by_role("button", name="Stage metadata").click()
    page.goto(f"/dataset/{_hash(site, 'curated')}?path=a")
    page.get_by_label("Select 1.png").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Select 2.png").check()
    page.get_by_label("Move to").fill("b")
    page.get_by_role("button", name="Move", exact=True).click()
    (tmp_path / "new name.bin").write_bytes(bytes(range(256)) * 40_000)  # of two pieces
    page.locator("#files").set_input_files(tmp_path / "new name.bin")
    page.wait_for_url("**/changes")
    expect(page.locator(".steps li")).to_have_count(4)
    assert len(list(dataset.log())) == 1  # nothing was written yet
    page.get_by_label("Message").fill("Curate")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("heading", name="Curate", exact=True)).to_be_visible()
    package = penstock.Package("demo/curated", site.context.catalogues.settings)
    assert [entry.key for entry in package if entry.is_file()] == ["a/0.png", "a/3.png", "a/new name.bin", "b/2.png"]
    assert package.get_metadata("a/0.png") == {"label": "ball"}
    assert package.read("a/new name.bin") == bytes(range(256)) * 40_000
    assert [each.message for each in dataset.log()] == ["Curate", "first"]
    page.goto(f"/dataset/{_hash(site, 'curated')}/history")
    page.get_by_text("Go back").click()
    page.get_by_role("button", name="Undo what it changed").click()
    expect(page.locator(".timeline li")).to_have_count(3)
    assert penstock.Package("demo/curated", site.context.catalogues.settings).get_metadata("a/0.png") == {}


def test_what_others_changed_meanwhile_is_a_conflict_that_is_shown_and_settled(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    dataset = _new_dataset(site, tmp_path, "shared", {"x.txt": b"one", "y.txt": b"one"})
    with visit(browser, site.url, expected=("409",)) as view:
        page = view.page
        page.goto(f"/dataset/{_hash(site, 'shared')}/entry?path=x.txt")
        page.get_by_label("Metadata as JSON").fill('{"by": "page"}')
        page.get_by_role("button", name="Stage metadata").click()
        dataset.set_meta("x.txt", {"by": "other"}, message="meanwhile")
        page.get_by_label("Message").fill("Mine")
        page.get_by_role("button", name="Commit").click()
        expect(page.get_by_role("alert")).to_contain_text("x.txt")
        assert [each.message for each in dataset.log()] == ["meanwhile", "first"]
        page.get_by_label("take what is staged here").check()
        page.get_by_role("button", name="Commit").click()
        expect(page.get_by_role("heading", name="Mine")).to_be_visible()
        package = penstock.Package("demo/shared", site.context.catalogues.settings)
        assert package.get_metadata("x.txt") == {"by": "page"}
        assert view.faults == []


def test_a_key_that_is_wrong_opens_nothing_and_one_of_a_dataset_no_other(browser: Browser, strict: Site) -> None:
    meadow, hostile = _hash(strict, "meadow"), _hash(strict, "hostile")
    commit = penstock.Package("demo/hostile", strict.context.catalogues.settings).commit
    with visit(browser, strict.url, expected=("401", "403")) as view:
        key = strict.context.keys.create("reader", [DatasetScope.READ], meadow)
        page = view.page
        page.goto(f"/dataset/{meadow}/history")
        page.get_by_label("Key").fill("psk_0123456789abcdef_" + "x" * 43)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("Key").fill(key.secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Versions")).to_be_visible()
        page.goto("/")
        expect(page.locator(".cards .card")).to_have_count(1)
        for path in (
            f"/dataset/{hostile}",
            f"/dataset/{hostile}/raw?path=cells.csv&at={commit}",
            f"/dataset/{hostile}/picture?path=broken.png",
            f"/dataset/{meadow}/raw?path=cells.csv&at={commit}",
            f"/dataset/{meadow}/changes",
            "/keys",
            "/storage",
        ):
            answer = page.request.get(path)
            assert answer.status in (403, 404), path
            assert "cmd|" not in answer.text()
        for path in ("stage", "stage-entry", "upload", "commit", "refs", "go-back", "unstage", "sample"):
            sent = {"action": "delete", "key": "x", "kind": "tag", "name": "x", "how": "reset", "commit": "0" * 64}
            token = {"x-csrf-token": page.locator("meta[name=csrf]").get_attribute("content") or ""}
            answer = page.request.post(
                f"/dataset/{meadow}/{path}?path=README.md&offset=0&total=1",
                form={**sent, "number": "0", "count": "1"},
                headers=token,
            )
            assert answer.status == 403, path
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert view.faults == []


def test_a_form_of_another_site_or_without_its_token_changes_nothing(home: Path, site: Site) -> None:
    path = f"/dataset/{_hash(site, 'meadow')}/stage"
    form = {"content_type": "application/x-www-form-urlencoded"}
    for headers in ({"origin": "http://example.org"}, {"sec_fetch_site": "cross-site"}, {"host": "example.org"}):
        answer = site.ask("POST", path, raw=b"action=delete&key=README.md", **form, **headers)
        assert answer.status in (401, 403), headers
    cookie, session = site.context.sessions.begin(
        site.context.keys.caller(site.context.keys.create("w", list(DatasetScope)).secret)
    )
    for body, status in ((b"", 403), (b"&csrf=wrong", 403), (f"&csrf={session.csrf}".encode(), 303)):
        answer = site.ask(
            "POST", path, raw=b"action=delete&key=README.md" + body, cookie=f"penstock_session={cookie}", **form
        )
        assert answer.status == status


def test_nothing_that_users_sent_is_run(browser: Browser, site: Site) -> None:
    place = f"/dataset/{_hash(site, 'hostile')}"
    ran = "() => document.documentElement.dataset.ran"
    with visit(browser, site.url) as view:
        page, asked = view.page, []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(place)
        expect(page.get_by_text("<img src=x onerror=document.documentElement.dataset.ran='yes'>.txt")).to_be_visible()
        expect(page.get_by_text("{{ 7*7 }}.txt")).to_be_visible()
        expect(page.get_by_text("turned \\u202egnp.exe")).to_be_visible()
        _is_drawn(page, ".tile.svg img")
        assert page.evaluate(ran) is None
        for name in ("page.html", "picture.svg", "cells.csv", "bomb.png", "broken.png", "{{ 7*7 }}.txt"):
            page.goto(f"{place}/entry?path={quote(name)}")
            expect(page.locator(".viewer")).to_be_visible()
            assert page.evaluate(ran) is None
        for page_of in ("history", "diff"):
            page.goto(f"{place}/{page_of}")
            expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
        assert view.faults == []
    with visit(browser, site.url, expected=("sandbox", "Content Security Policy", "Refused", "Blocked")) as view:
        view.page.on("request", lambda request: asked.append(request.url))
        view.page.goto(f"{place}/raw?path=picture.svg")
        assert "data-ran" not in view.page.content()
    assert not any(url.endswith("/keys") for url in asked)


def test_what_a_browser_would_run_is_sent_to_be_saved(site: Site) -> None:
    place = f"/dataset/{_hash(site, 'hostile')}/raw"
    for name, kind in (("page.html", "application/octet-stream"), ("picture.svg", "image/svg+xml")):
        answer = site.ask("GET", f"{place}?path={name}")
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["content-disposition"].startswith("attachment" if name == "page.html" else "inline")
    for path in ("../../etc/passwd", "%2e%2e/x", "a//b", "x%00y", "", "//"):
        assert site.ask("GET", f"{place}?path={path}").status in (400, 404)


def test_a_file_is_sent_by_ranges(site: Site) -> None:
    path = f"/dataset/{_hash(site, 'meadow')}/raw?path=labels.csv"
    whole = site.ask("GET", path)
    part = site.ask("GET", path, range="bytes=3-9")
    assert (part.status, part.body) == (206, whole.body[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(whole.body)}"
    assert site.ask("GET", path, range="bytes=999999-").status == 416
    assert site.ask("GET", path, if_none_match=whole.headers["etag"]).status == 304


def test_labels_are_drawn_on_an_image_and_can_be_hidden(view: Visit, site: Site) -> None:
    page = view.page
    page.goto(f"/dataset/{_hash(site, 'meadow')}/entry?path=train/meadow-005.png")
    expect(page.locator(".shape")).to_have_count(len(labels_of(5)))
    page.get_by_role("button", name="Labels").click()
    expect(page.locator(".shapes")).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_narrow_window_and_can_be_used_by_everybody(browser: Browser, site: Site, dark: bool) -> None:
    meadow = f"/dataset/{_hash(site, 'meadow')}"
    with visit(browser, site.url, width=NARROW, height=740, dark=dark) as view:
        more = () if dark else ("/", f"{meadow}/entry?path=train/meadow-001.png", "/keys")
        for path in (meadow, f"{meadow}/diff", *more):
            view.page.goto(path)
            view.page.wait_for_load_state("networkidle")
            assert [*view.findings(), *view.overflow(), *view.faults] == [], path
