"""Tiny random models of real families, in the layout that `save_pretrained` and the hub give them.

Built from the families' own configuration classes, with a tokenizer made on the spot: everything is real but the
weights, which are random and know nothing. Each is well under 2 MB. Not here: the trained models of the tiny world.
"""

from __future__ import annotations

from .cogvlm import build_cogvlm
from .ferret import build_ferret
from .florence2 import build_florence2
from .internvl import build_internvl
from .kosmos2 import build_kosmos2
from .llava import build_llava, build_llava_onevision
from .paligemma import build_paligemma
from .qwen import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl

__all__ = [
    "build_cogvlm",
    "build_ferret",
    "build_florence2",
    "build_internvl",
    "build_kosmos2",
    "build_llava",
    "build_llava_onevision",
    "build_paligemma",
    "build_qwen2_5_vl",
    "build_qwen2_vl",
    "build_qwen3_vl",
]
