"""What `benchmarks.training` trains on: random models of LLaVA-OneVision's build, and batches of random pairs.

Images are drawn as the model takes them, so that their tokens count exactly 729 and 2,900. Not here: what is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from spr.training.sharing import Group, Layout, Span

PATCH = 14
TEXT, ANSWER = 100, 150
"""Tokens of a question besides its image, and of an answer."""
IMAGE_TOKEN = 3


@dataclass(frozen=True, slots=True)
class View:
    """How an image is cut: tiles of `side` x `side` patches, `rows` x `columns` of them and one of the whole image, and its
    (height, width) in pixels, of which the padding of the tiles gives no tokens."""

    tokens: int
    side: int
    rows: int
    columns: int
    size: tuple[int, int]

    @property
    def tiles(self) -> int:
        """Images that the tower sees."""
        return self.rows * self.columns + 1


VIEWS = {
    729: View(729, 9, 3, 3, (27 * PATCH, 23 * PATCH)),  # 9 x 9 + 27 x (23 + 1)
    2900: View(2900, 25, 1, 4, (25 * PATCH, 90 * PATCH)),  # 25 x 25 + 25 x (90 + 1)
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a language model and a vision tower, and the adapter's rank."""

    vocabulary: int
    text: dict[str, int]
    vision: dict[str, int]
    rank: int


SMALL = Shape(
    vocabulary=8192,
    text={
        "hidden_size": 768,
        "intermediate_size": 2304,
        "num_hidden_layers": 3,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
    },
    vision={"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4},
    rank=32,
)
"""21 million parameters besides the embeddings; wide and flat, as attention weighs little in a 7B model too."""
LARGE = Shape(
    vocabulary=152064,
    text={
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    vision={"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16},
    rank=128,
)
"""LLaVA-OneVision 7B: Qwen2 7B and SigLIP so400m."""


def build_model(shape: Shape, view: View, device: str, dtype: torch.dtype) -> LlavaOnevisionForConditionalGeneration:
    """A model of random weights, the same at every call."""
    side = view.side * PATCH
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**shape.vision, image_size=side, patch_size=PATCH, vision_use_head=False),
        text_config=Qwen2Config(vocab_size=shape.vocabulary, max_position_embeddings=8192, **shape.text),
        image_token_index=IMAGE_TOKEN,
        video_token_index=IMAGE_TOKEN + 1,
        image_grid_pinpoints=[[view.rows * side, view.columns * side]],
    )
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")


def build_processor() -> LlavaProcessor:
    """TRL asks for a processor; batches are made without it."""
    words = {"<unk>": 0, "<pad>": 1, "<eos>": 2, "<image>": IMAGE_TOKEN}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words_only = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    return LlavaProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=words_only, patch_size=PATCH)


def draw_batches(shape: Shape, view: View, pairs: int, regions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """`pairs` pairs, `regions` of them about each image, as stock TRL and as our collators would have them: the same rows, with
    the images of all rows, and with each image once."""
    generator = torch.Generator().manual_seed(view.tokens + pairs)
    length = view.tokens + TEXT + ANSWER
    ids = torch.randint(8, shape.vocabulary, (2 * pairs, length), generator=generator)
    ids[pairs:, : view.tokens + TEXT] = ids[:pairs, : view.tokens + TEXT]
    ids[:, : view.tokens] = IMAGE_TOKEN
    is_answer = torch.zeros_like(ids)
    is_answer[:, -ANSWER:] = 1
    side, images = view.side * PATCH, pairs // regions
    pixels = torch.randn(images, view.tiles, 3, side, side, generator=generator)
    sizes = torch.tensor([view.size] * images)
    of_rows = torch.arange(images).repeat_interleave(regions).repeat(2)
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": is_answer}
    groups = tuple(Group(tuple(range(at, at + regions)), view.tokens) for at in range(0, pairs, regions))
    layout = Layout((Span(view.tokens + TEXT, ANSWER, ANSWER),) * pairs, groups, dict.fromkeys(FIELDS, (1,) * images))
    stock = {**rows, "pixel_values": pixels[of_rows], "image_sizes": sizes[of_rows]}
    return stock, {**rows, "images": {"pixel_values": pixels, "image_sizes": sizes}, "layout": layout}


FIELDS = ("pixel_values", "image_sizes")


def tokens_of(batch: dict[str, Any]) -> int:
    """Tokens that the language model computes of a batch in one pass, as rows or as groups."""
    if "layout" not in batch:
        return int(batch["input_ids"].numel())
    return sum(group.width(batch["layout"].spans) for group in batch["layout"].groups)


def products(model: LlavaOnevisionForConditionalGeneration, tokens: int, tiles: int) -> tuple[float, float]:
    """Multiplications of one pass by weights: of the language model's layers over `tokens`, and of the tower and projector over
    `tiles`. Attention and the head are left out."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters() if weight.ndim > 1 and "lora_" not in name}
    seen = sum(size for name, size in sizes.items() if "vision_tower" in name or "projector" in name)
    said = sum(size for name, size in sizes.items() if "language_model.layers" in name)
    patches = (model.config.vision_config.image_size // PATCH) ** 2
    return float(tokens * said), float(tiles * patches * seen)
