"""MDETR's annotation files: an image entry a text, and annotations that belong to it or to the spans of its phrases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spr.errors import DataError
from spr.items import CaptionItem, Phrase, RecItem, SentenceItem
from spr.sources.expressions import read_captions, read_rec
from spr.sources.flickr30k import read_sentences

Content = dict[str, Any]


def expressions(**changes: Any) -> Content:
    """Two expressions about one object, as finetune_refcoco_val.json holds them."""
    images = [
        {"file_name": "COCO_train2014_000000000009.jpg", "height": 480, "width": 640, "id": n, "original_id": 9}
        | {"caption": caption, "dataset_name": "refcoco", "tokens_negative": [[0, 4]]}
        for n, caption in enumerate(("left bowl", "the bowl with broccoli"), start=60)
    ]
    annotations = [
        {
            "area": 200.0,
            "iscrowd": 0,
            "image_id": n,
            "category_id": 51,
            "id": n,
            "bbox": [10.5, 20, 30, 40],
            "original_id": 1038967,
        }
        | {"tokens_positive": [[0, 4]]}
        for n in (60, 61)
    ]
    categories = [{"supercategory": "kitchen", "id": 51, "name": "bowl"}]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories, **changes}


def sentences(**changes: Any) -> Content:
    """Two sentences about one photo, as final_flickr_separateGT_val.json holds them: sizes are texts.

    "A man and a woman hold hands": the woman has one box, the man two, and one box both of them have; hands has none.
    """
    caption = "A man and a woman hold hands"
    first = {"file_name": "36979.jpg", "height": "375", "width": "500", "id": 0, "caption": caption, "dataset_name": "flickr"}
    first |= {
        "tokens_negative": [[0, 28]],
        "sentence_id": 0,
        "original_img_id": 36979,
        "tokens_positive_eval": [[[0, 5]], [[10, 17]]],
    }
    second = first | {"id": 1, "caption": "Outside .", "sentence_id": 1, "tokens_positive_eval": []}
    boxes = [([1, 2, 30, 40], [[0, 5]]), ([5, 6, 70, 80], [[0, 5], [10, 17]]), ([9, 9, 10, 10], [[10, 17]])]
    annotations = [
        {"area": 1, "iscrowd": 0, "image_id": 0, "category_id": 1, "id": n, "bbox": box, "tokens_positive": spans}
        for n, (box, spans) in enumerate(boxes)
    ]
    return {"info": [], "images": [first, second], "annotations": annotations, "categories": [], **changes}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    for name in ("COCO_train2014_000000000009.jpg", "36979.jpg"):
        (tmp_path / name).touch()

    def reading(content: Any, how: Any = read_rec, name: str = "x.json", limit: int | None = None) -> Any:
        (tmp_path / name).write_text(json.dumps(content))
        return how(tmp_path / name, tmp_path, limit)

    return reading


def test_an_image_entry_is_an_expression(read: Callable[..., Any]) -> None:
    path, box = "COCO_train2014_000000000009.jpg", (10.5, 20, 40.5, 60)
    assert read(expressions()).items == (
        RecItem("60", path, 640, 480, "left bowl", box, "bowl"),
        RecItem("61", path, 640, 480, "the bowl with broccoli", box, "bowl"),
    )


def test_cocos_annotation_is_the_region(read: Callable[..., Any]) -> None:
    (item,) = read(expressions(), read_captions).items
    references = ("left bowl", "the bowl with broccoli")
    path, box = "COCO_train2014_000000000009.jpg", (10.5, 20, 40.5, 60)
    assert item == CaptionItem("1038967", path, 640, 480, box, references, "bowl")


def test_without_it_image_and_box_are_the_region(read: Callable[..., Any]) -> None:
    content = expressions()
    for annotation in content["annotations"]:
        del annotation["original_id"]
    assert [item.references for item in read(content, read_captions).items] == [("left bowl", "the bowl with broccoli")]
    content["annotations"][1]["bbox"] = [10.5, 20, 30, 41]
    assert [len(item.references) for item in read(content, read_captions).items] == [1, 1]


def test_without_categories_there_is_none(read: Callable[..., Any]) -> None:
    content = expressions()
    del content["categories"]
    assert [item.category for item in read(content).items] == ["", ""]


@pytest.mark.parametrize(
    ("name", "official"), [("finetune_refcoco+_testA", 5726), ("finetune_refcocog_test", 9602), ("finetune_refcoco_val", 10834)]
)
def test_the_count_is_held_to_the_official_one(read: Callable[..., Any], name: str, official: int) -> None:
    assert f"holds 2 expressions; the official split has {official}" in read(expressions(), name=f"{name}.json").notes[1]


def changed(content: Content, key: str, place: int, **changes: Any) -> Content:
    content[key][place] |= changes
    return content


def sentence(read: Callable[..., Any], content: Any, how: Any = read_rec) -> str:
    with pytest.raises(DataError) as caught:
        read(content, how)
    assert "\n" not in str(caught.value)
    assert "x.json" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(expressions(), "annotations", 1, image_id=60), "annotations[1] has image_id 60, but images[1] has id 61"),
        (changed(expressions(), "images", 1, id=60), "images[0] and images[1] have the same id 60"),
        (expressions(annotations=expressions()["annotations"][:1]), "2 images and 1 annotations; it must have one for each"),
        (changed(expressions(), "annotations", 1, category_id=7), "annotations[1] has category_id 7, which is none of"),
        (changed(expressions(), "annotations", 0, bbox=[0, 0, 5, 0]), "annotations[0] has bbox [0, 0, 5, 0]; it must be"),
        (
            changed(expressions(), "annotations", 0, bbox=[0, 480, 5, 5]),
            "annotations[0] has the box (0, 480, 5, 485), which lies",
        ),
        (changed(expressions(), "images", 1, caption=None), "images[1] has caption None; it must be a text"),
        (changed(expressions(), "images", 1, width="640"), "images[1] has width '640'"),
        (changed(expressions(), "images", 0, file_name="../a.jpg"), "an image is refused, image_outside_root"),
        (expressions(annotations={}), "has annotations {}; it must be a list, not empty"),
        (expressions(images=[expressions()["images"][0], 5]), "images[1] is no object: 5"),
        (expressions(annotations=[5, 5]), "annotations[0] is no object: 5"),
        (expressions(categories=[{"id": 51}]), "categories[0] has name None"),
        (expressions(categories=[None]), "categories[0] is no object: None"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_place(read: Callable[..., Any], content: Content, said: str) -> None:
    assert said in sentence(read, content)


def test_phrases_are_linked_to_boxes_by_their_spans(read: Callable[..., Any]) -> None:
    found = read(sentences(), read_sentences)
    man = Phrase("A man", ((1, 2, 31, 42), (5, 6, 75, 86)))
    woman = Phrase("a woman", ((5, 6, 75, 86), (9, 9, 19, 19)))
    assert found.items == (SentenceItem("36979-0", "36979.jpg", 500, 375, "A man and a woman hold hands", (man, woman)),)
    assert found.notes == (
        "x.json: read as MDETR's annotations, an image entry a sentence",
        "x.json: 1 of 2 sentences have no phrase with a box, no items",
    )


def test_a_phrase_of_two_spans_has_a_box_that_belongs_to_both_once(read: Callable[..., Any]) -> None:
    """`A man ... hold` is one phrase, and the second box belongs to both of its parts."""
    content = changed(sentences(), "images", 0, tokens_positive_eval=[[[0, 5], [18, 22]]])
    content["annotations"][1]["tokens_positive"] = [[0, 5], [18, 22]]
    (item,) = read(content, read_sentences).items
    assert item.phrases == (Phrase("A man hold", ((1, 2, 31, 42), (5, 6, 75, 86))),)


def test_the_same_words_twice_stay_two_phrases(read: Callable[..., Any]) -> None:
    content = changed(
        sentences(), "images", 0, caption="a man and a man hold hands", tokens_positive_eval=[[[0, 5]], [[10, 15]]]
    )
    content["annotations"][1]["tokens_positive"] = content["annotations"][2]["tokens_positive"] = [[10, 15]]
    (item,) = read(content, read_sentences).items
    assert [(phrase.phrase, len(phrase.boxes)) for phrase in item.phrases] == [("a man", 1), ("a man", 2)]


def test_sizes_may_be_numbers_too(read: Callable[..., Any]) -> None:
    assert read(changed(sentences(), "images", 0, width=500), read_sentences).items[0].size == (500, 375)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(sentences(), "images", 0, width="5e2"), "images[0] has width '5e2'; it must be the image's width in pixels"),
        (changed(sentences(), "images", 0, height="-375"), "images[0] has height '-375'"),
        (changed(sentences(), "images", 1, id=0), "images[0] and images[1] have the same id 0"),
        (
            changed(sentences(), "images", 0, tokens_positive_eval=[[[0, 99]]]),
            "in tokens_positive_eval [[0, 99]]; it must be spans",
        ),
        (changed(sentences(), "images", 0, tokens_positive_eval=[[[5, 0]]]), "in tokens_positive_eval [[5, 0]]"),
        (changed(sentences(), "images", 0, tokens_positive_eval=[[0, 5]]), "in tokens_positive_eval [0, 5]"),
        (changed(sentences(), "images", 0, tokens_positive_eval="x"), "tokens_positive_eval 'x'; it must be a list"),
        (changed(sentences(), "images", 0, tokens_positive_eval=[[[23, 28]]]), "the phrase 'hands' at [[23, 28]], to which no"),
        (changed(sentences(), "annotations", 2, image_id=9), "annotations[2] has image_id 9, which none of the images has"),
        (changed(sentences(), "annotations", 2, tokens_positive=None), "annotations[2] has tokens_positive None"),
        (
            changed(sentences(), "annotations", 2, bbox=[500, 0, 5, 5]),
            "annotations[2] has the box (500, 0, 505, 5), which lies",
        ),
        (changed(sentences(), "images", 1, sentence_id=None), "images[1] has sentence_id None; it must be an id"),
        (expressions(), "holds no sentences with tokens_positive_eval; name MDETR's final_flickr"),
        ([], "holds no sentences with tokens_positive_eval"),
    ],
)
def test_a_bad_sentence_is_refused_with_its_place(read: Callable[..., Any], content: Any, said: str) -> None:
    assert said in sentence(read, content, read_sentences)


def test_a_split_of_a_file_has_no_meaning(read: Callable[..., Any], tmp_path: Path) -> None:
    read(sentences(), read_sentences)
    with pytest.raises(DataError, match="for which split 'val' has no meaning"):
        read_sentences(tmp_path / "x.json", tmp_path, split="val")
