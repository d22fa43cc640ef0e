"""Training against stock TRL: `python -m benchmarks.training [--device cuda]`.

TRL's DPOTrainer and ours take the same steps on the same batches of a random LLaVA-OneVision-like model, in one process and
in turns, in the same dtype and with the same checkpointing (none on a CPU; bfloat16 and checkpointing on a GPU, where the
model has the shape of a real 7B). A step is forward, reference, backward and update. Every pair has 100 tokens of text
and two answers of 150, and in `tree4` four pairs are about one image.

The last line is one json object, ours against stock: how many times as fast for a run of one epoch, which pays for the
reference (`pair_*`, `tree4_*`), and with the reference on disk (`steady_*`), and the largest share of stock's peak memory.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import peft
import torch
import transformers
import trl
from benchmarks.training_world import (
    LARGE,
    SMALL,
    VIEWS,
    Shape,
    build_model,
    build_processor,
    draw_batches,
    products,
    tokens_of,
)
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from spr.models.quiet import quiet
from spr.recipe_train import Lora
from spr.training.lora import lora_config
from spr.training.trainers import SPRDPOTrainer


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: image tokens, pairs a step, pairs about each image, and how often."""

    name: str
    tokens: int
    pairs: int
    regions: int
    repeats: int


CASES = (Case("729", 729, 1, 1, 5), Case("2900", 2900, 1, 1, 3), Case("tree4_2900", 2900, 4, 4, 3))
FIGURES = ("pair_729", "pair_2900", "tree4_2900", "steady_729", "steady_2900", "peak_memory")


class Side:
    """One trainer on its batch, and what its steps took."""

    def __init__(self, trainer: Any, batch: dict[str, Any], device: str) -> None:
        self.trainer, self._device = trainer, device
        trainer.model.train()
        if trainer.args.activation_checkpointing:
            trainer.model.activation_checkpointing_enable()
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1  # `train` would say so
        self.batch = trainer._prepare_inputs(batch)
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.peak = 0
        base = trainer.model.get_base_model()
        self.weights = sum(weight.nbytes for weight in base.parameters())
        self.tokens = tokens_of(batch)
        self.work = products(base, self.tokens, self._tiles(batch))

    @staticmethod
    def _tiles(batch: dict[str, Any]) -> int:
        pixels = batch.get("pixel_values", batch.get("images", {}).get("pixel_values"))
        return int(pixels.shape[:2].numel())

    def step(self, timed: bool) -> None:
        """One update."""
        before = _begin(self._device)
        began = time.perf_counter()
        self.losses.append(float(self.trainer.training_step(self.trainer.model, dict(self.batch))))
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()
        if self._device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        self.peak = max(self.peak, _peak(self._device) - before)
        if timed:
            self.seconds.append(seconds)

    def free(self) -> None:
        """Give the memory back; what was measured stays."""
        del self.trainer, self.batch
        gc.collect()
        torch.cuda.empty_cache()


def _begin(device: str) -> int:
    """Bytes in use before a step, from where on the peak is counted."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")


def _resident(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def build_side(kind: str, case: Case, shape: Shape, device: str, folder: str) -> Side:
    """`stock`, or ours with the reference `inline` or `cached`, on the case's batch."""
    view = VIEWS[case.tokens]
    model = build_model(shape, view, device, torch.float32 if device == "cpu" else torch.bfloat16)
    stock, shared = draw_batches(shape, view, case.pairs, case.regions)
    batch = stock if kind == "stock" else shared
    options = {} if kind == "stock" else {"prefix_sharing": "tree" if case.regions > 1 else "pair"}
    trainer = (DPOTrainer if kind == "stock" else SPRDPOTrainer)(
        model,
        args=DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=case.pairs,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            gradient_checkpointing=device == "cuda",
            max_length=None,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_dict({"image": ["unused"] * case.pairs}),
        data_collator=lambda _: batch,
        processing_class=build_processor(),
        peft_config=lora_config(model, Lora(r=shape.rank, alpha=2 * shape.rank)),
        **options,
    )
    if kind == "cached":
        # A run keeps these on disk.
        found = trainer.score_reference(range(case.pairs))
        names = "ref_chosen_logps", "ref_rejected_logps"
        batch = {**batch, **dict(zip(names, map(torch.tensor, zip(*found, strict=True)), strict=True))}
    return Side(trainer, batch, device)


def compare(case: Case, shape: Shape, device: str, repeats: int, folder: str) -> dict[str, Side]:
    """Steps of all sides, the first of each not counted: in turns, or on a GPU, which may not hold all, one after another."""
    kinds = ("stock", "inline") if case.regions > 1 else ("stock", "inline", "cached")
    if device == "cuda":
        sides = {}
        for kind in kinds:
            sides[kind] = build_side(kind, case, shape, device, folder)
            for repeat in range(repeats + 1):
                sides[kind].step(timed=repeat > 0)
            sides[kind].free()
    else:
        sides = {kind: build_side(kind, case, shape, device, folder) for kind in kinds}
        for repeat in range(repeats + 1):
            for side in sides.values():
                side.step(timed=repeat > 0)
    _check({kind: side.losses for kind, side in sides.items()}, 1e-3 if device == "cpu" else 3e-2)
    return sides


def _check(losses: dict[str, list[float]], allowed: float) -> None:
    for kind, ours in losses.items():
        apart = max(abs(a - b) for a, b in zip(ours, losses["stock"], strict=True))
        if apart > allowed:
            raise SystemExit(f"{kind} does not compute what stock TRL does: the losses differ by {apart:.2g}")


def report(case: Case, sides: dict[str, Side]) -> dict[str, float]:
    """Print what each side took, and return the ratios of the case by the names of the last line."""
    stock = sides["stock"]
    print(f"{case.name}: {case.pairs} pairs a step, {len(stock.seconds)} steps")
    print(f"  tower: {tower_share(stock):.1%} of stock's work")
    for kind, side in sides.items():
        rate, peak = case.pairs / statistics.median(side.seconds), (side.weights + side.peak) / 2**30
        print(f"  {kind:7} {rate:8.3f} pairs/s  {side.tokens:6} tokens a pass  {peak:6.2f} GiB  loss {side.losses[-1]:.6f}")
    speed = {kind: _speed(stock, side) for kind, side in sides.items() if kind != "stock"}
    print(f"  tokens {stock.tokens / sides['inline'].tokens:.2f}, time " + ", ".join(f"{k} {r:.2f}" for k, r in speed.items()))
    memory = max((side.weights + side.peak) / (stock.weights + stock.peak) for kind, side in sides.items() if kind != "stock")
    names = {"inline": case.name if case.regions > 1 else f"pair_{case.name}", "cached": f"steady_{case.name}"}
    return {names[kind]: ratio for kind, ratio in speed.items()} | {"peak_memory": memory}


def tower_share(stock: Side) -> float:
    """The tower's share of a stock step's multiplications by weights: policy and reference run it, the backward pass, which the
    language model takes part in, does not."""
    said, seen = stock.work
    return 2 * seen / (3 * said + 2 * seen)


def _speed(stock: Side, ours: Side) -> float:
    return statistics.median(a / b for a, b in zip(stock.seconds, ours.seconds, strict=True))


def utilisation(sides: dict[str, Side]) -> str:
    """Products by weights a second that the policy's and the reference's passes come to, recomputing apart, as a share of what
    one large product of matrices reaches on this GPU."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    reached = 20 * 2 * 8192**3 / (time.perf_counter() - began)
    passes = {"stock": 3, "inline": 3, "cached": 2}
    shares = {kind: 2 * passes[kind] * side.work[0] / statistics.median(side.seconds) / reached for kind, side in sides.items()}
    return f"  of {reached / 1e12:.0f} TFLOP/s: " + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, help="counted steps of every case; default: 5 at 729 tokens, else 3")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=[case.name for case in CASES])
    args = parser.parse_args()
    shape = SMALL if args.device == "cpu" else LARGE
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (torch, transformers, trl, peft))
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{where}; {versions}", flush=True)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, quiet():
        for case in (case for case in CASES if case.name in args.cases):
            sides = compare(case, shape, args.device, args.repeats or case.repeats, folder)
            found = report(case, sides)
            if args.device == "cuda":
                print(utilisation(sides))
            figures |= found | {"peak_memory": max(found["peak_memory"], figures.get("peak_memory", 0.0))}
    print(json.dumps({name: round(figures[name], 3) for name in FIGURES if name in figures}))


if __name__ == "__main__":
    main()
