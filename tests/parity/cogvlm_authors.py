"""Asks the authors' CogVLM and writes what it says to cogvlm.npz.

    git clone https://github.com/THUDM/CogVLM && git clone https://github.com/THUDM/SwissArmyTransformer
    pip install einops
    PYTHONPATH=CogVLM:SwissArmyTransformer:tests python tests/parity/cogvlm_authors.py

made with commits f7283b2 and 63dc23a (0.4.11) of these, torch 2.13.0 and transformers 5.23.0, on a CPU in float32. Their
model, text processor and positions run unmodified, but for what needs a GPU or is written for one size: xformers' attention is
torch's, the Triton kernel of the rotary embedding is the formula it computes, and the width of the vision tower, which
their projector takes to be 1792, is read from the arguments. Of timm, which CogAgent alone needs, there are names.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import cogvlm_cases as tiny


def _module(name: str, **names: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(names)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = made
    return made


def _attention(query: Tensor, key: Tensor, value: Tensor, p: float = 0.0, scale: float | None = None) -> Tensor:
    turned = (part.transpose(1, 2) for part in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(*turned, dropout_p=p, scale=scale).transpose(1, 2).contiguous()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, position_id: Tensor, inplace: bool, **_: Any) -> Tensor:
    """As the kernel: the result is written over `x`, which is what the caller goes on with."""
    assert inplace
    cos, sin = cos[position_id][:, None], sin[position_id][:, None]
    first, second = x.chunk(2, dim=-1)
    return x.copy_(torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1))


def build() -> Any:
    """The authors' model with the seeded weights."""
    _stand_in()
    from utils.models import cogvlm_model

    wide_as_told = cogvlm_model.GLU
    cogvlm_model.GLU = lambda args, _: wide_as_told(args, args.eva_args["hidden_size"])
    model = cogvlm_model.CogVLMModel(_arguments()).eval()
    loaded = model.load_state_dict(_renamed(tiny.state_dict()), strict=False)
    assert not loaded.unexpected_keys, loaded
    assert all(name.endswith("inv_freq") for name in loaded.missing_keys), loaded
    return model


def _stand_in() -> None:
    """What cannot be imported without a GPU, and what CogAgent alone needs."""
    _module("xformers").ops = _module("xformers.ops", memory_efficient_attention=_attention)
    _module("sat.model.position_embedding.triton_rotary", apply_rotary=_rotated)
    _module("utils.utils", __path__=[str(Path(find_spec("utils").origin).parent / "utils")])  # past what shows pictures
    _module("timm"), _module("timm.layers", drop_path=None, to_2tuple=None, trunc_normal_=None)


def _tower() -> dict[str, Any]:
    vision = tiny.CONFIG["vision_config"]
    return {
        "num_layers": vision["num_hidden_layers"],
        "hidden_size": vision["hidden_size"],
        "num_attention_heads": vision["num_heads"],
        "inner_hidden_size": vision["intermediate_size"],
        "vocab_size": 1,
        "layernorm_order": "post",
        "use_final_layernorm": False,
        "layernorm_epsilon": vision["layer_norm_eps"],
        "image_size": [vision["image_size"]] * 2,
        "pre_len": 1,
        "post_len": 0,
        "in_channels": 3,
        "patch_size": vision["patch_size"],
    }


def _arguments() -> argparse.Namespace:
    config = tiny.CONFIG
    return argparse.Namespace(
        model_parallel_size=1,
        skip_init=False,
        max_sequence_length=256,
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        num_attention_heads=config["num_attention_heads"],
        inner_hidden_size=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        layernorm_order="pre",
        layernorm_epsilon=config["rms_norm_eps"],
        use_bias=False,
        image_length=tiny.PATCHES,
        eva_args=_tower(),
        mode="inference",
        world_size=1,
        rank=0,
        local_rank=0,
        use_gpu_initialization=False,
        deepspeed=False,
        bf16=False,
        fp16=False,
        device="cpu",
    )


def _renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names that the authors' training code gives them."""
    eva = "mixins.eva.vit_model"
    renamed = {}
    for name, value in published.items():
        parts = name.split(".")
        if name.endswith("inv_freq"):
            continue
        if name.startswith("model.vision."):
            new = name.replace("model.vision.transformer", f"{eva}.transformer")
            new = new.replace("model.vision.patch_embedding.proj", f"{eva}.mixins.patch_embedding.proj")
            new = new.replace("model.vision.patch_embedding.cls_embedding", f"{eva}.transformer.word_embeddings.weight")
            new = new.replace("model.vision.patch_embedding.position", f"{eva}.transformer.position")
            new = new.replace("position_embedding.weight", "position_embeddings.weight")
            new = new.replace("mlp.fc1", "mlp.dense_h_to_4h").replace("mlp.fc2", "mlp.dense_4h_to_h")
            new = new.replace("model.vision.", "mixins.eva.")
        elif parts[1] == "layers":
            new = _layer_name(int(parts[2]), ".".join(parts[3:]))
        else:
            new = {
                "model.embed_tokens.weight": "transformer.word_embeddings.weight",
                "model.norm.weight": "transformer.final_layernorm.weight",
                "lm_head.weight": "mixins.lm.lm_head.weight",
            }[name]
        renamed[new] = value
    return renamed


def _layer_name(layer: int, rest: str) -> str:
    at = f"transformer.layers.{layer}"
    return {
        "self_attn.language_expert_query_key_value.weight": f"{at}.attention.query_key_value.weight",
        "self_attn.language_expert_dense.weight": f"{at}.attention.dense.weight",
        "self_attn.vision_expert_query_key_value.weight": f"mixins.rotary.vision_query_key_value_list.{layer}.weight",
        "self_attn.vision_expert_dense.weight": f"mixins.rotary.vision_dense_list.{layer}.weight",
        "mlp.language_mlp.gate_proj.weight": f"mixins.mlp.gate_proj.{layer}.weight",
        "mlp.language_mlp.up_proj.weight": f"{at}.mlp.dense_h_to_4h.weight",
        "mlp.language_mlp.down_proj.weight": f"{at}.mlp.dense_4h_to_h.weight",
        "mlp.vision_mlp.gate_proj.weight": f"mixins.mlp.vision_gate_proj.{layer}.weight",
        "mlp.vision_mlp.up_proj.weight": f"mixins.mlp.vision_dense_h_to_4h_list.{layer}.weight",
        "mlp.vision_mlp.down_proj.weight": f"mixins.mlp.vision_dense_4h_to_h_list.{layer}.weight",
    }.get(rest, f"{at}.{rest}")


class Words:
    """Words that are their own token ids, as a tokenizer of the authors' text processor."""

    bos_token_id, eos_token_id, pad_token_id, signal_type = 1, 2, 0, "base"

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Numbers between blanks."""
        assert not add_special_tokens
        return [int(word) for word in text.split()]


def logits(model: Any, words: list[int], pixels: Tensor | None, answer: list[int]) -> tuple[Tensor, Tensor]:
    """Logits (1, length, vocabulary) of one row, and its positions (1, length); the authors' own text processor writes it."""
    from utils.utils.language import get_masks_and_position_ids, llama2_text_processor_inference

    text = " ".join(map(str, words))
    if pixels is None:
        row = torch.tensor([[1, *words, *answer]])
        masks = {name: torch.zeros_like(row) for name in ("image_embed_mask", "vision_expert_mask", "image_rope_mask")}
        vision = {}
    else:
        written = llama2_text_processor_inference(Words(), image_length=tiny.PATCHES)(text)
        row = torch.cat([written.pop("input_ids"), torch.tensor([answer], dtype=torch.long)], dim=1)
        room = row.shape[1] - written["image_embed_mask"].shape[1]
        masks = {name: torch.nn.functional.pad(mask, (0, room)) for name, mask in written.items()}
        zeros = {"input_ids": torch.zeros(1, 1, dtype=torch.long), "position_ids": None, "attention_mask": torch.ones(1, 1)}
        vision = {"vision_image": pixels[None], **{f"vision_{name}": value for name, value in zeros.items()}}
    tokens, mask, positions = get_masks_and_position_ids(row[0], masks.pop("image_rope_mask"))
    with torch.no_grad():
        out = model(input_ids=tokens, position_ids=positions, attention_mask=mask, **masks, **vision)
    return out[0], positions


def main() -> None:
    """Expected by case and row: `<case>_<row>` logits, `.._positions`, and `.._answer`, the greedy one."""
    model = build()
    found: dict[str, np.ndarray] = {}
    for case, rows in tiny.TEXTS.items():
        for place, words in enumerate(rows):
            pixels = None if case == "text" else tiny.images(case)[place]
            answer: list[int] = []
            first, positions = logits(model, words, pixels, answer)
            while len(answer) < tiny.NEW_TOKENS:
                answer.append(int(logits(model, words, pixels, answer)[0][0, -1].argmax()))
            key = f"{case}_{place}"
            found |= {key: first[0].numpy(), f"{key}_positions": positions[0].numpy(), f"{key}_answer": np.array(answer)}
    rotary = model.mixins["rotary"].rotary_emb.bfloat16()
    rotary._seq_len_cached = 0
    rotary._update_cos_sin_cache(600, None, dtype=torch.bfloat16)
    found["bfloat16_cos"] = rotary._cos_cached.float().numpy()
    np.savez_compressed(tiny.EXPECTED, **found)
    print({name: value.shape for name, value in found.items()}, tiny.EXPECTED.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
