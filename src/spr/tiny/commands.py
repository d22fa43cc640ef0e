"""What the trainings of the bundled models share at their two ends: the command line, and the finished model with its facts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

Train = Callable[[Any, Path, str, int, int], None]
"""train(plan, out, device, workers, save_every)"""


def command(doc: str | None, plan: type[Any], train: Train) -> None:
    """Read the command line and train; every number of the dataclass `plan` is an option."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument("--save-every", type=int, default=200)
    for name, default in asdict(plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = vars(parser.parse_args())
    out, device, workers, save_every = (args.pop(name) for name in ("out", "device", "workers", "save_every"))
    train(plan(**args), out, device, workers, save_every)


def finish(model: PreTrainedModel, processor: ProcessorMixin, plan: Any, out: Path, device: str, seconds: float) -> None:
    """Write the model in fp16 with its processor to `out / "model"`, and how it was made to `out / "training.json"`."""
    model.half().save_pretrained(out / "model")
    processor.save_pretrained(out / "model")
    facts: dict[str, Any] = {"plan": asdict(plan), "device": device, "minutes": round(seconds / 60, 1)}
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
