"""What all tasks have in common: how an item becomes a question."""

from __future__ import annotations

import pytest

from spr.evaluation.region_description import RegionDescription
from spr.items import CaptionItem
from spr.models import dialects

FERRET = dialects.get("ferret")


def region(width: int, height: int) -> CaptionItem:
    return CaptionItem("1", "1.jpg", width, height, (0, 0, 10, 10), ("a cup",))


@pytest.mark.parametrize("size", [(0, 0), (0, 48), (64, 0)])
def test_nobody_is_asked_about_a_photo_without_a_size(size: tuple[int, int]) -> None:
    """The dialect could not: it writes a region as a part of the photo's sides."""
    with pytest.raises(ZeroDivisionError):
        RegionDescription().prompt(region(*size), FERRET)
    question = RegionDescription().ask(region(*size), FERRET)
    assert (question.prompt, question.size) == ("", size)
    assert RegionDescription().ask(region(64, 48), FERRET).prompt == RegionDescription().prompt(region(64, 48), FERRET) != ""
