from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from synthetic_metrics import make_metrics
from synthetic_run import ALL, write_run

from spr.report import charts, write_figures, write_report

VOID = {"meta", "link", "br", "img", "input", "hr"}
NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" "


class Page(HTMLParser):
    """Tags, attributes, text and <data> values of a page; fails on tags that do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.values: list[tuple[float, str]] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "data":
            self.values.append((float(dict(attrs)["value"] or "nan"), ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data
        if self._open and self._open[-1] == "data":
            self.values[-1] = (self.values[-1][0], data)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("full")))


def test_a_full_run_has_every_section_and_a_dozen_pairs(full: Path) -> None:
    page = Page(full)
    for title in (
        "Result",
        "Region descriptions",
        "From images to pairs",
        "Scores",
        "Pairs",
        "Lengths",
        "Training",
        "The run",
    ):
        assert title in page.words
    assert page.attributes.count(("class", "pair")) == 12
    assert page.attributes.count(("class", "photo")) == 12
    assert "Likelihood displacement" in page.words
    assert "evaluated yet" not in page.words


def test_the_page_weighs_less_than_5_mb(full: Path) -> None:
    assert full.stat().st_size < 5_000_000


def test_every_number_of_the_metrics_is_on_the_page(full: Path) -> None:
    page = Page(full)
    values = {value for value, _ in page.values}
    for task in make_metrics()["tasks"].values():
        assert f"{task['n']:,}" in page.words
        assert set(_numbers(task["base"], "ci95")) | set(_numbers(task["tuned"], "ci95")) <= values
        assert set(_numbers(task["delta"])) <= values


def test_what_is_read_is_what_is_stated(full: Path) -> None:
    for value, shown in Page(full).values:
        digits = len(shown.partition(".")[2])
        assert digits >= 1
        assert float(shown.replace("\N{MINUS SIGN}", "-")) == pytest.approx(value, abs=0.51 * 10**-digits)


def test_the_funnel_states_reasons_and_counts(full: Path) -> None:
    words = Page(full).words
    assert "46 in = 44 went on + 2 dropped: image missing 2" in words
    assert "44 in = 40 went on + 4 dropped: too few objects 4" in words
    assert "40 regions → 200 descriptions" in words
    assert "40 in = 39 went on + 1 dropped: too long 1" in words
    assert "Left out for want of an answer: image missing 4." in words


def test_the_corners_are_drawn_as_written_beside_the_annotated(full: Path) -> None:
    writing = json.loads((full.parents[1] / "metrics.json").read_text())["writing"]
    assert writing["written"] != writing["annotated"]
    assert charts.corners(writing["written"], writing["annotated"], "Corners of the boxes") in full.read_text()


def test_the_share_of_boxes_that_meet_objects_is_told_with_that_of_other_readings(full: Path) -> None:
    # The synthetic texts are Ferret's, which counts like five others; two count to 999.
    meeting = json.loads((full.parents[1] / "metrics.json").read_text())["writing"]["meeting"]
    words = Page(full).words
    shares = [f"{100 * share:.1f} %" for share in (meeting["share"], *meeting["others"].values())]
    assert f"Of {meeting['boxes']:,} boxes in 200 texts, {shares[0]} meet an annotated object of their region" in words
    assert words.count("read as") == 1
    for name, share in zip(meeting["others"], shares[1:], strict=True):
        assert f"as {name} {share}" in words


def test_nothing_is_loaded_from_anywhere(full: Path) -> None:
    html = full.read_text(encoding="utf-8")
    assert not re.search(r"https?:", html)
    for name, value in Page(full).attributes:
        if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert value.startswith(("data:", "#", "pairs/", "gallery/"))
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, photos=6) for name in ("a", "b")]
    pages = [write_report(run).read_bytes().replace(str(run.parent).encode(), b"ROOT") for run in runs]
    assert pages[0] == pages[1]
    assert write_report(runs[0]).read_bytes() == write_report(runs[0]).read_bytes()


def test_markup_in_a_models_text_stays_text(tmp_path: Path) -> None:
    page = Page(write_report(write_run(tmp_path, photos=6, text=NASTY)))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert " ".join(NASTY.split()) in page.words


@pytest.mark.parametrize("count", range(len(ALL)))
def test_a_run_on_its_way_says_what_is_missing(tmp_path: Path, count: int) -> None:
    words = Page(write_report(write_run(tmp_path, photos=4, parts=ALL[:count]))).words
    missing = [
        "No stage has a finished shard yet",
        "",
        "No description is scored yet",
        "Pairs are not made yet",
        "Not trained yet",
        "",
    ]
    assert missing[count] in words
    assert "Nothing is evaluated yet" in words


def test_no_pairs_at_all(tmp_path: Path) -> None:
    words = Page(write_report(write_run(tmp_path, photos=3, kept_pairs=False, parts=ALL[:4]))).words
    assert "No pair was made; the funnel above says why" in words
    assert "3 in = 0 went on + 3 dropped: margin too small 3" in words
    assert "Lengths" not in words


def test_an_evaluation_without_items(tmp_path: Path) -> None:
    words = Page(write_report(write_run(tmp_path, photos=3, metrics=_empty()))).words
    assert "Referring expressions: the evaluation holds no item." in words
    assert "Region descriptions: the evaluation holds no item." in words
    assert not re.search(r"(?<![a-z])nan(?![a-z])", words)


def test_the_base_alone(tmp_path: Path) -> None:
    metrics = make_metrics()
    for task in metrics["tasks"].values():
        del task["tuned"], task["delta"]
        task["subset_of"] = 10834
    words = Page(write_report(write_run(tmp_path, photos=3, metrics=metrics))).words
    assert "The base model answered 3,120 expressions, a subset of 10,834." in words
    assert "tuned" not in words.partition("From images to pairs")[0]


def test_a_fall_is_called_a_fall(tmp_path: Path) -> None:
    metrics = make_metrics()
    delta = metrics["tasks"]["rec"]["delta"]
    delta["acc"]["0.9"], delta["ci95"]["0.9"] = -1.2, [-2.0, -0.4]
    page = Page(write_report(write_run(tmp_path, photos=3, metrics=metrics)))
    assert "a fall beyond the 95 % interval" in page.words
    assert ("class", "down") in page.attributes


def test_a_photo_that_is_gone_leaves_the_pair_readable(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=3)
    (tmp_path / "photos" / "img-001.jpg").unlink()
    words = Page(write_report(run)).words
    assert "No picture: image_missing" in words
    assert words.count("Rejected") >= 3


def test_figures_are_files_of_their_own(tmp_path: Path) -> None:
    figures = write_figures(write_run(tmp_path, photos=3), tmp_path / "figures")
    assert [figure.name for figure in figures] == ["accuracy.svg", "gain.svg", "pair.svg"]
    assert all(figure.read_text().startswith("<svg") for figure in figures)


def _numbers(values: dict[str, Any], *without: str) -> list[float]:
    found: list[float] = []
    for key, value in values.items():
        if key in without:
            continue
        found += _numbers(value) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return found


def _empty() -> dict[str, Any]:
    """metrics.json of an evaluation over no items: n 0, everything else NaN."""

    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: blank(inner) for key, inner in value.items()}
        return [float("nan")] * 2 if isinstance(value, list) else float("nan")

    metrics = make_metrics()
    metrics["tasks"] = {name: {**blank(task), "n": 0} for name, task in metrics["tasks"].items()}
    return metrics
