"""The page in a real browser: the divider, the choices, both themes, a phone, the keyboard, contrast."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Reader, find_browser, opened
from folders import HOSTILE, Folder, whole

from ccdeploy.report import write_report

DARK_BACK, LIGHT_BACK = "rgb(20, 23, 27)", "rgb(250, 249, 247)"
LUMINANCE = """
    (color) => {
      const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
"""
"""Relative luminance as WCAG 2 defines it."""
POOR_TEXT = """
  () => {
    const luminance = LUMINANCE;
    const back = (element) => {
      for (let one = element; one; one = one.parentElement) {
        const color = getComputedStyle(one).backgroundColor;
        if (!/, 0\\)$/.test(color) && color !== "transparent") return color;
      }
      return "rgb(255, 255, 255)";
    };
    const poor = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!own || element.closest("script, style") || !element.getClientRects().length) continue;
      const style = getComputedStyle(element);
      const color = element.closest("svg") ? style.fill : style.color;
      const [high, low] = [luminance(color), luminance(back(element))].sort((a, b) => b - a);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
    }
    return poor;
  }
""".replace("LUMINANCE", LUMINANCE)
UNLABELLED = """
  () => [...document.querySelectorAll("input, select, button, textarea")]
    .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim())
    .map((one) => one.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole(tmp_path_factory.mktemp("deployed"), 3).write()).path


def clip(reader: Reader) -> float:
    """Where the right picture begins, in percent of the width, as the browser clips it."""
    found = re.search(r"([\d.]+)%\)$", reader.style("#side-right", "clipPath"))
    assert found is not None
    return float(found[1])


def test_the_divider_follows_the_mouse_and_what_is_seen_changes(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        assert clip(reader) == 50
        page = reader.page
        page.select_option("#left", label="Picture")
        page.select_option("#right", label="PyTorch")
        page.locator("#stage").scroll_into_view_if_needed()
        box = page.locator("#stage").bounding_box()
        spot = {"x": box["x"] + 0.4 * box["width"], "y": box["y"] + 20, "width": 40, "height": 40}
        before = page.screenshot(clip=spot)
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
        page.mouse.up()
        assert clip(reader) == pytest.approx(20, abs=1.5)
        assert page.screenshot(clip=spot) != before, "the spot shows the right picture now"
        handle = page.locator(".handle").bounding_box()
        assert handle["x"] - box["x"] == pytest.approx(0.2 * box["width"], abs=0.02 * box["width"])


def test_the_divider_follows_the_keyboard_and_says_where_it_is(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        page = reader.page
        page.focus("#divider")
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        assert clip(reader) == 55
        page.keyboard.press("Home")
        assert clip(reader) == 0
        page.keyboard.press("End")
        assert clip(reader) == 100
        assert page.get_attribute("#divider", "aria-valuetext") == "100 % Picture, 0 % 2.onnx"


def test_a_finger_moves_the_divider(chromium: Any, report: Path) -> None:
    with opened(chromium, report, 360, has_touch=True, is_mobile=True) as reader:
        page = reader.page
        page.locator("#stage").scroll_into_view_if_needed()
        box = page.locator("#stage").bounding_box()
        page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
        assert clip(reader) == pytest.approx(75, abs=2)


def test_the_choices_change_what_is_shown(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        page = reader.page

        def shown(side: str) -> tuple[str, str, str]:
            layer = page.locator(f"#side-{side} .layer")
            base = page.locator(f"#side-{side} .base")
            return base.get_attribute("src"), layer.get_attribute("src"), layer.get_attribute("alt")

        first = shown("right")
        assert first[2] == "right: photo 1: 2.onnx"
        page.select_option("#right", label="0.onnx: difference")
        second = shown("right")
        assert second[0] == first[0]
        assert second[1] != first[1]
        assert reader.style("#side-right .layer", "opacity") == "1", "a difference lies over the photograph as it is"
        assert "marked where it differs" in page.inner_text("#captions")
        page.check("input[name=picture][value='1']", force=True)
        third = shown("right")
        assert third[0] != second[0]
        assert third[2] == "right: photo 2: 0.onnx: difference", "the choice is kept"
        assert [page.is_visible(f".gallery[data-picture='{number}']") for number in (0, 1)] == [False, True]
        page.select_option("#right", label="PyTorch")
        page.focus("#opacity")
        page.keyboard.press("Home")
        assert reader.style("#side-right .layer", "opacity") == "0"
        assert page.inner_text("#opacity-value") == "0 %"


def test_a_choice_that_the_next_picture_lacks_falls_back_to_one_that_it_has(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        reader.page.select_option("#left", label="True labels")
        reader.page.check("input[name=picture][value='1']", force=True)
        assert reader.page.eval_on_selector("#left", "one => one.selectedOptions[0].label") == "Picture"


def test_dark_where_the_system_is_dark(chromium: Any, report: Path) -> None:
    for scheme, back in (("light", LIGHT_BACK), ("dark", DARK_BACK)):
        with opened(chromium, report, scheme=scheme) as reader:
            assert reader.style("body", "backgroundColor") == back
            assert reader.page.get_attribute("#theme", "aria-pressed") == str(scheme == "dark").lower()
            assert reader.page.evaluate(POOR_TEXT) == []
            reader.keep(scheme)


def test_the_switch_wins_over_the_system_and_is_remembered(chromium: Any, report: Path) -> None:
    with opened(chromium, report, scheme="dark") as reader:
        page = reader.page
        bar = '#accuracy svg.chart [style*="--series-0"]'
        dark = reader.style(bar, "fill")
        page.click("#theme")
        assert reader.style("body", "backgroundColor") == LIGHT_BACK
        assert reader.style(bar, "fill") != dark, "charts follow the theme"
        assert page.get_attribute("#theme", "aria-pressed") == "false"
        page.reload()
        assert reader.style("body", "backgroundColor") == LIGHT_BACK
        page.click("#theme")
        assert reader.style("body", "backgroundColor") == DARK_BACK


def test_the_switch_works_where_nothing_can_be_stored(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        reader.page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied'); } })"
        )
        reader.page.reload()
        reader.page.click("#theme")
        assert reader.style("body", "backgroundColor") == DARK_BACK


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(chromium: Any, report: Path, scheme: str) -> None:
    with opened(chromium, report, 360, scheme) as reader:
        for script in ("document.documentElement.scrollWidth", "document.body.scrollWidth"):
            assert reader.page.evaluate(script) <= 360
        reader.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = reader.page.evaluate("[...document.querySelectorAll('.scroll')].map((one) => one.scrollWidth)")
        assert max(boxes) > 360, "wide tables scroll inside their boxes"
        assert not reader.page.is_visible(".wide")
        assert reader.page.is_visible(".narrow")
        reader.keep(f"phone-{scheme}")


def test_hostile_and_long_names_break_no_layout(chromium: Any, tmp_path: Path) -> None:
    folder = Folder(tmp_path, ("x" * 200 + ".onnx", f"{HOSTILE}.onnx"), model="m" * 120)
    folder.rename_classes([f"{'long' * 24}{index}" for index in range(9)])
    page = write_report(folder.write()).path
    for width in (360, 1280):
        with opened(chromium, page, width) as reader:
            assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
            reader.keep(f"long-names-{width}")


def test_the_keyboard_reaches_everything_in_order(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        page, reached = reader.page, []
        for _ in range(40):
            page.keyboard.press("Tab")
            name = page.evaluate("(({ id, name, className }) => id || name || className)(document.activeElement)")
            reached.append(name)
            if name == "divider":
                break
        assert reached[0] == "skip"
        order = [reached.index(name) for name in ("theme", "picture", "left", "right", "opacity", "divider")]
        assert order == sorted(order)
        assert reader.style(".handle svg", "outlineStyle") == "solid", "the focus is seen though the input is not"


def test_the_link_to_the_content_skips_the_navigation(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        page = reader.page
        page.keyboard.press("Tab")
        assert page.locator(".skip").bounding_box()["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_everything_has_a_name(chromium: Any, report: Path) -> None:
    with opened(chromium, report) as reader:
        page = reader.page
        assert page.evaluate(UNLABELLED) == []
        assert page.evaluate("document.querySelectorAll('img:not([alt])').length") == 0
        drawings = "svg:not([aria-label]):not([aria-hidden] *, [aria-hidden])"
        assert page.locator(drawings).count() == 0
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate("document.querySelectorAll('h1').length") == 1
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]))")
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert page.evaluate("[...document.querySelectorAll('nav a')].every((one) => document.querySelector(one.hash))")
        assert page.evaluate("[...document.querySelectorAll('th')].every((one) => one.scope)")


def test_without_scripts_all_pictures_are_there(chromium: Any, report: Path) -> None:
    with opened(chromium, report, java_script_enabled=False) as reader:
        assert not reader.page.is_visible("#compare")
        assert reader.page.locator(".gallery:visible").count() == 2
        assert not reader.page.is_visible("#theme")


def test_paper_is_white_and_has_all_pictures(chromium: Any, report: Path) -> None:
    with opened(chromium, report, scheme="dark") as reader:
        reader.page.emulate_media(media="print", color_scheme="dark")
        assert reader.style("body", "backgroundColor") == "rgb(255, 255, 255)"
        assert reader.style("h1", "color") == "rgb(0, 0, 0)"
        assert reader.page.locator(".gallery:visible").count() == 2
        assert not reader.page.is_visible("nav")
