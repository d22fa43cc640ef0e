"""What the rows of a batch have in common, and how they are packed so that it is computed once.

The two rows of a pair begin with one prompt, and prompts about one image begin with it. A group of pairs becomes one row,
`[what all begin with, (rest of the prompt, chosen, last prompt token again, rejected), ...]`: the repeated token gives the
rejected answer a first prediction of its own. Where each token came from and where each result goes are index maps, so
losses and metrics see the rows they always saw. Not here: who sees whom (`branching`), or the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from spr.running.progress import say
from spr.training import internals

Sharing = Literal["off", "pair", "tree"]
IGNORED = -100
"""The label of a token that no loss looks at."""
FAMILIES = frozenset(
    {"llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "cogvlm", "ferret"}
)
"""Families (`config.model_type`) whose language model attends causally at every layer, so that its rows can branch."""


def unshared(model: PreTrainedModel) -> str:
    """Why a model's answers cannot branch from one prompt, in words; empty where they can."""
    if other := internals.changed():
        return other
    family, text = model.config.model_type, model.config.get_text_config()
    attention = text._attn_implementation
    if family not in FAMILIES:
        return f"the attention of {family} is not known to be causal at every layer"
    if kind := _narrowed(text):
        return f"its {text.model_type} attends by {kind}, which does not branch"
    return "" if attention == "sdpa" else f"model.attention is {attention}, which cannot branch; sdpa can"


def _narrowed(text: PreTrainedConfig) -> str:
    """How a language model's layers see less than all of their past; empty where they see it all."""
    layers = getattr(text, "layer_types", None)
    if layers:
        return next((kind for kind in layers if kind != "full_attention"), "")
    sliding = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    return "sliding_window" if sliding else ""


def shared_as(model: PreTrainedModel, wanted: Sharing, batch: int) -> tuple[Sharing, str]:
    """How prompts are shared where `wanted` was asked for, and the same in words with the reason. A family that cannot branch
    shares nothing, and that is said, as it is that a `batch` of one pair has no second one to share with."""
    reason = unshared(model) if wanted != "off" else ""
    if not reason:
        if wanted == "tree" and batch == 1:
            say("train: prefix_sharing tree shares among the pairs of a batch, and batch_size is 1; raise it, or set pair")
        return wanted, wanted
    say(f"train: prefix_sharing is off instead of {wanted}: {reason}")
    return "off", f"off: {reason}"


@dataclass(frozen=True, slots=True)
class Span:
    """Lengths of a pair in tokens."""

    prompt: int
    chosen: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs of a batch, by their places in it, that show one image; their prompts begin with the same `prefix` tokens,
    the image's among them. The last token of a prompt is never part of it."""

    pairs: tuple[int, ...]
    prefix: int

    def blocks(self, spans: Sequence[Span]) -> Iterator[tuple[int, int, Span]]:
        """(pair, place of its own first token in the packed row, its lengths)."""
        place = self.prefix
        for pair in self.pairs:
            yield pair, place, spans[pair]
            place += self.own(spans[pair])

    def own(self, span: Span) -> int:
        """Tokens that a pair adds to the prefix."""
        return span.prompt - self.prefix + span.chosen + 1 + span.rejected

    def width(self, spans: Sequence[Span]) -> int:
        """Tokens of the packed row."""
        return self.prefix + sum(self.own(spans[pair]) for pair in self.pairs)


@dataclass(frozen=True, slots=True)
class Layout:
    """The make-up of a batch of B pairs: their lengths, the groups that show one of G images each, in the order of the
    images, and how much of the first axis of each image field one image takes."""

    spans: tuple[Span, ...]
    groups: tuple[Group, ...]
    sizes: Mapping[str, tuple[int, ...]]

    @property
    def image_of(self) -> list[int]:
        """The image of each pair."""
        images = {pair: place for place, group in enumerate(self.groups) for pair in group.pairs}
        return [images[pair] for pair in range(len(self.spans))]

    @property
    def width(self) -> int:
        """Tokens of the longest packed row."""
        return max(group.width(self.spans) for group in self.groups)

    def by_pair(self) -> Layout:
        """The same batch with every pair packed alone."""
        alone = tuple(Group((pair,), span.prompt - 1) for pair, span in enumerate(self.spans))
        return replace(self, groups=alone)

    def sources(self, length: int) -> Tensor:
        """(groups, width): from which place of the unpacked rows (2B, `length`), counted through, a packed token comes.
        Packed rows are filled up with the last token of their last answer."""
        shift, rows = len(self.spans) * length, []
        for group in self.groups:
            row = [torch.arange(group.prefix) + group.pairs[0] * length]
            for pair, _, span in group.blocks(self.spans):
                start = pair * length
                row.append(torch.arange(start + group.prefix, start + span.prompt + span.chosen))
                row.append(torch.arange(start + span.prompt - 1, start + span.prompt + span.rejected) + shift)
            tokens = torch.cat(row)
            rows.append(torch.cat([tokens, tokens[-1:].expand(self.width - len(tokens))]))
        return torch.stack(rows)

    def predictions(self) -> Tensor:
        """Places in the packed rows, counted through, that predict the tokens of the answers: of all chosen ones in the order
        of the pairs, then of all rejected ones."""
        chosen, rejected = {}, {}
        for row, group in enumerate(self.groups):
            for pair, start, span in group.blocks(self.spans):
                last = row * self.width + start + span.prompt - group.prefix - 1
                again = last + span.chosen + 1
                chosen[pair] = torch.arange(last, last + span.chosen)
                rejected[pair] = torch.arange(again, again + span.rejected)
        return torch.cat([side[pair] for side in (chosen, rejected) for pair in range(len(self.spans))])


def groups(
    prompts: Sequence[Tensor], images: Sequence[str], image_token: int | None, region_token: int | None = None
) -> tuple[Group, ...]:
    """Group pairs by image where their prompts (length,) begin alike up to the image's last token; in the order of first pairs.

    `image_token` marks the places of images; without one every pair stands alone. What several pairs share ends before a
    `region_token` (Ferret), as every pair brings the features of its own regions.
    """
    found: list[list[int]] = []
    shared: list[int] = []
    for pair, prompt in enumerate(prompts):
        for place, members in enumerate(found):
            if images[members[0]] != images[pair] or image_token is None:
                continue
            common = min(shared[place], _common(prompts[members[0]], prompt, region_token))
            if common > _last(prompt, image_token):
                members.append(pair)
                shared[place] = common
                break
        else:
            found.append([pair])
            shared.append(len(prompt) - 1)
    return tuple(Group(tuple(members), prefix) for members, prefix in zip(found, shared, strict=True))


def _common(a: Tensor, b: Tensor, until: int | None) -> int:
    """How many tokens two prompts begin with alike, their own last ones left out, and what comes from a token `until` on."""
    most = min(len(a), len(b)) - 1
    ends = a[:most] != b[:most] if until is None else (a[:most] != b[:most]) | (a[:most] == until)
    return int(ends.nonzero()[0]) if ends.any() else most


def _last(prompt: Tensor, token: int) -> int:
    return int((prompt == token).nonzero()[-1])
