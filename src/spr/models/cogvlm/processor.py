"""Pictures and words to what the model takes.

Source: `llama2_text_processor` (template `base`) and `BlipImageEvalProcessor` of THUDM/CogVLM: the start token, the image,
then the bare question, then the answer and the end token. Question and answer are tokenized each by itself there, so that
either begins with SentencePiece's blank: here they are one text, with that blank written before both. A picture is resized to
the tower's square, bicubic, without padding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessorPil, LlamaTokenizer, ProcessorMixin
from transformers.processing_utils import MultiModalData

from spr.errors import ModelError
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.published import check_words

IMAGE = "<image>"
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' %}{{ ' ' }}{% endif -%}
{%- if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for content in message['content'] -%}
{%- if content['type'] == 'image' %}<image>{{ ' ' }}{% else %}{{ content['text'] }}{% endif -%}
{%- endfor -%}
{%- endif -%}
{%- if message['role'] == 'assistant' %}</s>{% endif -%}
{%- endfor -%}"""


class CogVLMProcessor(ProcessorMixin):
    """One picture a prompt, marked `<image>` before the question; it becomes `image_seq_length` tokens."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_seq_length: int = 1227,
    ) -> None:
        self.image_token = IMAGE
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.image_seq_length = image_seq_length
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:  # noqa: ARG002
        """All pictures take equally many tokens."""
        return self.image_token * self.image_seq_length

    def validate_inputs(self, images: Any = None, text: Any = None, **kwargs: Any) -> None:
        """Raises ValueError for a prompt of two pictures, of which the family knows nothing."""
        super().validate_inputs(images=images, text=text, **kwargs)
        for prompt in text or []:
            if (marks := prompt.count(self.image_token)) > 1:
                raise ValueError(f"CogVLM takes one image a prompt, and was given {marks}")

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, **_: Any) -> MultiModalData:
        count = len(image_sizes or [])
        return MultiModalData(num_image_tokens=[self.image_seq_length] * count, num_image_patches=[1] * count)


def build_processor(words: Path, config: CogVLMConfig) -> CogVLMProcessor:
    """The family's processor for a model of this config, with the Llama tokenizer that lies in `words`; `<image>` becomes its
    next word. Raises ModelError for a tokenizer that cannot be read, or has other words than the model, by their number or by
    the ids of those that Llama's begins with."""
    if not any((words / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise ModelError(f"{words} holds neither tokenizer.json nor tokenizer.model; name the folder of lmsys/vicuna-7b-v1.5")
    check_words(words)
    try:
        tokenizer = LlamaTokenizer.from_pretrained(
            words, add_bos_token=True, extra_special_tokens={"image_token": IMAGE}, local_files_only=True
        )
    except Exception as error:  # what is wrong with a tokenizer's files comes from half a dozen libraries
        raise ModelError(
            f"{words} holds no Llama tokenizer that can be read: {' '.join(str(error).split())[:300]}; name the folder of "
            "lmsys/vicuna-7b-v1.5"
        ) from error
    if tokenizer.convert_tokens_to_ids(IMAGE) != config.image_token_id:
        raise ModelError(
            f"the tokenizer in {words} has {tokenizer.convert_tokens_to_ids(IMAGE)} words, and the model "
            f"{config.image_token_id}; name the folder of lmsys/vicuna-7b-v1.5"
        )
    for word, number in _first_words(config).items():
        if (found := tokenizer.convert_tokens_to_ids(word)) != number:
            raise ModelError(
                f"the tokenizer in {words} gives {word} the id {found}, and the model {number}; name the folder of "
                "lmsys/vicuna-7b-v1.5"
            )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    side = {"height": config.vision_config.image_size, "width": config.vision_config.image_size}
    images = CLIPImageProcessorPil(size=side, do_center_crop=False)
    return CogVLMProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=config.image_seq_length)


def _first_words(config: CogVLMConfig) -> dict[str, int]:
    """Words with ids that hold for every tokenizer of Llama: the start and the end, which the config names, and after them
    the 256 bytes, first and last."""
    text = config.text_config
    return {"<unk>": 0, "<s>": text.bos_token_id, "</s>": text.eos_token_id, "<0x00>": 3, "<0xFF>": 258}
