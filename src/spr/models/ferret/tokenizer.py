"""Vicuna's tokenizer as Ferret was trained with it: every stretch of text between marks is cut as a text of its own.

SentencePiece puts a blank before each text it is given. The authors give it what stands before and after `<image>`, and
their tokenizer (of transformers 4.31, slow and legacy) what stands around `<region_fea>`, without the blanks next to it. Here
the tokenizer's own rules do that, so that the same tokens come from wherever a text is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from spr.errors import ModelError
from spr.models.ferret.regions import REGION_TOKEN
from spr.models.published import check_words

IMAGE_TOKEN = "<image>"
_BOS, _EOS, _UNKNOWN = "<s>", "</s>", "<unk>"
_CONTEXT = 2048


def published_tokenizer(folder: Path, words: int) -> PreTrainedTokenizerFast:
    """Ferret's tokenizer from the Llama tokenizer in `folder`, which has so many words before `<region_fea>`. Raises
    ModelError where it has not, or cannot be read."""
    check_words(folder)
    try:
        read = LlamaTokenizer.from_pretrained(folder)
        vocabulary, merges = read.get_vocab(), read._merges
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: no tokenizer can be read: {' '.join(str(error).split())[:300]}") from error
    own = {word: number for word, number in vocabulary.items() if word not in (REGION_TOKEN, IMAGE_TOKEN)}
    if len(own) != words or vocabulary.get(REGION_TOKEN, words) != words or not merges:
        raise ModelError(
            f"{folder}: its tokenizer has {len(own):,} words, and the weights {words:,}; put Vicuna's tokenizer.model there"
        )
    return ferret_tokenizer(own, merges)


def ferret_tokenizer(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """A tokenizer of byte-fallback BPE words and merges, with `<region_fea>` and `<image>` after the last word."""
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges), unk_token=_UNKNOWN, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", pair=f"{_BOS} $A {_BOS} $B", special_tokens=[(_BOS, vocabulary[_BOS])]
    )
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in (_UNKNOWN, _BOS, _EOS)])
    tokenizer.add_special_tokens([AddedToken(REGION_TOKEN, normalized=False, special=True, lstrip=True, rstrip=True)])
    tokenizer.add_special_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_BOS,
        eos_token=_EOS,
        unk_token=_UNKNOWN,
        pad_token=_UNKNOWN,
        model_max_length=_CONTEXT,
        clean_up_tokenization_spaces=False,
    )
