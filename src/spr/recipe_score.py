"""The recipe's `score`: the models that judge descriptions, and how their judgements are mixed."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from spr.recipe_part import Fraction, Part


class Semantic(Part):
    """The semantic score: a dual encoder of transformers (CLIP, MetaCLIP 2, AltCLIP, Chinese-CLIP, SigLIP, SigLIP 2)."""

    model: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    crop: Literal["squash", "pad", "center_crop"] = Field("squash", description="how the region's crop is made square (ours)")
    region_attention: Literal["last", "all"] = Field(
        "last", description="what is limited to the region: the last step, or all layers from start_layer on (ours)"
    )
    start_layer: int | None = Field(None, ge=0, description="with region_attention all: the first limited layer; unset: 0")
    text_pooling: Literal["mean", "truncate", "min", "max"] = Field("mean", description="of a long text's chunks")

    @model_validator(mode="after")
    def _start_layer_is_used(self) -> Semantic:
        if self.start_layer is not None and self.region_attention == "last":
            raise ValueError(f"start_layer {self.start_layer} goes with region_attention: all; set that, or leave it out")
        return self


Preset = Literal["paper", "strict", "annotations_only"]
BoxReward = Literal["recall_iou", "f1_hungarian", "mean_giou", "count_penalty", "format_valid", "no_duplicate"]


class Detector(Part):
    """The open-vocabulary detector: Grounding DINO, MM-Grounding-DINO, OWLv2 or OmDet-Turbo of transformers."""

    model: str
    revision: str | None = None
    dtype: Literal["float32", "float16"] = Field("float32", description="bfloat16 is too coarse for boxes")
    threshold: Fraction = Field(0.35, description="boxes whose phrase scores less are not there")
    nms: Fraction = Field(0.7, description="of boxes that overlap by more than this the best stays, whatever its phrase")
    captions: Literal["per_candidate", "per_query"] = Field(
        "per_candidate", description="whose phrases share a caption; per_query is faster, its phrases compete (ours)"
    )
    noun_chunks: str | None = Field(
        None, description="a spaCy pipeline for texts that mark no phrases, e.g. en_core_web_sm; without one, their sentences"
    )
    batch_size: int = Field(16, ge=1, description="captions, or images, at a time")


class Localization(Part):
    """The localization score: which boxes are compared, and how."""

    preset: Preset = "paper"
    threshold: Fraction = 0.5
    binary: bool = False
    ungrounded_credit: Fraction = Field(0.0, description="strict: what a detector's box counts for (ours)")
    rewards: dict[BoxReward, Annotated[float, Field(gt=0)]] = Field(
        {"recall_iou": 1.0}, min_length=1, description="weighted mean of these; recall_iou is the paper's score"
    )

    @field_validator("rewards")
    @classmethod
    def _in_one_order(cls, rewards: dict[BoxReward, float]) -> dict[BoxReward, float]:
        """Rows must not depend on the order in which somebody wrote the rewards down."""
        return {name: rewards[name] for name in get_args(BoxReward) if name in rewards}


class Score(Part):
    """Stage 3. composite = weight * semantic + (1 - weight) * localization; `weight` is the paper's lambda."""

    weight: Fraction = 0.8
    normalize: Literal["none", "zscore", "rank"] = Field(
        "none", description="each term within its query, before they are mixed"
    )
    semantic: Semantic | None = None
    detector: Detector | None = None
    localization: Localization = Localization()

    @model_validator(mode="after")
    def _scores_have_models(self) -> Score:
        if self.weight > 0 and self.semantic is None:
            raise ValueError("weight is above 0 but score.semantic names no model; name one, or set weight: 0")
        preset = self.localization.preset
        if preset != "annotations_only" and self.detector is None:
            raise ValueError(
                f"localization.preset is {preset} but score.detector names no model; name one, or set it to annotations_only"
            )
        return self
