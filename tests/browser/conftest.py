"""A headless Chromium and the pages it opens: reports of fixture runs, read without any network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.render import report
from bench.render.report import write_report
from tests.render.conftest import build, gpu_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page

__all__ = ["build"]

_COMMANDS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Opened:
    """A page and all that it did which a reader would not want: messages, errors, dialogs, requests."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def explore(self) -> None:
        """Scroll to the interactive chart and wait until it is drawn."""
        self.page.locator("#explorer").scroll_into_view_if_needed()
        self.page.locator("#explorer .plot .nsewdrag").first.wait_for(timeout=60_000)
        self.settle()

    def start_over(self) -> None:
        """Back to what was chosen, searched and shown at first; the order of tables stays."""
        self.page.evaluate(
            """() => {
              const form = document.querySelector("form.explorer");
              form.reset();
              for (const side of ["x", "y"]) form.elements[side].dispatchEvent(new Event("change", {bubbles: true}));
              for (const box of document.querySelectorAll("input[type=search]")) {
                box.value = "";
                box.dispatchEvent(new Event("input"));
              }
            }"""
        )
        self.page.locator("#explorer").scroll_into_view_if_needed()
        self.settle()

    def settle(self) -> None:
        """Wait until the chart shows what the text below it says."""
        self.page.wait_for_function(
            """() => {
              const plot = document.querySelector(".plot"), words = document.getElementById("explorer-words");
              return plot.data && words.textContent.startsWith(`${plot.data[2].x.length} of `);
            }"""
        )
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


Opener = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    driver = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[dev]'")
    command = next((found for name in _COMMANDS if (found := shutil.which(name))), None)
    if command is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, which is what containers run as.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=command, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Open an index.html; further arguments are what Playwright is to emulate."""
    yield from _opener(browser)


@pytest.fixture(scope="module")
def open_lasting_page(browser: Browser) -> Iterator[Opener]:
    """The same for a page that several tests use."""
    yield from _opener(browser)


def _opener(browser: Browser) -> Iterator[Opener]:
    contexts: list[BrowserContext] = []

    def open_page(folder: Path, before: str = "", **emulated: Any) -> Opened:
        context = browser.new_context(**{"viewport": DESKTOP, "offline": True, **emulated})
        contexts.append(context)
        context.set_default_timeout(30_000)
        opened = Opened(context.new_page(), context)
        if before:
            context.add_init_script(before)
        page = opened.page

        def dismissed(dialog: Dialog) -> None:
            opened.complaints.append(dialog.message)
            dialog.dismiss()

        page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("dialog", dismissed)
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto((folder / "index.html").as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def gpu_report(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 25 networks, with figures."""
    folder = tmp_path_factory.mktemp("gpu")
    return write_report(gpu_run(folder / "results"), folder / "reports")


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own and take most of the time of a report."""
    monkeypatch.setattr(report, "draw_charts", lambda *_: [])
