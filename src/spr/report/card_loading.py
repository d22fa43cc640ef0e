"""The lines of Python in a model card that load the policy and ask it for a box. They run as they stand.

Not here: anything else that the card says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from spr.errors import ModelError
from spr.models import dialects
from spr.models.plain import PLAIN
from spr.recipe_model import Model

_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_PORTED = frozenset({"CogVLMProcessor", "FerretProcessor"})
"""Processors of families that transformers does not have, and this package brings along."""


def loading_code(model: Model, base: str | None, place: str, adapter: Path, prompt: str) -> str:
    """Python that loads what lies at `place` and puts `prompt` to it: an adapter on `base`, or (None) a whole model.

    `adapter` is the local folder, whose processor says how the family is asked. Raises ModelError where none lies there.
    """
    kind = _processor(adapter)
    skip = dialects.of(model).skip_special_tokens
    return "\n".join([*_imports(kind, base), *_load(model, base, place), *_ask(kind, prompt, skip)])


def _processor(adapter: Path) -> str:
    """The class of the processor that was saved with an adapter."""
    for file in (adapter / name for name in _FILES):
        if file.is_file() and (kind := json.loads(file.read_text(encoding="utf-8")).get("processor_class")):
            return str(kind)
    raise ModelError(f"{adapter} holds no processor; train again, it is saved with the adapter")


def _imports(kind: str, base: str | None) -> Iterator[str]:
    if base is not None:
        yield "from peft import PeftModel"
    yield "from PIL import Image"
    if kind in _PORTED:
        yield "from spr.models.ported import register  # pip install spatial-preference-rewarding"
    yield "from transformers import AutoModelForImageTextToText, AutoProcessor"
    yield ""
    if kind in _PORTED:
        yield "register()  # transformers itself does not have this family"


def _load(model: Model, base: str | None, place: str) -> Iterator[str]:
    trusted = ", trust_remote_code=True" if model.trust_remote_code else ""
    pinned = f", revision={json.dumps(model.revision)}" if model.revision else ""
    if base is None:
        yield f'model = AutoModelForImageTextToText.from_pretrained({json.dumps(place)}, dtype="auto"{trusted})'
    else:
        options = f"dtype={json.dumps(model.dtype)}{pinned}{trusted}"
        yield f"base = AutoModelForImageTextToText.from_pretrained({json.dumps(base)}, {options})"
        yield f"model = PeftModel.from_pretrained(base, {json.dumps(place)})"
        # As it was trained: the adapter's folder holds a copy for this package alone, which may lack what it does not use.
    source = f"{json.dumps(place)}{trusted}" if base is None else f"{json.dumps(base)}{pinned}{trusted}{_options(model)}"
    yield f"processor = AutoProcessor.from_pretrained({source})"


def _options(model: Model) -> str:
    """The recipe's own settings of the processor, as arguments."""
    return "".join(f", {name}={value!r}" for name, value in model.processor.items())


def _ask(kind: str, prompt: str, skip: bool) -> Iterator[str]:
    yield 'photo = Image.open("photo.jpg").convert("RGB")'
    if kind in PLAIN:
        text = PLAIN[kind].mark + prompt if PLAIN[kind].written else prompt
        yield f'inputs = processor(text={json.dumps(text)}, images=photo, return_tensors="pt")'
    else:
        yield f'content = [{{"type": "image", "image": photo}}, {{"type": "text", "text": {json.dumps(prompt)}}}]'
        yield "inputs = processor.apply_chat_template("
        yield '    [{"role": "user", "content": content}],'
        yield '    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",'
        yield ")"
    yield "inputs = inputs.to(model.device, model.dtype)"
    yield "answer = model.generate(**inputs, max_new_tokens=128, do_sample=False)"
    yield f'print(processor.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens={skip}))'
