"""Which items a gallery shows, in which order, and how its page shows them."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from synthetic_evaluation import (
    add_evaluation,
    caption_sides,
    phrase_sides,
    pope_sides,
    rec_prediction,
    rec_sides,
    scenes,
    textvqa_sides,
)
from synthetic_run import write_run
from test_report_page import Page

from spr.errors import DataError
from spr.records import Prediction
from spr.report import write_report
from spr.report.data import read_run
from spr.report.gallery import MOST, galleries, gallery
from spr.report.gallery_svg import draw_answers
from spr.report.server import open_server
from spr.report.svg import standalone

NASTY = r"<script>alert(1)</script> \input{x} | & <img src=x onerror=alert(1)>"
SVG = "{http://www.w3.org/2000/svg}"


def sides(changes: Sequence[tuple[str, float, float, str]]) -> tuple[list[Prediction], list[Prediction]]:
    """Items as (id, IoU of base, IoU of tuned, photo)."""
    base = [rec_prediction(name, before, path) for name, before, _, path in changes]
    tuned = [rec_prediction(name, after, path) for name, _, after, path in changes]
    return base, tuned


def ids(found: Sequence[Any]) -> list[str]:
    return [change.base.item_id for change in found]


def photo_run(root: Path, predictions: tuple[list[Prediction], list[Prediction]]) -> Path:
    """A run with one data set about photos of 100 x 100 pixels; those that are not called gone.jpg are there."""
    run = write_run(root, photos=2, parts=())
    folder = root / "asked"
    folder.mkdir()
    for one in predictions[0]:
        if one.path != "gone.jpg":
            Image.new("RGB", (100, 100), "olive").save(folder / one.path)
    add_evaluation(run, "rec", predictions, folder)
    return run


def page_of(run: Path, name: str = "rec") -> Page:
    write_report(run)
    return Page(run / "report" / "gallery" / f"{name}.html")


def test_the_largest_falls_come_first_and_what_stayed_is_in_neither_list() -> None:
    changes = [("a", 0.9, 0.5, "1"), ("b", 0.9, 0.1, "2"), ("c", 0.5, 0.5, "3"), ("d", 0.2, 0.9, "4"), ("e", 0.2, 0.3, "5")]
    found = gallery("rec", *sides(changes), Path())
    assert (ids(found.regressions), ids(found.gains)) == (["b", "a"], ["d", "e"])
    assert (found.worse, found.better, found.n) == (2, 2, 5)


def test_equal_changes_stand_by_their_items_id_whatever_the_order_they_came_in() -> None:
    changes = [(name, 0.75, 0.25, name) for name in "bdac"]
    assert ids(gallery("rec", *sides(changes), Path()).regressions) == ["a", "b", "c", "d"]


def test_another_photo_comes_before_a_second_item_of_the_same() -> None:
    # Twelve items of photo 1 fell more than the two others, which are shown all the same: ten of the twelve have to be.
    changes = [(f"a{n:02d}", 1.0, 0.0, "1") for n in range(12)] + [("b", 0.5, 0.25, "2"), ("c", 0.5, 0.0, "3")]
    found = gallery("rec", *sides(changes), Path())
    assert ids(found.regressions) == [*(f"a{n:02d}" for n in range(10)), "c", "b"]
    assert len(found.regressions) == MOST


def test_an_item_that_one_side_has_not_answered_is_not_compared() -> None:
    base, tuned = sides([("a", 0.9, 0.1, "1"), ("b", 0.9, 0.1, "2")])
    assert gallery("rec", base, tuned[1:], Path()).n == 1


def test_yes_or_no_falls_from_right_to_wrong() -> None:
    def said(item_id: str, value: float) -> Prediction:
        payload = {"label": 1.0, "said": value, "cut_off": 0.0}
        return Prediction("pope", item_id, item_id, "", None, "ok", float("nan"), payload, path=item_id)

    base = [said("a", 1.0), said("b", 0.0), said("c", 1.0), said("d", -1.0)]
    tuned = [said("a", 0.0), said("b", 1.0), said("c", 1.0), said("d", 0.0)]
    found = gallery("pope/random", base, tuned, Path())
    assert (ids(found.regressions), ids(found.gains), found.page) == (["a"], ["b"], "pope-random.html")


def test_boxes_are_drawn_in_image_pixels_base_dashed_tuned_solid_truth_thin() -> None:
    svg = draw_answers(Image.new("RGB", (100, 80)), [(10, 10, 30, 30)], [(20, 20, 70, 60)], [(10, 10, 30, 20)], "x", 50, 9999)
    root = ElementTree.fromstring(standalone(svg))
    assert root.get("viewBox") == "0 0 100 80"
    shapes = [group[2] for group in root.findall(f"{SVG}g")]
    places = [tuple(float(shape.get(key, "")) for key in ("x", "y", "width", "height")) for shape in shapes]
    assert places == [(20, 20, 50, 40), (10, 10, 20, 10), (10, 10, 20, 20)]
    assert [bool(shape.get("stroke-dasharray")) for shape in shapes] == [True, False, False]
    assert [shape.get("stroke") for shape in shapes] == ["#ff8b3d", "#19c7b9", "#ffffff"]
    # By hand: 10 x 10 pixels are shared by 20 x 20 and 50 x 40; half of the truth is in the other box.
    titles = [group[0].text for group in root.findall(f"{SVG}g")]
    assert titles == ["base (IoU 0.04)", "tuned (IoU 0.50)", "ground truth"]


def test_the_page_states_both_ious_the_expression_and_the_groups(tmp_path: Path) -> None:
    groups = {"size": "small", "category": "cup"}
    base = rec_prediction("a", 0.91, question="left cup", groups=groups)
    tuned = rec_prediction("a", 0.125, question="left cup", groups=groups, status="ok")
    page = page_of(photo_run(tmp_path, ([base], [tuned])))
    assert "left cup base IoU 0.91 → tuned IoU 0.12 size: small · category: cup" in page.words
    assert "Tuned answers 1 of 1 items worse than base and 0 better, by IoU." in page.words
    assert page.attributes.count(("class", "photo")) == 1
    assert page.words.count("There is none.") == 1


def test_an_answer_without_a_box_says_so(tmp_path: Path) -> None:
    base, tuned = rec_prediction("a", 0.9), rec_prediction("a", 0.0, box=None, status="none", answer="")
    words = page_of(photo_run(tmp_path, ([base], [tuned]))).words
    assert "tuned IoU 0.00 (no box)" in words
    assert "base said tuned nothing" in words


def test_a_box_that_came_without_a_text_is_not_called_nothing(tmp_path: Path) -> None:
    base, tuned = (rec_prediction("a", iou, answer="") for iou in (0.9, 0.2))
    assert "base a box without a text" in page_of(photo_run(tmp_path, ([base], [tuned]))).words


def test_a_photo_that_cannot_be_used_is_said_under_its_reason(tmp_path: Path) -> None:
    base, tuned = sides([("a", 0.9, 0.1, "gone.jpg"), ("b", 0.9, 0.2, "there.jpg")])
    page = page_of(photo_run(tmp_path, (base, tuned)))
    assert "No picture: image_missing" in page.words
    assert page.attributes.count(("class", "photo")) == 1


def test_a_data_set_that_the_recipe_no_longer_names_has_no_pictures_but_its_words(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=1, parts=())
    add_evaluation(run, "rec", sides([("a", 0.9, 0.1, "a.jpg")]))
    page = page_of(run)
    assert "No picture: no_image_root: the recipe names no data set rec any more" in page.words
    assert "item a" in page.words


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    given = {"question": NASTY, "answer": NASTY, "groups": {"category": NASTY}}
    base, tuned = (rec_prediction("a", iou, **given) for iou in (0.9, 0.1))
    run = photo_run(tmp_path, ([base], [tuned]))
    for page in (page_of(run), Page(run / "report" / "index.html")):
        assert "script" not in page.tags
        assert "img" not in page.tags
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert " ".join(NASTY.split()) in page.words


def test_even_noise_makes_a_page_of_less_than_3_mb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    changes = [(f"{n:02d}", *((0.9, 0.1) if n < 12 else (0.1, 0.9)), f"{n:02d}.png") for n in range(24)]
    base, tuned = ([replace(one, width=800, height=800) for one in side] for side in sides(changes))
    run = write_run(tmp_path, photos=1, parts=())
    (tmp_path / "asked").mkdir()
    for one in base:
        Image.fromarray(rng.integers(0, 256, (800, 800, 3), dtype=np.uint8)).save(
            tmp_path / "asked" / one.path, compress_level=0
        )
    add_evaluation(run, "rec", (base, tuned), tmp_path / "asked")
    assert page_of(run).attributes.count(("class", "photo")) == 24
    assert (run / "report" / "gallery" / "rec.html").stat().st_size < 3_000_000


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with seven data sets of five tasks on its own photos."""
    root = tmp_path_factory.mktemp("evaluated")
    run, photos = write_run(root, photos=12, parts=("queries",)), root / "photos"
    queries = scenes(run)
    add_evaluation(run, "rec/refcoco_val", rec_sides(queries), photos)
    add_evaluation(run, "rec/refcoco_testA", rec_sides(queries, 5), photos)
    add_evaluation(run, "phrase_grounding", phrase_sides(queries), photos)
    add_evaluation(run, "pope/random", pope_sides(queries), photos)
    add_evaluation(run, "pope/popular", pope_sides(queries, 3), photos)
    add_evaluation(run, "textvqa", textvqa_sides(queries), photos)
    add_evaluation(run, "region_description", caption_sides(queries), photos)
    write_report(run)
    return run


def test_every_data_set_has_its_page_and_the_report_leads_to_it(evaluated: Path) -> None:
    pages = {page.name for page in (evaluated / "report" / "gallery").iterdir()}
    assert pages == {
        "rec-refcoco_val.html",
        "rec-refcoco_testA.html",
        "phrase_grounding.html",
        "pope-random.html",
        "pope-popular.html",
        "textvqa.html",
        "region_description.html",
    }
    index = Page(evaluated / "report" / "index.html")
    assert {value for name, value in index.attributes if value.startswith("gallery/")} == {f"gallery/{name}" for name in pages}


def test_the_strip_shows_three_of_either_kind(evaluated: Path) -> None:
    text = (evaluated / "report" / "index.html").read_text()
    found = galleries(read_run(evaluated))
    wanted = sum(min(3, len(part)) for one in found.values() for part in (one.regressions, one.gains))
    assert text.count('<p class="asked">') == wanted


def test_a_question_without_boxes_shows_the_right_answer_and_both_said(evaluated: Path) -> None:
    (change, *_) = galleries(read_run(evaluated))["pope/random"].gains
    words = Page(evaluated / "report" / "gallery" / "pope-random.html").words
    assert f"{change.base.question} base wrong → tuned right right answer: {change.base.groups['label']}" in words
    assert f"base {change.base.answer} tuned {change.tuned.answer}" in words


def test_pages_of_data_sets_that_are_gone_are_taken_away(evaluated: Path) -> None:
    old = evaluated / "report" / "gallery" / "rec-old.html"
    old.write_text("old")
    write_report(evaluated)
    assert not old.exists()


def test_the_same_run_gives_the_same_pages(evaluated: Path) -> None:
    def pages() -> dict[str, bytes]:
        return {page.name: page.read_bytes() for page in (evaluated / "report" / "gallery").iterdir()}

    before = pages()
    write_report(evaluated)
    assert pages() == before


def test_the_server_shows_the_galleries_and_nothing_beside_them(evaluated: Path) -> None:
    with open_server(evaluated, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        links = set(re.findall(r'href="(gallery/[^"]+)"', ask("/")[1]))
        assert len(links) == 7
        for link in links:
            status, text = ask(f"/{link}")
            assert (status, text) == (200, (evaluated / "report" / link).read_text())
        assert ask("/gallery/none.html")[0] == 404
        assert ask("/gallery/../index.html")[0] == 404
        server.shutdown()


def test_a_broken_file_of_predictions_is_one_sentence(tmp_path: Path) -> None:
    run = photo_run(tmp_path, sides([("a", 0.9, 0.1, "a.jpg")]))
    path = run / "eval" / "rec" / "tuned" / "predictions.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=rf"{path} cannot be read .*; evaluate rec again"):
        write_report(run)


def test_the_base_alone_has_no_gallery(tmp_path: Path) -> None:
    run = photo_run(tmp_path, sides([("a", 0.9, 0.1, "a.jpg")]))
    text = (run / "metrics.json").read_text().replace('"delta"', '"other"').replace('"tuned"', '"another"')
    (run / "metrics.json").write_text(text)
    assert galleries(read_run(run)) == {}
    write_report(run)
    assert "What changed most" not in Page(run / "report" / "index.html").words
