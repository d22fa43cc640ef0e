"""What a detector is asked for: marked phrases, else noun chunks, else sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from spr.errors import ModelError
from spr.records import Mention
from spr.rewards.phrases import load_noun_chunks, phrases_of

SENTENCES = [
    ("the red dog runs", "DET ADJ NOUN VERB", "det amod nsubj ROOT", (2, 2, 3, 3)),
    ("a cat sleeps", "DET NOUN VERB", "det nsubj ROOT", (1, 2, 2)),
    ("a red cat sees the dog", "DET ADJ NOUN VERB DET NOUN", "det amod nsubj ROOT det dobj", (2, 2, 3, 3, 5, 3)),
    ("the dog sees a red dog", "DET NOUN VERB DET ADJ NOUN", "det nsubj ROOT det amod dobj", (1, 2, 2, 5, 5, 2)),
]


def mention(phrase: str | None, box: bool = True) -> Mention:
    return Mention(phrase, (0.0, 0.0, 1.0, 1.0) if box else None, "ok" if box else "unreadable", "", (0, 1))


def test_the_models_own_marked_phrases_come_first_in_reading_order() -> None:
    found = [mention("a dog"), mention(None), mention(" a cat ", box=False), mention("")]
    assert phrases_of(found, "a dog, it and a cat") == ["a dog", "a cat"]


def test_without_marked_phrases_the_sentences_are_asked_for() -> None:
    assert phrases_of([mention(None)], "A dog runs. Is it red?\nYes") == ["A dog runs.", "Is it red?", "Yes"]
    assert phrases_of([], " \n ") == []


def test_noun_chunks_stand_before_sentences_where_there_are_any() -> None:
    assert phrases_of([], "the dog runs", lambda words: ["the dog"]) == ["the dog"]
    assert phrases_of([], "run!", lambda words: []) == ["run!"]
    assert phrases_of([mention("a cat")], "the dog", lambda words: ["the dog"]) == ["a cat"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline with a parser and parts of speech, trained on four sentences."""
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc
    from spacy.training import Example

    nlp = spacy.blank("en")
    nlp.add_pipe("morphologizer")
    nlp.add_pipe("parser", config={"min_action_freq": 1})
    examples = []
    for text, pos, deps, heads in SENTENCES:
        words = text.split()
        given = Doc(nlp.vocab, words=words, pos=pos.split(), heads=list(heads), deps=deps.split())
        examples.append(Example(nlp.make_doc(text), given))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    path = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(path)
    return path


def test_a_spacy_pipeline_finds_noun_chunks(pipeline: Path) -> None:
    assert load_noun_chunks(str(pipeline))("the red dog sees a cat") == ["the red dog", "a cat"]


def test_a_pipeline_that_is_missing_or_parses_nothing_is_one_sentence(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ModelError, match="no dependency parser"):
        load_noun_chunks(str(tmp_path / "blank"))
    with pytest.raises(ModelError, match="noun_chunks nowhere cannot be loaded"):
        load_noun_chunks("nowhere")
