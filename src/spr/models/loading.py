"""A checkpoint in transformers' layout -> model, processor, identity. Not here: how the model is asked.

Loads what `AutoModelForImageTextToText` and `AutoProcessor` load, with no family treated apart. Whatever is wrong with a
checkpoint becomes one sentence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import is_torchvision_available

from spr.errors import ModelError
from spr.models.identity import directory_digest, identity
from spr.models.own_code import check_own_code
from spr.models.plain import PLAIN
from spr.models.ported import register
from spr.models.published import check_converted
from spr.models.quiet import quiet_from_disk
from spr.recipe_model import Model

_LOADING_FAULTS = (
    OSError,
    ValueError,
    ImportError,
    KeyError,
    TypeError,
    RuntimeError,
    AttributeError,
    SafetensorError,
    StrictDataclassError,
)


def load_model_and_processor(
    recipe_part: Model, device: str, dtype: str | None = None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """The model in evaluation mode on `device`, in `dtype` (default: the recipe's), and its processor.

    With `model.quantization` 4bit the weights are NF4 and `dtype` is what is computed in. Raises ModelError for a
    checkpoint that is missing, unreadable, incomplete, or no image-text-to-text model with a processor that can write
    prompts; for 4bit where it cannot be had; and for weights that do not fit into the device's memory.
    """
    quantized = _quantized(recipe_part, device, dtype or recipe_part.dtype)
    config = load_config(recipe_part)
    remote = "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not remote:
        raise ModelError(
            f"model.name {recipe_part.name} is a {config.model_type} model; name one that reads images and writes text"
        )
    processor = load_processor(recipe_part)
    with _faults(recipe_part), quiet_from_disk(recipe_part.name):
        model, loading = AutoModelForImageTextToText.from_pretrained(
            recipe_part.name,
            dtype=getattr(torch, dtype or recipe_part.dtype),
            attn_implementation=recipe_part.attention,
            output_loading_info=True,
            **quantized,
            **_source(recipe_part),
        )
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"model.name {recipe_part.name}: its weights lack {len(missing)} tensors of the architecture, e.g. {missing[0]}; "
            "they would be random numbers, so complete the checkpoint"
        )
    with _faults(recipe_part):
        return (model if quantized or device == "cpu" else model.to(device)).eval(), processor


def load_processor(recipe_part: Model) -> ProcessorMixin:
    """The processor with the recipe's own settings; its tokenizer has a pad token. Raises ModelError.

    Video processors need torchvision and are not used here: without torchvision a family's processor is loaded without
    its video half.
    """
    kind: Any = AutoProcessor
    config = load_config(recipe_part)
    family = PROCESSOR_MAPPING.get(type(config), None)
    if family is not None and "video_processor" in family.get_attributes() and not is_torchvision_available():
        kind = _without_video(family)
    with _faults(recipe_part), quiet_from_disk(recipe_part.name):
        processor = kind.from_pretrained(recipe_part.name, **_source(recipe_part), **recipe_part.processor)
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ModelError(f"model.name {recipe_part.name} has no processor of images and text; add its processor's files")
    if not getattr(processor, "chat_template", None) and type(processor).__name__ not in PLAIN:
        raise ModelError(f"model.name {recipe_part.name} has no chat template; add chat_template.jinja to its files")
    written, read = getattr(processor, "image_token_id", None), getattr(config, "image_token_id", None)
    if None not in (written, read) and written != read:  # without its files a tokenizer of transformers has a few words only
        raise ModelError(
            f"model.name {recipe_part.name}: its tokenizer gives image tokens the id {written}, and its config.json {read}; "
            "add the tokenizer's files that belong to these weights"
        )
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def model_identity(recipe_part: Model, adapter: Path | None = None) -> str:
    """One line that names the weights, the image processor with its effective settings, and the adapter.

    `<folder>@sha256:<digits>` for a directory, `<name>@<commit>` for a hub name. Loads no weights. Raises ModelError.
    """
    commit = getattr(load_config(recipe_part), "_commit_hash", None) or recipe_part.revision
    images = load_processor(recipe_part).image_processor
    settings = json.loads(images.to_json_string())
    size = "x".join(str(value) for value in (settings.get("size") or {}).values() if value is not None)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    parts = [identity(recipe_part.name, commit), f"{type(images).__name__}({size})#{digest[:8]}"]
    if adapter is not None:
        if not (adapter / "adapter_config.json").is_file():
            raise ModelError(f"adapter {adapter} holds no adapter_config.json; name the adapter directory of a trained run")
        parts.append(f"adapter@sha256:{directory_digest(adapter)[:16]}")
    return " ".join(parts)


def _quantized(recipe_part: Model, device: str, dtype: str) -> dict[str, Any]:
    """The arguments that load the weights quantized straight onto the device; none where the recipe wants them whole."""
    if recipe_part.quantization == "none":
        return {}
    if find_spec("bitsandbytes") is None:
        raise ModelError("model.quantization is 4bit, which needs bitsandbytes; install it, or set it to none")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype))
    return {"quantization_config": how, "device_map": {"": device}}


def load_config(recipe_part: Model) -> PreTrainedConfig:
    """The checkpoint's configuration, without its weights. Raises ModelError."""
    name = recipe_part.name
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(f"model.name {name} holds no config.json; name a directory that save_pretrained wrote")
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1):
        raise ModelError(f"model.name {name} is no directory; name an existing one, or a model on the hub as owner/name")
    with _faults(recipe_part):
        values, _ = PreTrainedConfig.get_config_dict(name, revision=recipe_part.revision or "main")
    check_converted(name, values)
    check_own_code(recipe_part)
    register()
    with _faults(recipe_part):
        return AutoConfig.from_pretrained(name, **_source(recipe_part))


def _source(recipe_part: Model) -> dict[str, Any]:
    return {"revision": recipe_part.revision or "main", "trust_remote_code": recipe_part.trust_remote_code}


def _without_video(family: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The family's processor class under its own name, for images and text only."""
    attributes = [attribute for attribute in family.get_attributes() if attribute != "video_processor"]
    body = {"get_attributes": classmethod(lambda _: attributes), "__module__": family.__module__}
    return type(family.__name__, (family,), body)


@contextmanager
def _faults(recipe_part: Model) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"model.name {recipe_part.name} does not fit into the device's memory; free it, take a larger device, or set "
            "model.quantization to 4bit (`spr plan` says what a run needs)"
        ) from error
    except _LOADING_FAULTS as error:
        raise ModelError(f"model.name {recipe_part.name} {_fault(recipe_part, ' '.join(str(error).split()))}") from error


def _fault(recipe_part: Model, said: str) -> str:
    """What is wrong and what to do, where transformers says `said`."""
    if "trust_remote_code" in said:
        return "brings code of its own, which is not run; read it, then pin model.revision and set model.trust_remote_code"
    if "does not support an attention implementation" in said:
        return f"does not run with model.attention {recipe_part.attention}; set it to eager"
    return f"cannot be loaded: {said[:300]}; check the directory, or the name and the connection"
