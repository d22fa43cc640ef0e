"""The pages in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from PIL import Image
from real_photo_run import write_real_run
from synthetic_evaluation import add_evaluation, pope_sides, rec_sides, scenes
from synthetic_run import write_run

from spr.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; apt-get install chromium"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
NASTY = "<script>document.title = 'taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("browser"), text=NASTY))


@pytest.fixture(scope="module")
def address(index: Path) -> str:
    return index.as_uri()


@pytest.fixture(scope="module")
def pair_address(index: Path) -> str:
    return min((index.parent / "pairs").iterdir()).as_uri()


@contextmanager
def opened(browser: Any, address: str, width: int = 1400, scheme: str = "light") -> Iterator[Any]:
    """The page at an address; at the end it must have been silent, and have asked for nothing but files of its folder."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url[:5] not in ("data:", "file:") else None)
    page.goto(address)
    yield page
    assert heard == []
    page.close()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose expressions have several data sets."""
    root = tmp_path_factory.mktemp("evaluated")
    run = write_run(root, photos=12, parts=("queries",))
    queries = scenes(run)
    add_evaluation(run, "rec/refcoco_val", rec_sides(queries), root / "photos")
    add_evaluation(run, "rec/refcoco_testA", rec_sides(queries, 5), root / "photos")
    add_evaluation(run, "pope", pope_sides(queries), root / "photos")
    return write_report(run).parent


def lit(page: Any) -> set[str]:
    """The keys of the boxes that are lit in the text, and those in the picture; they must be the same."""
    told, drawn = (
        set(page.eval_on_selector_all(f"{kind}.lit", "all => all.map(one => one.dataset.box)")) for kind in ("span", "g")
    )
    assert told == drawn
    return told


def layers(page: Any) -> set[str]:
    """The layers of the picture that are seen."""
    seen = "all => all.filter(one => getComputedStyle(one).display !== 'none').map(one => one.dataset.layer)"
    return set(page.eval_on_selector_all(".layer", seen))


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_quietly_and_fits(browser: Any, address: str, tmp_path: Path, width: int, scheme: str) -> None:
    with opened(browser, address, width, scheme) as page:
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert page.title().startswith("shapes-demo")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("Array.from(document.querySelectorAll('image')).length") == 12
    with Image.open(tmp_path / "page.png") as picture:
        assert len(picture.convert("RGB").resize((200, 800)).getcolors(160_000) or []) > 100


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_pairs_page_loads_quietly_and_fits(browser: Any, pair_address: str, tmp_path: Path, width: int, scheme: str) -> None:
    with opened(browser, pair_address, width, scheme) as page:
        page.screenshot(path=tmp_path / "pair.png", full_page=True)
        assert page.title().startswith("img-")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert NASTY in page.inner_text(".card >> nth=1")


@pytest.mark.parametrize("name", ["index.html", "gallery/rec-refcoco_val.html", "gallery/pope.html"])
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1400, "dark")])
def test_results_and_galleries_load_quietly_and_fit(
    browser: Any, evaluated: Path, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    with opened(browser, (evaluated / name).as_uri(), width, scheme) as page:
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Every photo is decoded and shown in its own shape.
        for box in page.eval_on_selector_all(".photo", "all => all.map(one => one.getBoundingClientRect().toJSON())"):
            assert box["width"] >= 100
            assert box["height"] >= 75


def test_the_strip_leads_to_its_gallery_and_back(browser: Any, evaluated: Path) -> None:
    with opened(browser, (evaluated / "index.html").as_uri()) as page:
        page.locator("text=The worst regressions and the best gains").first.click()
        assert page.url.endswith("/gallery/rec-refcoco_val.html")
        page.locator(".kicker a").click()
        assert page.url.endswith("/index.html")


def test_pointing_at_words_lights_their_box_and_shows_their_candidate(browser: Any, pair_address: str) -> None:
    with opened(browser, pair_address) as page:
        assert layers(page) == {"refined"}
        for kind in (".mention", ".find"):
            words = page.locator(f'.card[data-layer="c1"] {kind}').first
            words.hover()
            assert lit(page) == {words.get_attribute("data-box")}
            assert layers(page) == {"c1"}
            assert "IoU" in page.inner_text(".caption")
        page.locator("h1").hover()
        assert lit(page) == set()
        assert page.inner_text(".caption") == ""


def test_pointing_at_a_box_lights_its_words(browser: Any, pair_address: str) -> None:
    with opened(browser, pair_address) as page:
        page.locator("label", has_text="#1").click()
        for kind in (".written", ".found"):
            box = page.locator(f'.layer[data-layer="c1"] {kind}').last
            edge = box.locator("rect").nth(1).bounding_box()
            page.mouse.move(edge["x"] + 1, edge["y"] + edge["height"] / 2)
            assert lit(page) == {box.get_attribute("data-box")}
        assert layers(page) == {"c1"}


def test_the_keyboard_does_all_that_the_pointer_does(browser: Any, pair_address: str) -> None:
    with opened(browser, pair_address) as page:
        words = page.locator('.card[data-layer="c2"] .mention').first
        words.focus()
        key = words.get_attribute("data-box")
        assert (lit(page), layers(page)) == ({key}, {"c2"})
        page.locator(f'.written[data-box="{key}"]').focus()
        assert lit(page) == {key}
        page.locator("span.truth").first.focus()
        assert lit(page) == {"t-1"}
        page.locator("#pick-c2").focus()
        page.keyboard.press("ArrowLeft")
        assert len(layers(page)) == 1
        assert layers(page) != {"c2"}


def test_the_picture_stays_in_view(browser: Any, pair_address: str) -> None:
    for width in (390, 1400):
        with opened(browser, pair_address, width) as page:
            page.locator(".card").last.scroll_into_view_if_needed()
            picture = page.locator("svg.photo").bounding_box()
            assert 0 <= picture["y"] < 450
            assert picture["y"] + picture["height"] <= 900


def test_markup_in_a_models_text_does_not_run_even_where_it_is_not_escaped(browser: Any, index: Path, tmp_path: Path) -> None:
    html = min((index.parent / "pairs").iterdir()).read_text()
    (tmp_path / "broken.html").write_text(html.replace(str(escape(NASTY)), NASTY))
    page = browser.new_page()
    page.goto((tmp_path / "broken.html").as_uri())
    assert page.evaluate("document.querySelectorAll('script').length") > 1
    assert page.title() != "taken"
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light")])
def test_a_pair_on_a_real_photo(browser: Any, real_data: Path, tmp_path: Path, width: int, scheme: str) -> None:
    report = write_report(write_real_run(tmp_path, real_data))
    with opened(browser, (report.parent / "pairs" / "142-0-pair.html").as_uri(), width, scheme) as page:
        page.locator("label", has_text="#1").click()
        page.screenshot(path=tmp_path / "pair.png")
        assert layers(page) == {"c1"}
        assert page.locator("span.truth.added").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
