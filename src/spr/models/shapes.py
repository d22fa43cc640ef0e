"""How large a model is, in the figures that memory and time follow from; and these figures for some published models.

The table holds what the published config.json of each model gives; a test builds every one of them, without weights, and
counts again. A model that has to be converted first goes by the folder that its recipe names. Models that lie here are
counted themselves: see `own_shape`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spr.errors import RecipeError
from spr.models.image_tokens import ImageRule, anyres, fixed, merged, tiled
from spr.recipe_model import Model


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters are counts, widths are numbers a token.

    `language` are the parameters of the language model with its token tables, `vision` all others. `kv_width` is what a
    token leaves in the cache of one of the `layers`, keys and values together. `inner` is the width of the MLP.
    `linear_width` sums inputs and outputs of the language model's linear layers (but those that nothing reads): an adapter of
    rank r holds r times as many parameters. `tied`: one table serves both ends of the language model. `experts`: every layer
    holds so many sets of weights, of which a token takes one.
    """

    family: str
    language: int
    vision: int
    layers: int
    hidden: int
    inner: int
    kv_width: int
    vocabulary: int
    linear_width: int
    tied: bool
    encoder_decoder: bool = False
    experts: int = 1

    @property
    def table(self) -> int:
        """Parameters of one token table."""
        return self.vocabulary * self.hidden

    @property
    def blocks(self) -> int:
        """Parameters of the language model without its token tables."""
        return self.language - (1 if self.tied else 2) * self.table

    @property
    def active(self) -> int:
        """Of the blocks, what a token is multiplied with."""
        return self.blocks // self.experts


@dataclass(frozen=True, slots=True)
class Known:
    """A model's shape, and what an image is to it."""

    shape: Shape
    image: ImageRule


_QWEN_LIMITS = {
    "Qwen/Qwen2.5-VL-7B-Instruct": (14, 56 * 56, 14 * 14 * 4 * 16384),
    "Qwen/Qwen3-VL-8B-Instruct": (16, 256 * 256, 4096 * 4096),
}
"""Patch side and the limits on an image's pixels in the published preprocessor_config.json."""
_EDGES = ("shortest_edge", "longest_edge")
"""Of these processors, bounds on the area, whatever their names say."""

# fmt: off
PUBLISHED = {
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": Shape(
        "llava_onevision", 7_615_157_760, 414_732_320, 28, 3584, 18944, 1024, 152_000, 2_523_136, tied=False),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(
        "qwen2_5_vl", 7_615_616_512, 676_550_144, 28, 3584, 18944, 1024, 152_064, 2_523_136, tied=False),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(
        "qwen3_vl", 8_190_735_360, 576_388_336, 36, 4096, 12288, 2048, 151_936, 2_727_936, tied=False),
    "OpenGVLab/InternVL3-8B-hf": Shape(
        "internvl", 7_612_820_992, 331_552_768, 28, 3584, 18944, 1024, 151_674, 2_523_136, tied=False),
    "microsoft/kosmos-2-patch14-224": Shape(
        "kosmos-2", 1_342_289_920, 322_195_456, 24, 2048, 8192, 4096, 65_037, 884_736, tied=True),
    "google/paligemma-3b-mix-448": Shape(
        "paligemma", 2_508_662_784, 415_688_432, 18, 2048, 16384, 512, 257_216, 1_225_728, tied=True),
    "models/cogvlm-17b": Shape(
        "cogvlm", 13_214_420_992, 4_425_264_384, 32, 4096, 11008, 8192, 32_000, 4_419_328, tied=False, experts=2),
    "models/ferret-7b": Shape(
        "ferret", 6_738_423_808, 351_775_756, 32, 4096, 11008, 8192, 32_001, 2_498_560, tied=False),
    "models/ferret-13b": Shape(
        "ferret", 13_015_874_560, 353_874_956, 40, 5120, 13824, 10240, 32_001, 3_911_680, tied=False),
    "florence-community/Florence-2-large": Shape(
        "florence2", 413_671_424, 362_833_920, 12, 1024, 4096, 4096, 51_328, 540_672, tied=True, encoder_decoder=True),
}
# fmt: on


def published(model: Model) -> Known | str:
    """The shape of a model of the table, with the recipe's settings of its processor; or why there is none, as text.

    Raises RecipeError for settings that no processor could have.
    """
    shape = PUBLISHED.get(model.name)
    if shape is None:
        return "the model's config.json is not here"
    settings = dict(model.processor)
    rule = _RULES[shape.family](model.name, settings)
    if settings:
        return f"what model.processor.{min(settings)} does to image tokens is known only where the model's files are here"
    return Known(shape, rule)


def _qwen(name: str, settings: dict[str, Any]) -> ImageRule:
    patch, *limits = _QWEN_LIMITS[name]
    size = settings.get("size", {})
    if not isinstance(size, dict):
        raise RecipeError(
            f"model.processor.size is {size!r}; it should be {{shortest_edge: ..., longest_edge: ...}}, both in pixels"
        )
    if set(size) <= set(_EDGES):  # with others it stays, as a setting whose meaning is not known
        settings.pop("size", None)
    for place, (edge, other) in enumerate(zip(_EDGES, ("min_pixels", "max_pixels"), strict=True)):
        if edge in size:
            limits[place] = _count(f"size.{edge}", size[edge])
        if other in settings:
            limits[place] = _count(other, settings.pop(other))
    if limits[0] > limits[1]:
        raise RecipeError(f"model.processor: at least {limits[0]} pixels and at most {limits[1]} leave no size for an image")
    return merged(patch, *limits)


def _internvl(_: str, settings: dict[str, Any]) -> ImageRule:
    most = _count("max_patches", settings.pop("max_patches", 12))
    return tiled(side=448, tokens=256, patches=1025, most=most)


def _count(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RecipeError(f"model.processor.{key} is {value!r}; it should be a whole number of at least 1")
    return value


def _constant(rule: ImageRule) -> Callable[[str, dict[str, Any]], ImageRule]:
    return lambda _name, _settings: rule


_RULES: dict[str, Callable[[str, dict[str, Any]], ImageRule]] = {
    "llava_onevision": _constant(anyres(side=384, grid=6, cells=27, most=9)),
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "internvl": _internvl,
    "kosmos-2": _constant(fixed(64, 257)),
    "cogvlm": _constant(fixed(1227, 1226)),
    "ferret": _constant(fixed(576, 577)),
    "paligemma": _constant(fixed(1024, 1024)),
    # Most of the tower's weights work at twice the side of what it hands on: 48 x 48 cells.
    "florence2": _constant(fixed(577, 48 * 48)),
}
"""By family, what an image is; a rule takes the settings of the processor that it knows out of the given ones."""
