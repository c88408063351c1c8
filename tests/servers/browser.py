"""Debian's Chromium, driven by playwright: pages as a person has them, and what is wrong with them noted.

What a page says on its console, what it fails to load and what axe finds are faults, whoever looks at the page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

__all__ = ["Visit", "chromium", "visit"]

_WAIT_MS = 60_000


@dataclass
class Visit:
    """A page that somebody looks at. `faults` are what went wrong on it so far."""

    page: Page
    faults: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def note_console(self, message: ConsoleMessage) -> None:
        """Note an error, or a warning, of the console."""
        if message.type in ("error", "warning") and not any(each in message.text for each in self.expected):
            self.faults.append(f"console: {message.text}")

    def note_failure(self, request: Request) -> None:
        """Note a request that came to nothing; one that the page itself gave up is none."""
        if "ERR_ABORTED" not in (request.failure or ""):
            self.faults.append(f"failed: {request.url}: {request.failure}")

    def note_answer(self, answer: Response) -> None:
        """Note an answer that is an error."""
        if answer.status >= 400 and not any(each in str(answer.status) for each in self.expected):
            self.faults.append(f"{answer.status}: {answer.url}")

    def findings(self) -> list[str]:
        """Return what axe finds that is serious."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"axe: {each['id']}: {each['help']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def overflow(self) -> list[str]:
        """Return what is wider than the window, if the page scrolls sideways."""
        script = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 3).map(e => e.outerHTML.slice(0, 160))"""
        return [f"overflow: {each}" for each in self.page.evaluate(script)]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser, without a window."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: scripts/install --test"
    with sync_playwright() as driver:
        # As root it has no sandbox of its own; all that it is shown comes from this machine.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 860,
    dark: bool = False,
    expected: tuple[str, ...] = (),
) -> Iterator[Visit]:
    """Open a window of its own, with cookies of its own; relative addresses are of `url`."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        page.set_default_timeout(_WAIT_MS)
        found = Visit(page, expected=expected)
        page.on("console", found.note_console)
        page.on("pageerror", lambda error: found.faults.append(f"script: {error}"))
        page.on("requestfailed", found.note_failure)
        page.on("response", found.note_answer)
        yield found
    finally:
        context.close()
