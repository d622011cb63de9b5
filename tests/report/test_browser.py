"""The report in a real browser, opened from the file system: what a reader does with it, and how fast it opens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from report_factory import SCRIPT, add_images, begun, png, write_many
from results_factory import write_cell, write_results

from afa_bench import api
from afa_bench.report import write_report
from afa_bench.report.images import Mode
from afa_bench.tables import build_table, load_results
from afa_bench.tables.text import difference

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser) -> Iterator[Callable[..., Any]]:
    """Opens a page, and afterwards holds it to: no error on the console, no request outside the folder."""
    contexts, troubles = [], []

    def open_page(folder: Path, after: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        inside = f"file://{folder}/"
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
        page.on("request", lambda request: None if request.url.startswith(inside) else troubles.append(request.url))
        page.goto(f"{inside}index.html{after}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def make(results: Path, out: Path) -> Path:
    write_report(load_results(results), out, Mode.COPY, lambda title, total: lambda steps: None)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    results = write_results(home / "tiny", steps=(None, 10, 20))
    write_cell(results, "mini-1", "afa", "broken", -0.1, 9, 20, failed=(3,))
    add_images(results)
    cell = next(results.glob("mini-1-3.020*"))
    (cell / "maps").mkdir()
    (cell / "maps" / f"{next((cell / 'images').iterdir()).stem}-block 12.png").write_bytes(png("map"))
    return make(results, home / "report")


def first_column(page: Any) -> list[str]:
    return page.locator(".methods tbody").first.locator("tr:not(.group) th button").all_text_contents()


def test_the_table_sorts(folder, opened):
    page = opened(folder)
    assert first_column(page) == ["base: people", "base: R&B_50%|x*", "weighted", "afa", "broken"]
    head = page.get_by_role("button", name="CLIP-T (mini)")
    head.click()
    assert first_column(page) == ["afa", "weighted", "base: R&B_50%|x*", "base: people", "broken"]
    assert head.locator("xpath=..").get_attribute("aria-sort") == "descending"
    assert head.evaluate("node => node === document.activeElement")
    page.keyboard.press("Enter")
    assert first_column(page)[0] == "broken"
    page.get_by_role("button", name="Denoising loss").click()
    assert first_column(page)[0] == "afa"
    page.get_by_role("button", name="Method", exact=True).click()
    assert first_column(page)[-1] == "broken"


def test_differences_and_steps(folder, opened):
    table = build_table(load_results(folder.parent / "tiny"), versus="weighted", steps=[10], groups=["mini-1"], only=["afa"])
    text, _ = difference(table.sections[0].rows[0].cells[1], table.columns[1].metric)
    page = opened(folder)
    assert "20 steps" in page.locator(".methods thead").inner_text()
    page.locator("#table-steps").get_by_text("10").click()
    assert "10 steps" in page.locator(".methods thead").inner_text()
    page.select_option("#versus", "weighted")
    row = page.locator(".methods tbody").first.locator("tr", has_text="afa")
    assert row.locator(".value").nth(1).inner_text() == text
    assert row.locator(".whisker.better").count() == 2  # FID has no interval
    assert "versus=weighted" in page.url
    again = opened(folder, page.url.partition("index.html")[2])
    assert again.input_value("#versus") == "weighted"


def test_curves_answer_to_the_pointer_and_the_keyboard(folder, opened):
    page = opened(folder)
    assert page.locator("#curves-place figure").count() == 2
    assert page.locator("#curves-place figure").first.locator(".curve").count() == 5
    page.locator("#curves-rows button", has_text="weighted").focus()
    page.keyboard.press("Enter")
    assert page.locator(".curve.focus .name").first.text_content() == "weighted"
    assert page.locator(".methods tr.focus th").text_content() == "weighted"
    page.locator("#curves-place svg").first.hover(position={"x": 60, "y": 60})
    assert page.locator(".readout").first.inner_text().startswith("10 steps: afa ")


def prompts(page: Any) -> list[str]:
    return page.locator(".samples .prompt").all_text_contents()


def test_images_filter_order_and_page(folder, opened):
    page = opened(folder)
    assert len(prompts(page)) == 24
    assert page.locator("#found").inner_text() == "48 of 48 samples"
    page.get_by_role("button", name="Next page").click()
    assert prompts(page)[0] == "prompt 12"
    page.select_option("#category", "single")
    assert page.locator("#found").inner_text() == "24 of 48 samples"
    page.fill("#text", "PROMPT 7")
    assert prompts(page) == ["prompt 7", "prompt 7"]
    page.fill("#text", "nothing like it")
    assert page.get_by_text("No sample matches.").is_visible()
    page.fill("#text", "")
    page.select_option("#category", "")
    page.select_option("#ours", "afa", force=True)
    page.select_option("#order", "loss")
    page.select_option("#theirs", "weighted")
    losses = [float(text.replace("−", "-")) for text in page.locator(".gain").all_text_contents()]
    assert losses == sorted(losses)
    page.select_option("#order", "gain")
    gains = [float(text.replace("−", "-")) for text in page.locator(".gain").all_text_contents()]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > losses[0]
    page.select_option("#images [data-state=group]", "mini-2")
    assert page.locator(".heads .strip div").all_text_contents() == ["base: people", "base: R&B_50%|x*", "weighted", "afa"]


def test_worst_first_and_what_has_no_value_nowhere(folder, opened):
    (file,) = (
        cell.parent / "samples.parquet"
        for cell in (folder.parent / "tiny").glob("*.020*/cell.json")
        if "broken" in cell.read_text()
    )
    scores = pd.read_parquet(file, columns=["clip_t_mini", "prompt_id"]).dropna().sort_values("clip_t_mini")
    assert len(scores) == 47
    ranked = [int(name[1:]) for name in scores["prompt_id"]]
    page = opened(folder)
    page.select_option("#ours", "broken", force=True)
    page.select_option("#metric", "clip_t_mini")
    for order, first in (("worst", ranked[0]), ("best", ranked[-1])):
        page.select_option("#order", order)
        assert page.locator("#found").inner_text().startswith("47 of 48 samples"), "one failed"
        assert prompts(page)[0] == f"prompt {first}"


def test_one_sample_by_the_keyboard(folder, opened):
    page = opened(folder)
    page.locator(".thumb", has_text="afa").nth(1).click()
    viewer = page.locator("#viewer")
    row = dict(zip(viewer.locator("dt").all_text_contents(), viewer.locator("dd").all_text_contents(), strict=True))
    assert row["sample_id"] == "p00/1/0"
    assert {"seed", "sha256", "clip_t_mini", "file", "category"} <= set(row)
    assert page.locator("#large").evaluate("image => image.complete && image.naturalWidth") == 8
    before = page.locator("#large").bounding_box()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert page.locator("#large").bounding_box()["width"] > 2 * before["width"]
    page.keyboard.press("ArrowLeft")
    assert viewer.locator("tr.focus th").inner_text() == "weighted"
    page.keyboard.press("ArrowDown")
    assert viewer.locator("dd").first.inner_text() == "p01/0/0"
    page.locator("#large").click()
    assert page.locator("#large").evaluate("image => image.style.getPropertyValue('--zoom')") == "1"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.evaluate("document.activeElement.dataset.key") == "2 weighted"


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (32, 96)], ids=["square", "wide", "tall"])
def test_a_larger_image_is_that_much_larger_and_still_in_its_frame(tmp_path, opened, size):
    results = write_results(tmp_path / "tiny", steps=(20,))
    add_images(results)
    for file in results.glob("*/images/*.png"):
        Image.new("RGB", size, (200, 30, 30)).save(file)
    page = opened(make(results, tmp_path / "report"))
    page.locator(".thumb").first.click()
    image, frame = page.locator("#large"), page.locator(".frame")
    before, around = image.bounding_box(), frame.bounding_box()
    assert before == pytest.approx(around, abs=1)
    for keys in ("+", "+", "-", "++++++"):
        for key in keys:
            page.keyboard.press(key)
        now = image.bounding_box()
        factor = page.evaluate("view.zoom")
        assert (now["width"], now["height"]) == pytest.approx((before["width"] * factor, before["height"] * factor), abs=2)
        assert frame.bounding_box() == pytest.approx(around, abs=1)
        for place, side in (("x", "width"), ("y", "height")):  # what is in the middle stays there, but for a scroll bar's width
            assert now[place] + now[side] / 2 == pytest.approx(around[place] + around[side] / 2, abs=12)
    assert factor == 8


def test_failures_and_maps_are_shown(folder, opened):
    page = opened(folder)
    page.locator(".thumb", has_text="broken").nth(3).click()
    assert "RuntimeError: out of memory" in page.locator("#viewer dl").inner_text()
    page.keyboard.press("Escape")
    where = page.evaluate("Number(Object.keys(REPORT.cells.find(c => Object.keys(c.images.maps).length).images.maps)[0])")
    page.evaluate(f"openViewer({where}, 'afa')")
    assert page.locator("#viewer .maps figcaption").inner_text() == "block 12"
    assert page.locator("#viewer .maps img").evaluate("async image => { await image.decode(); return image.naturalWidth }") == 8


def test_a_prompt_is_text(folder, opened):
    page = opened(folder)
    assert prompts(page)[0] == SCRIPT
    assert page.evaluate("window.attacked") is None
    page.locator(".thumb").first.click()
    assert page.locator("#viewer h2").text_content() == SCRIPT
    assert page.evaluate("window.attacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_told(folder, opened, scheme):
    page = opened(folder, color_scheme=scheme)
    lightness = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (page.evaluate(lightness) > 128) == (scheme == "light")
    page.locator("#theme").click()
    assert page.evaluate(lightness) > 128
    page.locator("#theme").click()
    assert page.evaluate(lightness) < 128


def test_a_phone_holds_it(folder, opened):
    page = opened(folder, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".thumb").first.tap()
    assert page.locator("#viewer").bounding_box()["width"] <= 390
    page.locator("#viewer .close").tap()
    assert not page.locator("#viewer").is_visible()


def test_ten_thousand_samples_open(tmp_path, opened):
    page = opened(make(write_many(tmp_path / "many", 10_000), tmp_path / "report"))
    page.locator(".thumb img").first.evaluate("image => image.decode()")
    page.select_option("#order", "gain")
    assert page.locator("#found").inner_text().startswith("10,000 of 10,000 samples: afa is better by +0.01")


@pytest.mark.parametrize("scored", [0, 1])
def test_a_run_under_way_opens(tmp_path, opened, scored):
    results = api.load_results(begun(tmp_path / "tiny", scored), scored=False)
    write_report(results, tmp_path / "page", Mode.COPY, lambda title, total: lambda steps: None)
    page = opened(tmp_path / "page")
    assert f"under way: {scored} of 4 cells are scored" in page.locator("h1").inner_text()
    assert page.locator(".thumb img").count() > 0
