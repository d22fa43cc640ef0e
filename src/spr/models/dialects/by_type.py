"""Which dialect the models of one type write, where the type leaves no choice.

A type is the `model_type` of a config.json. What is not here can write in any way: `llava`, say, is the type of Ferret, of
LLaVA and of the bundled model, and only who trained the weights knows.
"""

from __future__ import annotations

BY_TYPE = {
    "florence2": "florence-2",
    "glm4v": "glm-4.5v",
    "glm4v_moe": "glm-4.5v",
    "internvl": "internvl",
    "kosmos-2": "kosmos-2",
    "llava_onevision": "llava-onevision",
    "paligemma": "paligemma",
    "qwen2_5_vl": "qwen2.5-vl",
    "qwen2_vl": "qwen2-vl",
    "qwen3_vl": "qwen3-vl",
    "qwen3_vl_moe": "qwen3-vl",
}
"""Type in transformers -> name of the dialect. GLM-4.1V is of type glm4v."""
