"""Asks the authors' Ferret and writes what it says to ferret.npz.

    git clone https://github.com/apple/ml-ferret
    PYTHONPATH=ml-ferret:tests python tests/parity/ferret_authors.py

made with commit 3c9e5c9 of that repository, unmodified, torch 2.13.0 and transformers 5.23.0, on a CPU in float32. Their
`generate` does not run there: answers are made token by token with their forward, each step seeded anew.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ferret.conversation import conv_templates
from ferret.eval.model_gpt4eval_3newclass import generate_mask_for_feature
from ferret.mm_utils import tokenizer_image_token
from ferret.model.ferret_arch import GeoRegionSampler
from ferret.model.language_model.ferret_llama import FERRETConfig, FERRETLlamaForCausalLM
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from parity.ferret_cases import CASES, CHANNELS, EXPECTED, NEW_TOKENS, SIZE, WIDTH, Case, disc, feature_map, photo, weights
from tiny_random.ferret import VISION, build_config, build_tokenizer


def masks(case: Case) -> list[Tensor] | None:
    """What their evaluation makes of a question's coordinates, (width, height) each; None without any."""
    found = []
    for numbers in re.findall(r"\[([^\]]*)\] <region_fea>", case.question):
        pixels = [int(number) * SIZE[axis % 2] // 1000 for axis, number in enumerate(numbers.split(","))]
        outline = disc().T if case.mask else None
        found.append(generate_mask_for_feature(pixels, *SIZE, mask=outline))
    return found or None


def model(tower: Path) -> FERRETLlamaForCausalLM:
    tokenizer = build_tokenizer()
    ours = build_config(tokenizer)
    vision = CLIPVisionModel(CLIPVisionConfig(**VISION))
    vision.load_state_dict(tower_weights(vision))
    vision.save_pretrained(tower)
    CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False).save_pretrained(tower)
    config = FERRETConfig(
        **{key: value for key, value in ours.text_config.to_dict().items() if key != "model_type"},
        mm_vision_tower=str(tower),
        mm_hidden_size=VISION["hidden_size"],
        mm_vision_select_layer=-2,
        region_geo_sampler=True,
        sampler_pooler_mode="max",
        im_region_fea_token=ours.region_token_id,
    )
    theirs = FERRETLlamaForCausalLM(config).eval()
    theirs.load_state_dict(weights({name: value.shape for name, value in theirs.state_dict().items()}))
    theirs.get_vision_tower().load_model()
    return theirs


def tower_weights(vision: CLIPVisionModel) -> dict[str, Tensor]:
    values = weights({f"vision_tower.{name}": value.shape for name, value in vision.state_dict().items()})
    return {name.removeprefix("vision_tower."): value for name, value in values.items()}


@torch.no_grad()
def asked(theirs: FERRETLlamaForCausalLM, case: Case) -> dict[str, Any]:
    tokenizer = build_tokenizer()
    words = conv_templates["ferret_v1"].copy()
    words.append_message(words.roles[0], f"<image>\n{case.question}")
    words.append_message(words.roles[1], None)
    ids = tokenizer_image_token(words.get_prompt(), tokenizer, return_tensors="pt")[None]
    images = theirs.get_vision_tower().image_processor(photo(), return_tensors="pt")["pixel_values"]
    regions = masks(case)
    given = None if regions is None else [regions]
    answer: list[int] = []
    first = None
    for _ in range(NEW_TOKENS):
        torch.manual_seed(case.seed)
        step = torch.cat([ids, torch.tensor([answer], dtype=torch.long)], dim=1)
        logits = theirs(input_ids=step, images=images, region_masks=given, use_cache=False).logits
        first = logits if first is None else first
        answer.append(int(logits[0, -1].argmax()))
    return {"text": words.get_prompt(), "ids": ids[0], "pixels": images[0], "logits": first[0, -24:], "answer": answer}


@torch.no_grad()
def sampled(case: Case) -> Tensor:
    sampler = GeoRegionSampler(CHANNELS, WIDTH, 512, [128, 32], [24, 24], "max")
    sampler.load_state_dict(weights({name: value.shape for name, value in sampler.state_dict().items()}))
    torch.manual_seed(case.seed)
    return sampler(feature_map()[None], [masks(case)], torch.float32, torch.float32)[0]


if __name__ == "__main__":
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        theirs = model(Path(folder))
        for name, case in CASES.items():
            expected |= {f"{name}.{key}": np.array(value) for key, value in asked(theirs, case).items()}
            if case.question.count("<region_fea>"):
                expected[f"{name}.region"] = np.array(sampled(case))
        expected["names"] = np.array(sorted(theirs.state_dict().keys() - {n for n in theirs.state_dict() if "tower" in n}))
    np.savez_compressed(EXPECTED, **expected)
