"""K answers to one question against K calls of `generate`: `python benchmarks/generation.py [--k 8]`.

Both sides describe the same region of each drawn scene with the bundled tiny model, in one process and in turns, greedily
apart from the same Gumbel noise, so that their texts can be compared. The plain side runs processor and `generate` once
for each answer, as the model cards show it. Prints answers a second, the ratio, and how many of the texts are equal.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from importlib import resources
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LogitsProcessorList

from spr.models.base import Request, Sampling
from spr.models.gumbel import GumbelNoise
from spr.models.transformers import TransformersModel
from spr.recipe_model import Model
from spr.tiny.lessons import draw_region
from spr.tiny.scenes import SIDE, layout, render
from spr.tiny.splits import DEVELOPMENT

MODEL = Path(str(resources.files("spr.tiny"))) / "models" / "mllm"
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=64)


class Plain:
    """One answer at a time with the stock classes."""

    def __init__(self) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(MODEL)

    @torch.inference_mode()
    def answer(self, request: Request, seed: int) -> str:
        """The answer of one seed."""
        content = [{"type": "image"}, {"type": "text", "text": request.prompt}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = self.processor(images=[request.images[0]], text=[text], return_tensors="pt", add_special_tokens=False)
        noise = LogitsProcessorList([GumbelNoise([seed], SAMPLING.temperature, SAMPLING.top_p)])
        made = self.model.generate(**inputs, logits_processor=noise, do_sample=False, max_new_tokens=SAMPLING.max_new_tokens)
        ids = made[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=True))


def requests(count: int, k: int) -> list[Request]:
    """One region question about each of the first drawn scenes, with K seeds."""
    dialect = TransformersModel(Model(name=str(MODEL), dialect="tiny", dtype="float32"), "cpu").dialect
    asked = []
    for seed in DEVELOPMENT[:count]:
        objects = layout(seed)
        region = draw_region(objects, random.Random(seed))[0]
        prompt = dialect.region_prompt(region, (SIDE, SIDE))
        asked.append(Request((render(seed, objects),), prompt, tuple(range(seed, seed + k))))
    return asked


def compare(asked: list[Request], repeats: int) -> float:
    """Time both sides in turns, print medians, and return the ratio."""
    plain = Plain()
    ours = TransformersModel(Model(name=str(MODEL), dialect="tiny", dtype="float32"), "cpu")
    k = len(asked[0].seeds)
    answers = k * len(asked)
    ours.generate(asked[:1], SAMPLING)
    plain.answer(asked[0], 0)
    fast, slow = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        singles = [[plain.answer(request, seed) for seed in request.seeds] for request in asked]
        slow.append(time.perf_counter() - began)
        began = time.perf_counter()
        together = [ours.generate([request], SAMPLING)[0] for request in asked]
        fast.append(time.perf_counter() - began)
    equal = sum(
        a.text.strip() == b.strip() for row, ones in zip(together, singles, strict=True) for a, b in zip(row, ones, strict=True)
    )
    ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
    print(f"{len(asked)} regions x {k} answers, {torch.get_num_threads()} threads, median of {repeats}")
    print(f"together     {answers / statistics.median(fast):7.1f} answers/s")
    print(f"one by one   {answers / statistics.median(slow):7.1f} answers/s")
    print(f"ratio        {ratio:7.1f}")
    print(f"equal texts  {equal:5d} of {answers}")
    return ratio


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=12)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    compare(requests(args.regions, args.k), args.repeats)


if __name__ == "__main__":
    main()
