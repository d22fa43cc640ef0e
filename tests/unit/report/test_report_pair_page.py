"""The page of one pair, and the folder of such pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from bracket_dialect import Bracket
from synthetic_run import write_run
from test_report_page import Page

from spr.records import Detection, Mention
from spr.report import write_report
from spr.report.case import Case, Cases, page_name
from spr.report.case_svg import Layer, draw_case, letter
from spr.report.data import read_run
from spr.report.pair_page import Links, neighbours, render_case
from spr.report.texts import link_mentions, pieces, visible

NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)> </svg> & \"quoted\" "
ALONE = Links("../index.html", None, None, "1 of 1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("pairs"), photos=8)


@pytest.fixture(scope="module")
def case(run: Path) -> Case:
    cases = Cases(read_run(run))
    return cases.of(cases.pairs[0])


def page_of(case: Case, folder: Path) -> Page:
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_text(render_case(case, "a run", ALONE), encoding="utf-8")
    return Page(folder / "page.html")


def test_every_candidate_is_a_card_with_its_boxes_and_scores(case: Case, tmp_path: Path) -> None:
    page = page_of(case, tmp_path)
    layers = [value for name, value in page.attributes if name == "data-layer"]
    for row in case.candidates:
        # Its card, its row in the table, its boxes below the ground truth and its numbers above it.
        assert layers.count(f"c{row.k}") == 4
        assert f"{row.composite:.3f}" in page.words
        assert f"Semantic {row.semantic:.3f} · localization {row.localization:.3f}" in page.words
    assert f"#{case.pair.chosen_k} " in page.words
    assert "chosen, as it was written" in page.words
    assert " ".join(case.pair.prompt.split()) in page.words


def test_the_chosen_is_there_before_and_after_refinement(case: Case, tmp_path: Path) -> None:
    words = page_of(case, tmp_path).words
    pair = case.pair
    assert f"{pair.chosen_score:.3f} → {pair.refined_score:.3f}" in words
    assert f"Localization {pair.chosen_localization:.3f} → {pair.refined_localization:.3f}" in words
    assert f"Margin{pair.margin:.3f}" in words


def test_every_box_in_the_picture_has_its_words_and_the_other_way_round(case: Case) -> None:
    html = render_case(case, "a run", ALONE).partition("<script>")[0]
    keys = set(re.findall(r'data-box="([^"]+)"', html))
    drawn = set(re.findall(r'<g[^>]*class="mark (?:written|found|truth)" data-box="([^"]+)"', html))
    told = set(re.findall(r'<span class="[^"]*" data-box="([^"]+)"', html))
    assert keys == drawn == told
    found = sum(len(row.detections) for row in case.candidates)
    written = sum(len(row.mentions) for row in case.candidates) + case.pair.refined
    assert len(keys) == found + written + len(case.truth)


def test_model_text_stays_text(tmp_path: Path) -> None:
    cases = Cases(read_run(write_run(tmp_path, photos=3, text=NASTY)))
    case = cases.of(cases.pairs[0])
    rows = [replace(row, detections=(Detection(NASTY, (5, 5, 50, 50), 0.5),)) for row in case.candidates]
    nasty = replace(case, pair=replace(case.pair, pair_id=f"a{NASTY}", prompt=NASTY), candidates=tuple(rows))
    page = page_of(nasty, tmp_path / "page")
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.words.count(" ".join(NASTY.split())) >= len(rows)


def test_only_the_pages_own_script_may_run(case: Case) -> None:
    html = render_case(case, "a run", ALONE)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[A-Za-z0-9+/=]+'", policy[1]
    )


def test_a_page_says_when_the_scores_or_the_photo_are_gone(case: Case, tmp_path: Path) -> None:
    assert "no longer holds the scores" in page_of(replace(case, candidates=()), tmp_path / "a").words
    lost = replace(case, pair=replace(case.pair, path="gone.jpg"))
    assert "No picture: image_missing" in page_of(lost, tmp_path / "b").words


def test_a_run_without_a_detector_speaks_of_none(tmp_path: Path) -> None:
    cases = Cases(read_run(write_run(tmp_path, photos=3, detector=False)))
    page = page_of(cases.of(cases.pairs[0]), tmp_path / "page")
    assert ("class", "finds") not in page.attributes
    assert "localization strict" not in page.words
    assert "The annotations only preset ranked" in page.words


def test_under_unrefined_the_chosen_is_the_rejected_too(case: Case, tmp_path: Path) -> None:
    recipe = case.recipe.model_copy(update={"pairs": case.recipe.pairs.model_copy(update={"rejected": "unrefined"})})
    same = replace(case, recipe=recipe, pair=replace(case.pair, rejected_k=case.pair.chosen_k))
    assert "chosen; unrefined it is the rejected" in page_of(same, tmp_path).words


def test_boxes_that_a_detector_adds_to_the_ground_truth_are_told_apart(case: Case, tmp_path: Path) -> None:
    page = page_of(replace(case, added=((1.0, 2.0, 30.0, 40.0),)), tmp_path)
    assert f"{len(case.pair.objects)} annotated + 1 found" in page.words
    assert ("class", "truth added") in page.attributes


def test_what_a_detector_adds_is_found_from_its_detections(case: Case, run: Path) -> None:
    """The photo is 320 by 240 and no object reaches its first ten pixels, so a box there is new."""
    first, *rest = case.candidates
    rows = [
        replace(first, detections=(Detection("dot", (0.0, 0.0, 9.0, 9.0), 0.9),)),
        *(replace(r, detections=()) for r in rest),
    ]
    scored = replace(read_run(run), scores=rows)
    assert Cases(scored).of(case.pair).added == ((0.0, 0.0, 9.0, 9.0),)


def test_the_index_links_to_the_pages_and_they_to_it_and_to_each_other(tmp_path: Path) -> None:
    index = write_report(write_run(tmp_path, photos=4))
    links = re.findall(r'href="(pairs/[^"]+)"', index.read_text())
    pages = [index.parent / link for link in links]
    assert len(pages) == len(list((index.parent / "pairs").iterdir())) >= 3
    for i, page in enumerate(pages):
        html = page.read_text()
        assert (page.parent / "../index.html").resolve() == index.resolve()
        assert 'href="../index.html"' in html
        assert ('rel="prev"' in html, 'rel="next"' in html) == (i > 0, i < len(pages) - 1)
        assert i == 0 or f'href="{pages[i - 1].name}" rel="prev"' in html
        assert not re.search(r"https?:", html)


def test_pages_of_pairs_that_are_no_longer_drawn_go(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=3)
    write_report(run)
    (run / "report" / "pairs" / "old.html").write_text("")
    write_report(run)
    assert not (run / "report" / "pairs" / "old.html").exists()


@pytest.mark.parametrize("pattern", ["img/{}", "../../{}", "Bild {} ä", "CON:{}", "x" * 300 + "{}", 'a"b<{}>'])
def test_odd_ids_make_safe_pages_that_are_found(tmp_path: Path, pattern: str) -> None:
    index = write_report(write_run(tmp_path, photos=3, query_id=pattern))
    links = re.findall(r'href="(pairs/[^"]+)"', index.read_text())
    names = [page.name for page in (index.parent / "pairs").iterdir()]
    assert sorted(names) == sorted(link.removeprefix("pairs/") for link in links)
    assert all(re.fullmatch(r"[a-z0-9_~.-]{6,90}", name) for name in names)


def test_names_of_pages_are_plain_where_ids_are_and_never_the_same() -> None:
    assert page_name("139-0-pair") == "139-0-pair"
    ids = ["a/b", "a-b", "a:b", "A-B", "a b", "", ".", "..", "a" * 81, "a" * 80, "ü"]
    names = [page_name(one) for one in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert not any(name.startswith(".") or "/" in name for name in names)


def test_neighbours_end_at_the_ends() -> None:
    assert neighbours(["a", "b", "c"], 1, "i") == Links("i", "a", "c", "2 of 3")
    assert neighbours(["a"], 0, "i") == Links("i", None, None, "1 of 1")


def test_letters_go_on_after_z() -> None:
    assert [letter(i) for i in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


def test_large_boxes_lie_below_small_ones(case: Case, tmp_path: Path) -> None:
    small, large = Mention("s", (20, 20, 30, 30), "ok", "", (0, 1)), Mention("l", (10, 10, 90, 90), "ok", "", (1, 2))
    svg = draw_case(case, [Layer("c9", "nine", "other", [small, large])], case.recipe.source.image_root)
    assert svg.index('written" data-box="c9-2"') < svg.index('written" data-box="c9-1"')


def test_pieces_join_to_the_text_and_tie_words_to_their_box() -> None:
    text = "A cup [1, 2, 3, 4] and a cup [9, 9, 1, 1], a bowl [5, 5, 8, 9]. End"
    found = list(pieces(text, Bracket().parse(text, (20, 20))))
    assert "".join(piece.words + piece.markup for piece in found) == text
    assert [(piece.words, piece.number) for piece in found if piece.mention] == [
        ("A cup ", 1),
        ("and a cup ", 0),
        ("a bowl ", 2),
    ]


def test_a_mention_bears_its_best_overlap() -> None:
    text = "a cup [0, 0, 10, 10]"
    marked = str(link_mentions(text, Bracket().parse(text, (20, 20)), "c0", [((0, 0, 10, 5), "cup")]))
    assert marked == (
        '<span class="mention" data-box="c0-1" tabindex="0">a cup <span class="box"><b>1</b>[0, 0, 10, 10]</span>'
        '<i class="fit" title="IoU 0.50 with cup">0.50</i></span>'
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\nb"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\rb\tc\x9b", "a\\x0db\\x09c\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("größe 大", "größe 大"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_all_terms_are_in_the_table(case: Case, tmp_path: Path) -> None:
    words: Sequence[str] = page_of(case, tmp_path).words.partition("Every score term")[2]
    for name in ("semantic crop", "localization strict", "localization annotations only", "reward f1 hungarian", "composite"):
        assert name in words
