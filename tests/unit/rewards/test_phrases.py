"""What a detector is asked for: marked phrases, else noun chunks, else sentences."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spr.errors import ModelError
from spr.records import Mention
from spr.rewards.phrases import load_noun_chunks, phrases_of, pipeline_identity


def mention(phrase: str | None, box: bool = True) -> Mention:
    return Mention(phrase, (0.0, 0.0, 1.0, 1.0) if box else None, "ok" if box else "unreadable", "", (0, 1))


def test_the_models_own_marked_phrases_come_first_in_reading_order() -> None:
    found = [mention("a dog"), mention(None), mention(" a cat ", box=False), mention("")]
    assert phrases_of(found, "a dog, it and a cat") == ["a dog", "a cat"]


def test_without_marked_phrases_the_sentences_are_asked_for() -> None:
    assert phrases_of([mention(None)], "A dog runs. Is it red?\nYes") == ["A dog runs.", "Is it red?", "Yes"]
    assert phrases_of([], "狗在跑。猫在睡。") == ["狗在跑。", "猫在睡。"]
    assert phrases_of([], " \n ") == []


def test_noun_chunks_stand_before_sentences_where_there_are_any() -> None:
    assert phrases_of([], "the dog runs", lambda words: ["the dog"]) == ["the dog"]
    assert phrases_of([], "run!", lambda words: []) == ["run!"]
    assert phrases_of([mention("a cat")], "the dog", lambda words: ["the dog"]) == ["a cat"]


def test_a_spacy_pipeline_finds_noun_chunks(pipeline: Path) -> None:
    assert load_noun_chunks(str(pipeline))("the red dog sees a cat") == ["the red dog", "a cat"]


def test_a_pipeline_that_is_missing_or_parses_nothing_is_one_sentence(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ModelError, match="no dependency parser"):
        load_noun_chunks(str(tmp_path / "blank"))
    with pytest.raises(ModelError, match="noun_chunks nowhere cannot be loaded"):
        load_noun_chunks("nowhere")


def test_a_language_without_noun_chunks_is_one_sentence(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    russian = spacy.blank("ru")
    russian.add_pipe("parser").add_label("nsubj")
    russian.initialize()
    russian.to_disk(tmp_path / "russian")
    with pytest.raises(ModelError, match="for the language ru, of which spaCy knows no noun chunks"):
        load_noun_chunks(str(tmp_path / "russian"))


def test_a_pipeline_is_known_by_its_files_and_not_by_their_place(pipeline: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(pipeline, moved)
    assert pipeline_identity(str(moved)) == pipeline_identity(str(pipeline))
    (moved / "meta.json").write_text("{}")
    assert pipeline_identity(str(moved)) != pipeline_identity(str(pipeline))
    assert pipeline_identity("en_core_web_zz").startswith("en_core_web_zz@missing spacy@3.")
