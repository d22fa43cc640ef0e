"""What the tensors of the published checkpoints are called here. One name there is one name here, in shape and meaning."""

from __future__ import annotations

BEFORE = {
    "model.mm_projector.": "model.multi_modal_projector.",
    "model.region_geo_sampler.": "model.region_geo_sampler.",
    "model.embed_tokens.": "model.language_model.embed_tokens.",
    "model.layers.": "model.language_model.layers.",
    "model.norm.": "model.language_model.norm.",
    "lm_head.": "lm_head.",
}
"""How a name begins there, and here."""
NEW = ("model.multi_modal_projector.", "model.region_geo_sampler.")
"""What the base has not."""
TOWER = "model.vision_tower."
_BUFFERS = (".rotary_emb.inv_freq", ".position_ids")
"""Tables that old versions of transformers saved beside the weights, and that every model computes by itself."""
_OTHER_HALF = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
"""What a whole CLIP holds besides its tower."""


def of_language(name: str) -> str | None:
    """Our name of a tensor of the delta or the base; None for a table that is no weight. One unknown stays as it is."""
    if name.endswith(_BUFFERS):
        return None
    for there, here in BEFORE.items():
        if name.startswith(there):
            return here + name.removeprefix(there)
    return name


def of_tower(name: str) -> str | None:
    """Our name of a tensor of a CLIP's, or of its vision tower's; None for what is no part of the tower."""
    if name.endswith(_BUFFERS) or name.startswith(_OTHER_HALF):
        return None
    return TOWER + name.removeprefix("vision_model.")
