"""The arithmetic of generation and of training: bytes and seconds from a model's shape and a device's speed.

Pure functions of their arguments. Every constant is an assumption, and docs/plan.md states it in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from spr.models.shapes import Shape
from spr.pipeline.estimates.device import Speed

NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
NF4 = 4.5 / 8
"""Bytes of a weight in 4 bits, with a float32 scale for every 64 of them."""
LIBRARIES = 600 * 2**20
"""Bytes of Python and its libraries on a CPU, of CUDA's own on a GPU."""
USE_OF_PRODUCTS = 0.5
"""Share of the measured FLOP/s that a model's own products reach."""
LONGEST = 1.5
"""The longest answer of a batch, as a multiple of the mean: the batch is written until it ends."""
CALLS = 80
"""Waits of a small operation that a layer costs each token step: some forty operations, and Python between them."""
DRAW = 4
"""Small operations a sampled row and step."""
FUSED_COLUMNS = 32768
"""Columns of the vocabulary that the training head holds at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of questions: `rows` answers of `answer` tokens in the mean and `most` at most. `encoded` tokens of prompts
    are read, shared beginnings once, from `patches` patches of images; the longest single prompt has `longest` tokens."""

    rows: int
    encoded: int
    longest: int
    patches: int
    answer: float
    most: int
    sampled: bool


@dataclass(frozen=True, slots=True)
class Pairs:
    """One step of training: `rows` pairs of `prompt` + two answers of `answer` tokens; `shared`: the prompt is computed
    once for both. `sft`: the chosen answer alone. What moves is an adapter of `rank`, on 4-bit weights where these are
    `quantized`, or (`full`) the language model itself."""

    rows: int
    prompt: int
    answer: float
    patches: int
    rank: int
    shared: bool
    sft: bool
    checkpointed: bool
    full: bool = False
    quantized: bool = False

    @property
    def tokens(self) -> float:
        """Tokens that one pair brings into the language model."""
        if self.sft:
            return self.prompt + self.answer
        return self.prompt + 2 * self.answer if self.shared else 2 * (self.prompt + self.answer)

    def scored(self, fused: bool) -> float:
        """Tokens of one pair that the head sees: those whose probability is asked where it is `fused`, as on a GPU, or gets
        packed rows; otherwise all."""
        if self.sft:
            return self.answer if fused else self.tokens
        return 2 * self.answer if fused or self.shared else self.tokens


def weights(shape: Shape, dtype: str, quantized: bool) -> float:
    """Bytes of the weights; 4-bit quantization leaves the token tables as they are."""
    tables = (shape.language - shape.blocks) * NUMBER[dtype]
    rest = shape.blocks + shape.vision
    return tables + rest * (NF4 if quantized else NUMBER[dtype])


def adapter(shape: Shape, rank: int) -> int:
    """Parameters of a LoRA adapter on all linear layers of the language model."""
    return rank * shape.linear_width


def trained(shape: Shape, pairs: Pairs) -> int:
    """Parameters that move: those of the adapter, or of the language model."""
    return shape.language if pairs.full else adapter(shape, pairs.rank)


def moving(pairs: Pairs) -> int:
    """Bytes of a number of a parameter that moves, of its gradient and of AdamW's moments: TRL keeps an adapter on 4-bit
    weights in bfloat16, and everything else is in float32."""
    return NUMBER["bfloat16" if pairs.quantized else "float32"]


def held(shape: Shape, pairs: Pairs, dtype: str) -> float:
    """Bytes of the weights, and of what moves with its gradient and AdamW's two moments. Weights that are trained themselves
    are in float32, and so is the frozen rest of that model."""
    if pairs.full:
        return 4 * moving(pairs) * shape.language + NUMBER["float32"] * shape.vision
    return weights(shape, dtype, pairs.quantized) + 4 * moving(pairs) * adapter(shape, pairs.rank)


def cache(shape: Shape, dtype: str, tokens: float) -> float:
    """Bytes of the keys and values of so many tokens."""
    return tokens * shape.layers * shape.kv_width * NUMBER[dtype]


def generation_memory(shape: Shape, batch: Batch, dtype: str, quantized: bool) -> float:
    """Bytes at the peak: weights, the cache of full-length answers, one layer's activations over the prompts, the logits
    with their noise in float32, and the libraries."""
    activations = batch.encoded * (4 * shape.hidden + 3 * shape.inner) * NUMBER[dtype]
    logits = batch.rows * shape.vocabulary * 4 * 6
    held = cache(shape, dtype, batch.rows * (batch.longest + batch.most))
    return weights(shape, dtype, quantized) + held + activations + logits + LIBRARIES


def generation_seconds(shape: Shape, batch: Batch, dtype: str, quantized: bool, speed: Speed) -> float:
    """Seconds of one batch: reading the prompts is bound by products, writing by whichever is slower of products and
    memory traffic; small operations are waited for in both."""
    attention = 4 * shape.hidden * shape.layers * batch.encoded * batch.longest
    products = 2 * shape.active * batch.encoded + 2 * shape.vision * batch.patches + attention
    reading = products / (speed.flops * USE_OF_PRODUCTS) + 2 * shape.layers * CALLS * speed.call
    steps = min(batch.most, LONGEST * batch.answer)
    product = 2 * batch.rows * (shape.active + shape.table) / (speed.flops * USE_OF_PRODUCTS)
    read = shape.active * (NF4 if quantized else NUMBER[dtype]) + shape.table * NUMBER[dtype]
    # The cache is read by attention, and read and written once more as it grows.
    traffic = (read + 3 * cache(shape, dtype, batch.rows * (batch.longest + steps / 2))) / speed.bandwidth
    calls = shape.layers * CALLS + (batch.rows * DRAW if batch.sampled else 0)
    return reading + steps * (max(product, traffic) + calls * speed.call)


def training_memory(shape: Shape, pairs: Pairs, dtype: str, fused: bool) -> float:
    """Bytes at the peak: weights and optimizer (`held`); activations, kept for every layer or, with gradient checkpointing, one
    number a layer and one layer whole; the head's logits; the libraries.

    `fused`: the head scores the answers alone, as on a GPU (`Pairs.scored`).
    """
    tokens = pairs.rows * pairs.tokens
    layer = tokens * (10 * shape.hidden + 4 * shape.inner + shape.kv_width) * NUMBER[dtype]
    kept = layer + shape.layers * tokens * shape.hidden * NUMBER[dtype] if pairs.checkpointed else layer * shape.layers
    logits = 3 * 4 * pairs.rows * pairs.scored(fused) * min(shape.vocabulary, FUSED_COLUMNS)
    return held(shape, pairs, dtype) + kept + logits + LIBRARIES


def training_seconds(shape: Shape, pairs: Pairs, speed: Speed, fused: bool) -> float:
    """Seconds of one step without the update: the reference's pass, the policy's forward and backward (through frozen
    weights the backward is one more pass, through those that are trained two), and one more forward with gradient
    checkpointing. What it takes to unpack 4-bit weights is not counted."""
    policy = (3 if pairs.checkpointed else 2) + (1 if pairs.full else 0)
    passes = policy + (0 if pairs.sft else 1)
    head = 2 * shape.table * pairs.scored(fused)
    attention = 4 * shape.hidden * shape.layers * pairs.tokens**2
    language = passes * (2 * shape.active * pairs.tokens + head + attention)
    lora = 0.0 if pairs.full else (policy + 1) * 2 * adapter(shape, pairs.rank) / shape.experts * pairs.tokens
    products = pairs.rows * (language + lora + 2 * shape.vision * pairs.patches)
    calls = (2 * policy + passes) * shape.layers * CALLS
    return products / (speed.flops * USE_OF_PRODUCTS) + calls * speed.call


def all_updates_seconds(shape: Shape, pairs: Pairs, speed: Speed, fused: bool, batches: int, updates: int) -> float:
    """Seconds of so many updates of so many steps each."""
    return updates * (batches * training_seconds(shape, pairs, speed, fused) + update_seconds(shape, pairs, speed))


def update_seconds(shape: Shape, pairs: Pairs, speed: Speed) -> float:
    """Seconds of one optimizer update: parameters, gradients and moments, read and written."""
    return 2 * 4 * moving(pairs) * trained(shape, pairs) / speed.bandwidth
