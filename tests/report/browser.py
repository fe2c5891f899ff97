"""A headless Chromium for tests, where one is installed: the page as a reader has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = Path(os.environ.get("CCDEPLOY_SCREENSHOTS") or ROOT / "build" / "report-screenshots")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The browser's path. Where there is none the test is skipped; with CCDEPLOY_TESTS_BROWSER=required it fails."""
    found = os.environ.get("CCDEPLOY_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    reason = "" if found else f"no browser: install one of {', '.join(BROWSERS)}, or name it in CCDEPLOY_CHROMIUM"
    try:
        import playwright  # noqa: F401
    except ImportError:
        reason = "playwright is not installed: pip install ccdeploy[dev]"
    if reason and os.environ.get("CCDEPLOY_TESTS_BROWSER") == "required":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    assert found is not None
    return found


@dataclass
class Reader:
    """A page that is open, and what went wrong in it.

    Attributes:
        page: playwright's.
        errors: of the console and of scripts.
        requests: all addresses that were asked for.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def keep(self, name: str) -> None:
        """Keeps a screenshot of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def style(self, selector: str, name: str) -> str:
        """A computed style of the first element."""
        return str(self.page.eval_on_selector(selector, "(element, name) => getComputedStyle(element)[name]", name))


@contextmanager
def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light", **options: Any) -> Iterator[Reader]:
    """A file in a context of its own; ends with a check that nothing went wrong and nothing was asked of a network."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
    reader = Reader(context.new_page())
    reader.page.on(
        "console", lambda message: reader.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    reader.page.on("pageerror", lambda error: reader.errors.append(str(error)))
    reader.page.on("request", lambda request: reader.requests.append(request.url))
    try:
        reader.page.goto(file.resolve().as_uri())
        yield reader
        assert reader.errors == []
        assert reader.requests
        assert not [url for url in reader.requests if not url.startswith(("file:", "data:", "about:"))]
    finally:
        context.close()
