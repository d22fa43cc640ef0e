"""Ferret, from the classes of this package: in `spr models convert`'s layout, and as its authors publish it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
)

from spr.models import ported
from spr.models.ferret.config import FerretConfig
from spr.models.ferret.model import FerretForConditionalGeneration
from spr.models.ferret.names import BEFORE, NEW, TOWER
from spr.models.ferret.processor import CHAT_TEMPLATE, FerretProcessor
from spr.models.ferret.tokenizer import ferret_tokenizer

from .shared import CORPUS, TEXT, save

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def build_ferret(folder: Path, seed: int = 0) -> Path:
    """A random Ferret (CLIP tower at 32 px, Llama): 16 image tokens an image."""
    ported.register()
    tokenizer = build_tokenizer()
    FerretProcessor(build_images(), tokenizer, patch_size=8, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    return save(FerretForConditionalGeneration, build_config(tokenizer), tokenizer, folder, seed)


def build_images() -> CLIPImageProcessorPil:
    side = {"height": 32, "width": 32}
    return CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)


def build_config(tokenizer: PreTrainedTokenizerFast) -> FerretConfig:
    region = tokenizer.convert_tokens_to_ids("<region_fea>")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    return FerretConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(vocab_size=region + 1, **ids, **TEXT),
        image_seq_length=16,
        region_token_id=region,
        image_token_index=region + 1,
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words as Llama's SentencePiece model has them: bytes first, blanks at the beginning of a word, none within."""
    return ferret_tokenizer(*_words())


def _words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    corpus = [*CORPUS, "USER: What is in the region [12, 40, 300, 410]? ASSISTANT:"]
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def publish_ferret(folder: Path, seed: int = 0) -> tuple[Path, Path, Path]:
    """A random Ferret as it is published: the folders of the delta in two files of safetensors, of the base in PyTorch's own
    format, and of the vision tower. The delta is taken in float16, as the authors take theirs."""
    target = FerretForConditionalGeneration(build_config(build_tokenizer()))
    generator = torch.Generator().manual_seed(seed)
    values = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in target.state_dict().items()}
    base, delta, vision = folder / "base", folder / "delta", folder / "vision"
    for each in (base, delta):
        each.mkdir(parents=True)
    there = {_published(name): value for name, value in values.items() if not name.startswith(TOWER)}
    rows = target.config.region_token_id
    shared = {_published(name): value for name, value in values.items() if not name.startswith((TOWER, *NEW))}
    before = {name: (value + 0.003 * torch.randn(value.shape, generator=generator)).half() for name, value in shared.items()}
    before = {name: value[:rows] if len(value) == rows + 1 else value for name, value in before.items()}
    torch.save({**before, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, base / "pytorch_model.bin")
    _write_delta({name: _less(value.half(), before.get(name)) for name, value in there.items()}, delta)
    _write_config(target.config, delta)
    tower = CLIPVisionModel(target.config.vision_config)
    tower.load_state_dict({name.removeprefix(TOWER): value for name, value in values.items() if name.startswith(TOWER)})
    tower.save_pretrained(vision)
    return delta, base, vision


def _less(value: Tensor, base: Tensor | None) -> Tensor:
    if base is None:
        return value
    return torch.cat([value[: len(base)] - base, value[len(base) :]])


def _published(name: str) -> str:
    there = next(there for there, here in BEFORE.items() if name.startswith(here))
    return there + name.removeprefix(BEFORE[there])


def _write_delta(values: dict[str, Tensor], folder: Path) -> None:
    names = sorted(values)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in files.items():
        save_file({name: values[name].contiguous() for name in held}, folder / file, metadata={"format": "pt"})
    where = {name: file for file, held in files.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def _write_config(config: FerretConfig, folder: Path) -> None:
    text = config.text_config.to_dict()
    own = {
        "model_type": "ferret",
        "architectures": ["FERRETLlamaForCausalLM"],
        "mm_hidden_size": VISION["hidden_size"],
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "tiny/clip-vit-patch8-32",
        "region_geo_sampler": True,
        "sampler_pooler_mode": "max",
        "im_region_fea_token": config.region_token_id,
    }
    (folder / "config.json").write_text(json.dumps({**text, **own}))
    vocabulary, merges = _words()
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_tokens(["<region_fea>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
